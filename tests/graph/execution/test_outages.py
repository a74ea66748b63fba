"""Database failures: errors say whether to retry, and whether a write was done."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from db import aiosqlite_adapter
from db.errors import Verdict
from db.session import Session
from graph.settings import Settings
from tests.conftest import run_in
from tests.db.test_errors import SQLSTATES
from tests.support.client import CREATE, USER, Client, count, serving
from tests.support.faults import IN_COMMITS, IN_WRITES, Faults, in_reads
from tests.support.loop_time import pass_time, pass_time_until
from tests.system.test_production import SETTINGS, bearer


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """The captured log. Printing hundreds of tracebacks would take most of the time."""
    with capture_logs() as logs:
        yield logs


on_postgres = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
AWAY = "The database is unavailable right now."
AGAIN = "Try again in a moment."
NOT_DONE = "This write was not done."
UNKNOWN = (
    "It is not known whether this write was done. Send it again with the same idempotencyKey, "
    "or read first what is there."
)
CRASHED = "Internal server error."
COUNT = "{ users { totalCount } }"
PRODUCTION: dict[str, Any] = {
    name.removeprefix("ROSTER_").lower(): value for name, value in SETTINGS.items()
}
UPDATE = f"""mutation ($input: UpdateUserInput!) {{
  updateUser(input: $input) {{ user {{ {USER} }} errors {{ code }} }} }}"""
BULK = """mutation ($input: BulkUsersInput!) {
  bulkUsers(input: $input) { succeeded replayed errors { code } } }"""


def user_input(name: str, **more: Any) -> dict[str, Any]:
    return {"username": name, "email": f"{name}@example.com", **more}


def batch(*names: str, **more: Any) -> dict[str, Any]:
    return {"operations": [{"create": user_input(name)} for name in names], **more}


def writes(user: dict[str, Any], turn: str = "") -> dict[str, tuple[str, dict[str, Any]]]:
    """Each kind of write: a single statement, a transaction, with an idempotency key, a batch."""
    return {
        "createUser": (CREATE, user_input(f"bob{turn}")),
        "createUser with a key": (CREATE, user_input(f"kim{turn}", idempotencyKey=f"k{turn}")),
        "updateUser": (UPDATE, {"id": user["id"], "displayName": f"Ada{turn}"}),
        "bulkUsers": (BULK, batch(f"joe{turn}", f"eve{turn}")),
    }


def assert_done(answer: dict[str, Any]) -> None:
    assert set(answer) == {"data"}, answer
    [payload] = answer["data"].values()
    assert payload["errors"] == [], answer


@asynccontextmanager
async def faulty(url: str, script: str, **settings: Any) -> AsyncIterator[tuple[Client, Faults]]:
    faults = Faults(url)
    await faults.prepare(script)
    async with serving(Settings(database_url=url, **settings)) as client:
        yield client, faults


async def failure(client: Client, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """Returns the single error of a write without its id, which is required.

    If the database is unavailable, the response says when to send the write again.
    """
    body = {"query": query, "variables": {"input": variables}}
    response = await client.http.post("/graphql", json=body)
    assert "said to nobody" not in response.text
    answer = response.json()
    [error] = answer["errors"]
    extensions = dict(error["extensions"])
    assert len(extensions.pop("id")) == 32
    sent = (response.status_code, response.headers.get("retry-after"), answer.get("data", "none"))
    if extensions["code"] == "DATABASE_UNAVAILABLE":
        assert sent == (503, "2", "none")
    else:
        assert sent == (200, None, {error["path"][0]: None})
    return {"message": error["message"], "path": error["path"], **extensions}


def expected_error(field: str, expected: Verdict, outcome: str | None) -> dict[str, Any]:
    """The expected error of a failed field."""
    known = {} if outcome is None else {"outcome": outcome}
    if expected is Verdict.BUG:
        return {"message": CRASHED, "path": [field], "code": "INTERNAL_ERROR", **known}
    parts = {None: [AGAIN], "NOT_DONE": [NOT_DONE, AGAIN], "UNKNOWN": [UNKNOWN]}[outcome]
    return {
        "message": " ".join([AWAY, *parts]),
        "path": [field],
        "code": "DATABASE_UNAVAILABLE",
        **known,
    }


@on_postgres
@pytest.mark.parametrize("script", [IN_WRITES, IN_COMMITS], ids=["statements", "commits"])
async def test_failed_write_reports_its_outcome_for_every_sqlstate(
    database_url: str, script: str
) -> None:
    async with faulty(database_url, script) as (client, faults):
        user = await client.create("ada")
        for sqlstate in sorted(set(SQLSTATES) - {"23505", "ZZZZZ"}):
            await faults.choose(sqlstate)
            for way, (query, variables) in writes(user).items():
                field = way.partition(" ")[0]
                reported = await failure(client, query, variables)
                # Two of these codes mean that the server itself does not know.
                is_own = way == "createUser" or script is IN_COMMITS
                is_unresolved = is_own and sqlstate in {"08007", "40003"}
                outcome = "UNKNOWN" if is_unresolved else "NOT_DONE"
                assert reported == expected_error(field, SQLSTATES[sqlstate], outcome), (
                    sqlstate,
                    way,
                )
        await faults.choose("")
        assert await count(client.database) == (1, 1)
        # All failed writes can be sent again.
        for query, variables in writes(user).values():
            assert_done(await client.send(query, input=variables))


@on_postgres
async def test_deadlocked_write_is_retried_until_it_succeeds(
    database_url: str,
) -> None:
    """Every kind of write retries after a deadlock."""
    async with faulty(database_url, IN_WRITES) as (client, _):
        user = await client.create("ada")
        await run_in(
            database_url,
            "CREATE SEQUENCE tries START 3",
            """CREATE OR REPLACE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
               BEGIN
                 IF nextval('tries') % 5 > 2 THEN
                   RAISE EXCEPTION 'once more' USING ERRCODE = '40P01';
                 END IF;
                 RETURN true;
               END $$""",
        )
        for query, variables in writes(user).values():
            await run_in(database_url, "SELECT setval('tries', 3, false)")
            assert_done(await client.send(query, input=variables))


@on_postgres
async def test_lost_connection_during_a_single_statement_is_outcome_unknown(
    database_url: str,
) -> None:
    """A single statement is its own transaction. Other transactions were not committed."""
    async with faulty(database_url, IN_WRITES) as (client, faults):
        user = await client.create("ada")
        await faults.choose("cut")
        reported = {}
        for way, (query, variables) in writes(user).items():
            field = way.partition(" ")[0]
            error = await failure(client, query, variables)
            assert error == expected_error(field, Verdict.UNAVAILABLE, error["outcome"])
            reported[way] = error["outcome"]
        await faults.choose("")
        assert await count(client.database) == (1, 1)
    assert reported == {
        "createUser": "UNKNOWN",
        "createUser with a key": "NOT_DONE",
        "updateUser": "NOT_DONE",
        "bulkUsers": "NOT_DONE",
    }


@on_postgres
async def test_lost_connection_during_commit_is_outcome_unknown(database_url: str) -> None:
    async with faulty(database_url, IN_COMMITS) as (client, faults):
        user = await client.create("ada")
        await faults.choose("cut")
        for way, (query, variables) in writes(user).items():
            field = way.partition(" ")[0]
            reported = await failure(client, query, variables)
            assert reported == expected_error(field, Verdict.UNAVAILABLE, "UNKNOWN"), way
        await faults.choose("")
        assert await count(client.database) == (1, 1)


def lose_answers_of_commit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loses the connection after COMMIT has succeeded, before the caller gets the result."""
    if client.database.is_sqlite:
        run = aiosqlite_adapter.Connection.commit  # called by SQLAlchemy for COMMIT

        async def commit(driver: Any) -> None:
            await run(driver)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
            raise error

        monkeypatch.setattr(aiosqlite_adapter.Connection, "commit", commit)
        return
    execute = asyncpg.Connection.execute

    async def lose(driver: Any, query: str, *arguments: Any, **options: Any) -> Any:
        status = await execute(driver, query, *arguments, **options)
        if query.startswith("COMMIT"):
            driver.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        return status

    monkeypatch.setattr(asyncpg.Connection, "execute", lose)


