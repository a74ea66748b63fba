"""One session per operation, one connection at most, and a response only after the commit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from graph.settings import Settings
from tests.support.client import CREATE, Client, count, serving

FIFTY_READS = (
    "query ($id: ID!) {"
    + "".join(
        f"u{n}: user(id: $id) {{ username }}"
        f" l{n}: users(first: {n + 1}) {{ nodes {{ id }} totalCount }}"
        for n in range(50)
    )
    + "}"
)


@pytest.fixture(params=[1, 5])
async def client_with_empty_pool(
    database_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[Client]:
    """A server with an empty pool and `pool_pre_ping`."""
    settings = Settings(
        database_url=database_url,
        pool_size=request.param,
        pool_pre_ping=True,
        pool_timeout=300,
        query_timeout=300,
        max_tokens=2_000,
    )
    async with serving(settings) as client:
        yield client


def expected(user_id: str) -> dict[str, Any]:
    wanted: dict[str, Any] = {f"u{n}": {"username": "ada"} for n in range(50)}
    return wanted | {f"l{n}": {"nodes": [{"id": user_id}], "totalCount": 1} for n in range(50)}


async def test_fifty_aliases_on_an_empty_pool_return_their_values(
    client_with_empty_pool: Client,
) -> None:
    created = await client_with_empty_pool.create("ada")
    await client_with_empty_pool.database.engine.dispose()
    assert await client_with_empty_pool.ask(FIFTY_READS, id=created["id"]) == expected(
        created["id"]
    )


async def test_200_concurrent_operations_share_one_connection(database_url: str) -> None:
    settings = Settings(
        database_url=database_url,
        pool_size=1,
        pool_timeout=300,
        max_tokens=2_000,
        query_timeout=300,
    )
    async with serving(settings) as client:
        user = await client.create("ada")
        few = FIFTY_READS.replace("totalCount", "")
        wanted = expected(user["id"])
        for value in wanted.values():
            value.pop("totalCount", None)
        answers = await asyncio.gather(*(client.ask(few, id=user["id"]) for _ in range(200)))
    assert all(answer == wanted for answer in answers)


async def test_plain_async_session_fails_when_shared_by_concurrent_reads(client: Client) -> None:
    """Why `Session` serialises its calls: the tests above fail with a plain AsyncSession."""
    await client.database.engine.dispose()
    async with AsyncSession(client.database.engine) as session:
        ends = await asyncio.gather(
            *(session.execute(text("SELECT 1")) for _ in range(50)), return_exceptions=True
        )
    assert any(isinstance(end, Exception) for end in ends)


async def test_operation_holds_at_most_one_connection_and_releases_it(
    client_with_empty_pool: Client,
) -> None:
    held = most = 0
    pool = client_with_empty_pool.database.engine.sync_engine.pool

    @event.listens_for(pool, "checkout")
    def count_checkout(*_: object) -> None:
        nonlocal held, most
        held += 1
        most = max(most, held)

    @event.listens_for(pool, "checkin")
    def count_checkin(*_: object) -> None:
        nonlocal held
        held -= 1

    user = await client_with_empty_pool.create("ada")
    await client_with_empty_pool.ask(FIFTY_READS, id=user["id"])
    await client_with_empty_pool.mutate("updateUser", user["id"], displayName="Ada")
    await client_with_empty_pool.send("{ users(after: 1) { nodes { id } } }")
    assert (held, most) == (0, 1)


async def test_lookups_of_one_kind_are_batched_into_one_statement(
    client: Client, statements: list[str]
) -> None:
    users = [await client.create(f"user{n}") for n in range(5)]
    statements.clear()
    query = "".join(
        f'u{n}: user(id: "{user["id"]}") {{ username }}' for n, user in enumerate(users)
    )
    assert await client.ask(f"{{ {query} }}") == {
        f"u{n}": {"username": f"user{n}"} for n in range(5)
    }
    assert len(statements) == 1
    assert statements[0].startswith("SELECT users.id, ")


async def test_rejected_mutation_writes_nothing(client: Client) -> None:
    await client.create("ada")
    payload = await client.ask(CREATE, input={"username": "bob", "email": "ada@example.com"})
    assert [e["code"] for e in payload["errors"]] == ["TAKEN"]
    assert await count(client.database) == (1, 1)


async def test_mutations_of_one_document_are_separate_transactions(client: Client) -> None:
    answer = await client.ask("""mutation {
      a: createUser(input: {username: "ada", email: "ada@example.com"}) {
        user { username history { nodes { type user { username } } } } errors { code } }
      b: createUser(input: {username: "ADA", email: "ada@example.org"}) {
        user { username } errors { code } }
      c: createUser(input: {username: "bob", email: "bob@example.com"}) {
        user { username history { nodes { type user { username } } } } errors { code } } }""")

    def created(name: str) -> dict[str, Any]:
        history = {"nodes": [{"type": "CREATED", "user": {"username": name}}]}
        return {"user": {"username": name, "history": history}, "errors": []}

    assert answer == {
        "a": created("ada"),
        "b": {"user": None, "errors": [{"code": "TAKEN"}]},
        "c": created("bob"),
    }
    assert await count(client.database) == (2, 2)


# Makes the commit itself fail after all statements have succeeded.
REFUSING = {
    "postgresql": (
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RAISE division_by_zero; END'"
        ),
        (
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON user_events "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
    ),
    "sqlite": (
        "CREATE TABLE refusal (id REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)",
        (
            "CREATE TRIGGER refuse AFTER INSERT ON user_events "
            "BEGIN INSERT INTO refusal VALUES (-1); END"
        ),
    ),
}


@pytest.mark.parametrize("key", [None, "k"])
async def test_failed_commit_is_reported_as_an_error_and_writes_nothing(
    client: Client, dialect: str, key: str | None
) -> None:
    async with client.database.engine.begin() as connection:
        for statement in REFUSING[dialect]:
            await connection.execute(text(statement))
    given = {"username": "ada", "email": "ada@example.com", "idempotencyKey": key}
    answer = await client.send(CREATE, input=given)
    assert answer["data"] == {"createUser": None}
    assert [e["extensions"]["code"] for e in answer["errors"]] == ["INTERNAL_ERROR"]
    assert await count(client.database) == (0, 0)


async def test_exception_during_a_write_rolls_it_back(client: Client) -> None:
    @event.listens_for(client.database.engine.sync_engine, "before_cursor_execute")
    def fail(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO user_events" in statement:
            raise ZeroDivisionError

    answer = await client.send(CREATE, input={"username": "ada", "email": "ada@example.com"})
    event.remove(client.database.engine.sync_engine, "before_cursor_execute", fail)
    assert answer["data"] == {"createUser": None}
    assert await count(client.database) == (0, 0)
    assert (await client.create("ada"))["version"] == 1


async def test_cancelled_operation_releases_its_connection(database_url: str) -> None:
    """The pool has a single connection; the next operation must get it."""
    settings = Settings(database_url=database_url, pool_size=1, pool_timeout=30, max_tokens=2_000)
    async with serving(settings) as client:
        user = await client.create("ada")
        started = asyncio.Event()

        @event.listens_for(client.database.engine.sync_engine, "before_cursor_execute")
        def set_started(*_: object) -> None:
            started.set()

        for query in (
            FIFTY_READS,
            "mutation ($id: ID!) { deleteUser(input: {id: $id}) { changed } }",
        ):
            started.clear()
            asking = asyncio.create_task(client.send(query, id=user["id"]))
            await started.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            found = await client.ask(
                "query ($id: ID!) { user(id: $id) { username } }", id=user["id"]
            )
            assert found == {"username": "ada"}
        assert client.database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