async def test_idempotency_key_resolves_an_unknown_outcome(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = {
        "createUser": (CREATE, user_input("bob", idempotencyKey="a")),
        "bulkUsers": (BULK, batch("eve", "fay", idempotencyKey="b")),
    }
    await client.create("ada")
    with monkeypatch.context() as patched:
        lose_answers_of_commit(client, patched)
        for field, (query, variables) in keyed.items():
            reported = await failure(client, query, variables)
            assert reported == expected_error(field, Verdict.UNAVAILABLE, "UNKNOWN")
    assert await count(client.database) == (4, 4)  # the write was done
    replayed = CREATE.replace("createUser(input: $input) {", "createUser(input: $input) { replayed")
    answer = await client.send(replayed, input=keyed["createUser"][1])
    assert answer["data"]["createUser"]["replayed"] is True
    assert answer["data"]["createUser"]["user"]["username"] == "bob"
    answer = await client.send(BULK, input=keyed["bulkUsers"][1])
    assert answer["data"]["bulkUsers"] == {"succeeded": 2, "replayed": True, "errors": []}
    assert await count(client.database) == (4, 4)


@on_postgres
async def test_each_write_of_a_request_has_its_own_outcome(database_url: str) -> None:
    """Also if there are more errors than the limit for queries."""
    async with faulty(database_url, IN_WRITES) as (client, faults):
        await run_in(
            database_url,
            """CREATE OR REPLACE FUNCTION fail_row() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN
                 IF NEW.username LIKE 'bad%' THEN PERFORM fail(); END IF;
                 RETURN NEW;
               END $$""",
        )
        await faults.choose("53100")
        names = ["ada", *(f"bad{n}" for n in range(7)), "eve"]
        fields = " ".join(
            f'{name}: createUser(input: {{username: "{name}", email: "{name}@example.com"}}) '
            "{ user { username } }"
            for name in names
        )
        answer = await client.send(f"mutation {{ {fields} }}")
        assert answer["data"] == {
            name: None if name.startswith("bad") else {"user": {"username": name}} for name in names
        }
        reported = [(e["path"], e["extensions"]["outcome"]) for e in answer["errors"]]
        assert reported == [([f"bad{n}"], "NOT_DONE") for n in range(7)]
        assert await count(client.database) == (2, 2)


@on_postgres
async def test_write_on_a_read_only_server_is_retried_on_a_new_connection(
    database_url: str,
) -> None:
    """A switchover causes no errors if the new primary is available."""
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")
        for query, variables in writes(user).values():
            for one in await connections(client, 2):
                await one.execute("SET default_transaction_read_only = on")
            assert_done(await client.send(query, input=variables))
        # It fails if there is no writable server.
        name = make_url(database_url).database
        await run_in(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        client.database.engine.sync_engine.pool.discard()  # type: ignore[attr-defined]
        for way, (query, variables) in writes(user, "2").items():
            field = way.partition(" ")[0]
            reported = await failure(client, query, variables)
            assert reported == expected_error(field, Verdict.UNAVAILABLE, "NOT_DONE")
        assert await client.ask(COUNT) == {"totalCount": 5}
        ready = await client.http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": "unavailable", "database": "read-only"}


@on_postgres
async def test_failed_read_has_the_expected_code_for_every_sqlstate(database_url: str) -> None:
    async with serving(Settings(database_url=database_url)) as client:
        user = await client.create("ada")
    reads = {
        "users": COUNT,
        "user": f'{{ user(id: "{user["id"]}") {{ email }} }}',
        "nodes": f'{{ nodes(ids: ["{user["id"]}"]) {{ id }} }}',
        "userBy": '{ userBy(by: {username: "ada"}) { email } }',
    }
    async with faulty(database_url, in_reads("users")) as (client, faults):
        for sqlstate in sorted(set(SQLSTATES) - {"ZZZZZ"}):
            await faults.choose(sqlstate)
            for name, query in reads.items():
                response = await client.http.post("/graphql", json={"query": query})
                [error] = response.json()["errors"]
                expected = expected_error(name, SQLSTATES[sqlstate], None)
                retry = "2" if expected["code"] == "DATABASE_UNAVAILABLE" else None
                assert response.headers.get("retry-after") == retry, (sqlstate, name)
                assert response.status_code == (503 if retry else 200), (sqlstate, name)
                reported = (error["message"], error["path"][0], error["extensions"]["code"])
                assert reported == (expected["message"], name, expected["code"]), (sqlstate, name)
                assert "outcome" not in error["extensions"]
        await faults.choose("")
        assert await client.ask(COUNT) == {"totalCount": 1}


CUT_ONCE = """
CREATE SEQUENCE tries;
CREATE OR REPLACE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF nextval('tries') = 1 THEN
    PERFORM pg_terminate_backend(pg_backend_pid());
    PERFORM pg_sleep(60);
  END IF;
  RETURN true;
END $$
"""


@on_postgres
@pytest.mark.parametrize("mode", ["development", "production"])
async def test_read_with_a_lost_connection_is_retried(database_url: str, mode: str) -> None:
    """Every kind of read, and authentication."""
    async with serving(Settings(database_url=database_url)) as client:
        user = await client.create("ada")
    queries = [
        COUNT,
        f'{{ user(id: "{user["id"]}") {{ email }} }}',
        '{ userBy(by: {username: "ada"}) { email } }',
        '{ users(search: "ada") { nodes { email } } }',
    ]
    script = in_reads("users")
    settings = PRODUCTION if mode == "production" else {}
    async with faulty(database_url, script, **settings) as (client, _):
        await run_in(database_url, CUT_ONCE)
        for n, query in enumerate(["{ __typename }"] if settings else queries):
            headers = {"authorization": bearer(jti=str(n))} if settings else {}
            await run_in(database_url, "SELECT setval('tries', 1, false)")
            answer = await client.http.post("/graphql", json={"query": query}, headers=headers)
            assert (answer.status_code, set(answer.json())) == (200, {"data"}), answer.text


@on_postgres
@pytest.mark.parametrize("table", ["users", "api_keys"])
async def test_failed_authentication_has_the_expected_code_for_every_sqlstate(
    database_url: str, table: str
) -> None:
    async with serving(Settings(database_url=database_url)) as client:
        await client.create("ada")
    async with faulty(database_url, in_reads(table), **PRODUCTION) as (client, faults):
        for number, sqlstate in enumerate(sorted(set(SQLSTATES) - {"ZZZZZ"})):
            await faults.choose(sqlstate)
            token = f"Bearer roster_{'A' * 43}" if table == "api_keys" else bearer(jti=str(number))
            for accept in ("application/json", "text/event-stream"):
                headers = {"authorization": token, "accept": accept}
                answer = await client.http.post("/graphql", json={"query": COUNT}, headers=headers)
                assert answer.headers["content-type"] == "application/json; charset=utf-8"
                [error] = answer.json()["errors"]
                reported = (answer.status_code, error["message"], error["extensions"]["code"])
                if SQLSTATES[sqlstate] is Verdict.BUG:
                    assert reported == (500, CRASHED, "INTERNAL_ERROR"), sqlstate
                    assert len(error["extensions"]["id"]) == 32
                else:
                    assert reported == (503, f"{AWAY} {AGAIN}", "DATABASE_UNAVAILABLE"), sqlstate
                    assert answer.headers["retry-after"] == "2"


@on_postgres
async def test_server_timeouts_are_reported_as_database_unavailable(database_url: str) -> None:
    """Timeouts that an administrator sets are retryable errors."""
    name = make_url(database_url).database
    async with serving(Settings(database_url=database_url)) as client:
        await client.create("ada")
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        for setting in ("statement_timeout", "lock_timeout", "transaction_timeout"):
            await run_in(
                database_url,
                f"ALTER DATABASE {name} RESET ALL",
                f"ALTER DATABASE {name} SET {setting} = '50ms'",
            )
            async with serving(Settings(database_url=database_url)) as client:
                [error] = (await client.send(COUNT))["errors"]
                assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE", setting
                for more in ({}, {"idempotencyKey": "k"}):
                    answer = await client.send(CREATE, input=user_input("bob", **more))
                    [error] = answer["errors"]
                    assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE", setting
                    # transaction_timeout ends the connection.
                    expected = {"NOT_DONE"} | ({"UNKNOWN"} if "trans" in setting else set())
                    assert error["extensions"]["outcome"] in expected, setting
    await holder.close()


@on_postgres
async def test_plan_invalidated_by_a_schema_change_is_prepared_again(
    database_url: str,
) -> None:
    """A statement that fails with 0A000 was not executed."""
    async with serving(Settings(database_url=database_url, pool_size=3)) as client:
        user = await client.create("ada")
        query = f'{{ user(id: "{user["id"]}") {{ email displayName }} users {{ totalCount }} }}'
        for turn, kind in enumerate(("text", "varchar(300)", "text")):
            for n in range(3):  # creates plans on each connection
                await asyncio.gather(*(client.send(query) for _ in range(6)))
                await client.create(f"before{turn}-{n}")
                await client.mutate("updateUser", user["id"], displayName=f"before {turn} {n}")
            await run_in(database_url, f"ALTER TABLE users ALTER COLUMN email TYPE {kind}")
            await asyncio.gather(*(client.ask(query) for _ in range(6)))
            for n in range(4):
                update = {"id": user["id"], "displayName": f"after {turn} {n}"}
                assert_done(await client.send(UPDATE, input=update))
                create = user_input(f"after{turn}-{n}", idempotencyKey=f"{turn} {n}")
                assert_done(await client.send(CREATE, input=create))


@on_postgres
async def test_statement_lost_by_a_pooler_is_prepared_again(database_url: str) -> None:
    """Error 26000: the pooler switched to another server connection."""
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")
        for n in range(5):
            for taken in await connections(client, 2):
                await taken.execute("DEALLOCATE ALL")
            assert await client.ask(COUNT) == {"totalCount": 1 + n}
            for taken in await connections(client, 2):
                await taken.execute("DEALLOCATE ALL")
            await client.create(f"user{n}")
            for taken in await connections(client, 2):
                await taken.execute("DEALLOCATE ALL")
            await client.mutate("updateUser", user["id"], displayName=str(n))


async def connections(client: Client, how_many: int) -> list[Any]:
    """The driver's connections of a pool."""
    taken = [await client.database.engine.connect() for _ in range(how_many)]
    drivers = [(await one.get_raw_connection()).driver_connection for one in taken]
    for one in taken:
        await one.close()
    return drivers


async def assert_writes_fail(client: Client, user: dict[str, Any], *, readable: bool) -> None:
    for way, (query, variables) in writes(user).items():
        field = way.partition(" ")[0]
        reported = await failure(client, query, variables)
        assert reported == expected_error(field, Verdict.UNAVAILABLE, "NOT_DONE"), way
    answer = await client.send(COUNT)
    assert answer.get("data") == ({"users": {"totalCount": 1}} if readable else None), answer


async def assert_writes_succeed(client: Client, user: dict[str, Any]) -> None:
    for query, variables in writes(user).values():
        assert_done(await client.send(query, input=variables))


async def readiness(client: Client) -> tuple[int, dict[str, Any]]:
    answer = await client.http.get("/health/ready")
    return answer.status_code, answer.json()


READY = (200, {"status": "ok", "database": "ok"})
UNREACHABLE = (503, {"status": "unavailable", "database": "unreachable"})


@on_sqlite
async def test_locked_sqlite_file_is_unavailable_for_writes_only(database_url: str) -> None:
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")
        other = sqlite3.connect(make_url(database_url).database or "", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for one in await connections(client, 2):
            await one.execute("PRAGMA busy_timeout = 10")
        await assert_writes_fail(client, user, readable=True)
        assert await readiness(client) == READY  # the lock is temporary
        other.execute("ROLLBACK")
        other.close()
        await assert_writes_succeed(client, user)


@on_sqlite
async def test_write_to_a_full_sqlite_file_is_unavailable(database_url: str) -> None:
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")
        for one in await connections(client, 2):
            await one.execute("PRAGMA max_page_count = 1")  # SQLite uses the current number
        filler = batch(*(f"filler{n}" for n in range(200)))
        reported = await failure(client, BULK, filler)
        assert reported == expected_error("bulkUsers", Verdict.UNAVAILABLE, "NOT_DONE")
        for one in await connections(client, 2):
            await one.execute("PRAGMA max_page_count = 1000000")
        await assert_writes_succeed(client, user)


@on_sqlite
async def test_write_on_a_read_only_connection_is_retried_on_a_writable_one(
    database_url: str,
) -> None:
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")
        for one in await connections(client, 2):
            await one.execute("PRAGMA query_only = ON")
        update = {"id": user["id"], "displayName": "Ada L."}
        assert_done(await client.send(UPDATE, input=update))
        await assert_writes_succeed(client, user)


@on_sqlite
async def test_missing_sqlite_file_is_unavailable_until_it_is_back(database_url: str) -> None:
    path = Path(make_url(database_url).database or "")
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")
        moved = {file: file.rename(f"{file}.moved") for file in path.parent.glob(f"{path.name}*")}
        await assert_writes_fail(client, user, readable=False)
        assert await readiness(client) == UNREACHABLE
        for before, now in moved.items():
            now.rename(before)
        assert await readiness(client) == READY
        await assert_writes_succeed(client, user)


async def test_erasure_succeeds_if_the_checkpoint_fails(
    client: Client, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    """The user is already erased when the checkpoint fails."""
    user = await client.create("ada")
    await client.mutate("deleteUser", user["id"])

    async def fail(_: Session) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Session, "checkpoint", fail)
    erase = """mutation ($input: EraseUserInput!) {
      eraseUser(input: $input) { erasedUserId errors { code } } }"""
    erasure = {"id": user["id"], "confirmUsername": "ada", "reason": "asked for"}
    assert await client.ask(erase, input=erasure) == {"erasedUserId": user["id"], "errors": []}
    assert [entry["log_level"] for entry in logs] == ["warning"]


def numbered(n: int) -> str:
    return (
        f'c{n}: createUser(input: {{username: "user{n}", email: "user{n}@example.com"}}) '
        "{ user { username } }"
    )


async def test_timed_out_mutation_reports_the_outcome_of_each_write(
    database_url: str,
) -> None:
    """The first is done, the second waits for a lock, and the third is not started."""
    settings = Settings(database_url=database_url, mutation_timeout=60, statement_timeout=3600)
    async with serving(settings) as client, waiting_update(client) as waiting_field:
        fields = f"{numbered(1)} held: {waiting_field} {numbered(3)}"
        answer = await client.http.post("/graphql", json={"query": f"mutation {{ {fields} }}"})
        assert answer.status_code == 200
        assert answer.json()["data"] == {
            "c1": {"user": {"username": "user1"}},
            "held": None,
            "c3": None,
        }
        took = "The operation took longer than 60 seconds and was ended."
        reported = [(e["message"], e["path"], e["extensions"]) for e in answer.json()["errors"]]
        assert reported == [
            (f"{took} {NOT_DONE}", [name], {"code": "TIMEOUT", "outcome": "NOT_DONE"})
            for name in ("held", "c3")
        ]


async def test_timeout_of_the_only_write_gets_504(database_url: str) -> None:
    settings = Settings(database_url=database_url, mutation_timeout=60, statement_timeout=3600)
    async with serving(settings) as client, waiting_update(client) as waiting_field:
        answer = await client.http.post(
            "/graphql", json={"query": f"mutation {{ held: {waiting_field} }}"}
        )
        assert answer.status_code == 504
        [error] = answer.json()["errors"]
        assert "data" not in answer.json()
        assert error["path"] == ["held"]
        assert error["extensions"] == {"code": "TIMEOUT", "outcome": "NOT_DONE"}


async def test_timeout_after_a_committed_write_is_outcome_done(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=database_url, mutation_timeout=60, statement_timeout=3600)
    async with serving(settings) as client:

        async def never(*_: object, **__: object) -> Any:
            pass_time(61)  # the time limit, and the second in which writes report their outcomes
            await asyncio.Event().wait()

        monkeypatch.setattr(Session, "fetch", never)
        query = numbered(1).replace("username }", "history { nodes { id } } }")
        answer = await client.http.post("/graphql", json={"query": f"mutation {{ {query} }}"})
        monkeypatch.undo()
        assert answer.status_code == 504
        [error] = answer.json()["errors"]
        assert error["path"] == ["c1"]
        assert error["extensions"] == {"code": "TIMEOUT", "outcome": "DONE"}
        assert await count(client.database) == (1, 1)


@on_postgres
async def test_timeout_during_commit_is_outcome_unknown(database_url: str) -> None:
    async with faulty(database_url, IN_COMMITS, mutation_timeout=60, statement_timeout=3600) as (
        client,
        _,
    ):
        user = await client.create("ada")
        await run_in(
            database_url,
            """CREATE OR REPLACE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
               BEGIN PERFORM pg_sleep(3600); RETURN true; END $$""",
        )
        for way, (query, variables) in writes(user).items():
            deadline = asyncio.get_running_loop().time() + 60
            body = {"query": query, "variables": {"input": variables}}
            posting = asyncio.create_task(client.http.post("/graphql", json=body))
            await until_sleeping(database_url, statements=1)
            pass_time_until(deadline)
            answer = await posting
            assert answer.status_code == 504
            [error] = answer.json()["errors"]
            assert error["extensions"] == {"code": "TIMEOUT", "outcome": "UNKNOWN"}, way
            assert error["message"].endswith(UNKNOWN)
            await until_sleeping(database_url, statements=0)


async def until_sleeping(database_url: str, *, statements: int) -> None:
    """Waits until this number of statements sleeps in the database."""
    other = await asyncpg.connect(database_url)
    sleeping = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'"""
    async with asyncio.timeout(60):
        while await other.fetchval(sleeping) != statements:
            pass
    await other.close()


@asynccontextmanager
async def waiting_update(client: Client) -> AsyncIterator[str]:
    """Yields a mutation field whose transaction waits until a timeout of 60 seconds expires."""
    user = await client.create("held")
    transaction = Session.transaction

    @asynccontextmanager
    async def wait(session: Session, **options: Any) -> AsyncIterator[Any]:
        async with transaction(session, **options):
            pass_time_until(deadline)
            await asyncio.Event().wait()
            yield session

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "transaction", wait)
        deadline = asyncio.get_running_loop().time() + 60
        yield (
            f'updateUser(input: {{id: "{user["id"]}", displayName: "X"}}) {{ user {{ username }} }}'
        )
