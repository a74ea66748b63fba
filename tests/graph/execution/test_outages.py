"""Whatever the database answers, a caller is told whether to come back, and what was done."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from db import aiosqlite_adapter, sqlite
from db.errors import Verdict
from db.session import Session
from graph.api.context import Context
from graph.settings import Settings
from tests.conftest import run_in
from tests.db.test_errors import SQLSTATES
from tests.support.client import CREATE, USER, Client, count, serving
from tests.support.faults import IN_COMMITS, IN_WRITES, Faults, in_reads
from tests.system.test_production import SETTINGS, bearer


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged; to print hundreds of tracebacks would take longer than all else."""
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


def given(name: str, **more: Any) -> dict[str, Any]:
    return {"username": name, "email": f"{name}@example.com", **more}


def batch(*names: str, **more: Any) -> dict[str, Any]:
    return {"operations": [{"create": given(name)} for name in names], **more}


def writes(user: dict[str, Any], turn: str = "") -> dict[str, tuple[str, dict[str, Any]]]:
    """One of each way to write: a single statement, a transaction, one with a key, many."""
    return {
        "createUser": (CREATE, given(f"bob{turn}")),
        "createUser with a key": (CREATE, given(f"kim{turn}", idempotencyKey=f"k{turn}")),
        "updateUser": (UPDATE, {"id": user["id"], "displayName": f"Ada{turn}"}),
        "bulkUsers": (BULK, batch(f"joe{turn}", f"eve{turn}")),
    }


def done(answer: dict[str, Any]) -> None:
    """Check that a write was done."""
    assert set(answer) == {"data"}, answer
    [payload] = answer["data"].values()
    assert payload["errors"] == [], answer


@asynccontextmanager
async def faulty(url: str, script: str, **settings: Any) -> AsyncIterator[tuple[Client, Faults]]:
    faults = Faults(url)
    await faults.prepare(script)
    async with serving(Settings(database_url=url, **settings)) as client:
        yield client, faults


def failed(answer: dict[str, Any], data: Any) -> dict[str, Any]:
    """Return the one error of an answer, less its id, which has to be there."""
    assert answer["data"] == data
    [error] = answer["errors"]
    assert "said to nobody" not in json.dumps(answer)
    extensions = dict(error["extensions"])
    assert len(extensions.pop("id")) == 32
    return {"message": error["message"], "path": error["path"], **extensions}


def as_told(field: str, expected: Verdict, outcome: str | None) -> dict[str, Any]:
    """Return what is told of a field that failed."""
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
async def test_a_write_that_the_database_refuses_is_not_done_whatever_its_sqlstate(
    database_url: str, script: str
) -> None:
    async with faulty(database_url, script) as (client, faults):
        user = await client.create("ada")
        for sqlstate in sorted(set(SQLSTATES) - {"23505", "ZZZZZ"}):
            await faults.choose(sqlstate)
            for way, (query, variables) in writes(user).items():
                field = way.partition(" ")[0]
                told = failed(await client.send(query, input=variables), {field: None})
                # The server says by two of them that it doesn't know itself.
                is_own = way == "createUser" or script is IN_COMMITS
                is_unresolved = is_own and sqlstate in {"08007", "40003"}
                outcome = "UNKNOWN" if is_unresolved else "NOT_DONE"
                assert told == as_told(field, SQLSTATES[sqlstate], outcome), (sqlstate, way)
        await faults.choose("")
        assert await count(client.database) == (1, 1)
        # And all that was refused can be sent again.
        for query, variables in writes(user).values():
            done(await client.send(query, input=variables))


@on_postgres
async def test_a_write_that_others_are_in_the_way_of_is_done_when_they_have_gone(
    database_url: str,
) -> None:
    """So that a client never hears of a deadlock, in every way to write."""
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
            done(await client.send(query, input=variables))


@on_postgres
async def test_a_connection_that_is_cut_in_a_single_statement_leaves_it_unknown(
    database_url: str,
) -> None:
    """The statement is its own transaction; what is in a transaction was not committed."""
    async with faulty(database_url, IN_WRITES) as (client, faults):
        user = await client.create("ada")
        await faults.choose("cut")
        told = {}
        for way, (query, variables) in writes(user).items():
            field = way.partition(" ")[0]
            error = failed(await client.send(query, input=variables), {field: None})
            assert error == as_told(field, Verdict.UNAVAILABLE, error["outcome"])
            told[way] = error["outcome"]
        await faults.choose("")
        assert await count(client.database) == (1, 1)
    assert told == {
        "createUser": "UNKNOWN",
        "createUser with a key": "NOT_DONE",
        "updateUser": "NOT_DONE",
        "bulkUsers": "NOT_DONE",
    }


@on_postgres
async def test_a_connection_that_is_cut_in_commit_leaves_it_unknown(database_url: str) -> None:
    async with faulty(database_url, IN_COMMITS) as (client, faults):
        user = await client.create("ada")
        await faults.choose("cut")
        for way, (query, variables) in writes(user).items():
            field = way.partition(" ")[0]
            told = failed(await client.send(query, input=variables), {field: None})
            assert told == as_told(field, Verdict.UNAVAILABLE, "UNKNOWN"), way
        await faults.choose("")
        assert await count(client.database) == (1, 1)


def lose_answers_of_commit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the connection once COMMIT has been answered, before anybody hears of it."""
    if client.database.is_sqlite:
        run = aiosqlite_adapter.Connection.commit  # where SQLAlchemy's COMMIT goes

        async def commit(driver: Any) -> None:
            await run(driver)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
            raise error

        monkeypatch.setattr(aiosqlite_adapter.Connection, "commit", commit)
        return
    execute = asyncpg.Connection.execute

    async def lose(driver: Any, query: str, *arguments: Any, **options: Any) -> Any:
        done = await execute(driver, query, *arguments, **options)
        if query.startswith("COMMIT"):
            driver.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        return done

    monkeypatch.setattr(asyncpg.Connection, "execute", lose)


async def test_a_key_tells_what_became_of_a_write_that_is_unknown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = {
        "createUser": (CREATE, given("bob", idempotencyKey="a")),
        "bulkUsers": (BULK, batch("eve", "fay", idempotencyKey="b")),
    }
    await client.create("ada")
    with monkeypatch.context() as patched:
        lose_answers_of_commit(client, patched)
        for field, (query, variables) in keyed.items():
            told = failed(await client.send(query, input=variables), {field: None})
            assert told == as_told(field, Verdict.UNAVAILABLE, "UNKNOWN")
    assert await count(client.database) == (4, 4)  # it was done, in truth
    replayed = CREATE.replace("createUser(input: $input) {", "createUser(input: $input) { replayed")
    answer = await client.send(replayed, input=keyed["createUser"][1])
    assert answer["data"]["createUser"]["replayed"] is True
    assert answer["data"]["createUser"]["user"]["username"] == "bob"
    answer = await client.send(BULK, input=keyed["bulkUsers"][1])
    assert answer["data"]["bulkUsers"] == {"succeeded": 2, "replayed": True, "errors": []}
    assert await count(client.database) == (4, 4)


@on_postgres
async def test_each_write_of_a_request_has_an_outcome_of_its_own(database_url: str) -> None:
    """Also where there are more errors than are told of a query."""
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
        told = [(e["path"], e["extensions"]["outcome"]) for e in answer["errors"]]
        assert told == [([f"bad{n}"], "NOT_DONE") for n in range(7)]
        assert await count(client.database) == (2, 2)


@on_postgres
async def test_a_write_that_a_server_refuses_as_read_only_is_tried_on_a_new_connection(
    database_url: str,
) -> None:
    """So that nobody hears of a switchover, if the new primary is there."""
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")
        for query, variables in writes(user).values():
            for one in await connections(client, 2):
                await one.execute("SET default_transaction_read_only = on")
            done(await client.send(query, input=variables))
        # And is refused where there is none.
        name = make_url(database_url).database
        await run_in(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        client.database.engine.sync_engine.pool.discard()  # type: ignore[attr-defined]
        for way, (query, variables) in writes(user, "2").items():
            field = way.partition(" ")[0]
            told = failed(await client.send(query, input=variables), {field: None})
            assert told == as_told(field, Verdict.UNAVAILABLE, "NOT_DONE")
        assert await client.ask(COUNT) == {"totalCount": 5}
        ready = await client.http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": "unavailable", "database": "read-only"}


@on_postgres
async def test_a_read_fails_in_the_same_way_whatever_its_sqlstate(database_url: str) -> None:
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
                answer = await client.send(query)
                [error] = answer["errors"]
                expected = as_told(name, SQLSTATES[sqlstate], None)
                told = (error["message"], error["path"][0], error["extensions"]["code"])
                assert told == (expected["message"], name, expected["code"]), (sqlstate, name)
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
async def test_a_read_whose_connection_is_cut_is_tried_again(database_url: str, mode: str) -> None:
    """In every kind of read, and where somebody signs in."""
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
async def test_authentication_fails_in_the_same_way_whatever_the_sqlstate(
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
                told = (answer.status_code, error["message"], error["extensions"]["code"])
                if SQLSTATES[sqlstate] is Verdict.BUG:
                    assert told == (500, CRASHED, "INTERNAL_ERROR"), sqlstate
                    assert len(error["extensions"]["id"]) == 32
                else:
                    assert told == (503, f"{AWAY} {AGAIN}", "DATABASE_UNAVAILABLE"), sqlstate
                    assert answer.headers["retry-after"] == "5"


@on_postgres
async def test_settings_of_the_server_that_end_statements_are_no_bug(database_url: str) -> None:
    """What an administrator sets for the database: the caller can come back."""
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
                    answer = await client.send(CREATE, input=given("bob", **more))
                    [error] = answer["errors"]
                    assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE", setting
                    # transaction_timeout ends the connection.
                    expected = {"NOT_DONE"} | ({"UNKNOWN"} if "trans" in setting else set())
                    assert error["extensions"]["outcome"] in expected, setting
    await holder.close()


@on_postgres
async def test_a_plan_that_is_of_before_a_change_of_the_table_is_made_again(
    database_url: str,
) -> None:
    """The server has not executed what it refuses with 0A000."""
    async with serving(Settings(database_url=database_url, pool_size=3)) as client:
        user = await client.create("ada")
        query = f'{{ user(id: "{user["id"]}") {{ email displayName }} users {{ totalCount }} }}'
        for turn, kind in enumerate(("text", "varchar(300)", "text")):
            for n in range(3):  # so that each connection has plans
                await asyncio.gather(*(client.send(query) for _ in range(6)))
                await client.create(f"before{turn}-{n}")
                await client.do("updateUser", user["id"], displayName=f"before {turn} {n}")
            await run_in(database_url, f"ALTER TABLE users ALTER COLUMN email TYPE {kind}")
            await asyncio.gather(*(client.ask(query) for _ in range(6)))
            for n in range(4):
                update = {"id": user["id"], "displayName": f"after {turn} {n}"}
                done(await client.send(UPDATE, input=update))
                create = given(f"after{turn}-{n}", idempotencyKey=f"{turn} {n}")
                done(await client.send(CREATE, input=create))


@on_postgres
async def test_a_statement_that_a_pooler_has_lost_is_prepared_again(database_url: str) -> None:
    """26000: the server's connection behind a pooler is another one."""
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
            await client.do("updateUser", user["id"], displayName=str(n))


async def connections(client: Client, how_many: int) -> list[Any]:
    """Return the driver's connections of a pool."""
    taken = [await client.database.engine.connect() for _ in range(how_many)]
    drivers = [(await one.get_raw_connection()).driver_connection for one in taken]
    for one in taken:
        await one.close()
    return drivers


@on_sqlite
async def test_a_file_that_takes_no_writes_is_no_bug(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full, locked by another process, opened read-only, deleted; reads go on where they can."""
    monkeypatch.setattr(sqlite, "_BUSY_MS", 10)
    path = Path(make_url(database_url).database or "")
    async with serving(Settings(database_url=database_url, pool_size=2)) as client:
        user = await client.create("ada")

        async def refused(*, readable: bool) -> None:
            for way, (query, variables) in writes(user).items():
                field = way.partition(" ")[0]
                told = failed(await client.send(query, input=variables), {field: None})
                assert told == as_told(field, Verdict.UNAVAILABLE, "NOT_DONE"), way
            answer = await client.send(COUNT)
            assert answer["data"] == {"users": {"totalCount": 1 if readable else None}}, answer

        async def ready() -> tuple[int, dict[str, Any]]:
            answer = await client.http.get("/health/ready")
            return answer.status_code, answer.json()

        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await refused(readable=True)
        assert await ready() == (200, {"status": "ok", "database": "ok"})  # who writes goes on
        other.execute("ROLLBACK")
        other.close()
        for one in await connections(client, 2):
            await one.execute("PRAGMA max_page_count = 1")  # which is made as many as there are
        filler = batch(*(f"filler{n}" for n in range(200)))
        told = failed(await client.send(BULK, input=filler), {"bulkUsers": None})
        assert told == as_told("bulkUsers", Verdict.UNAVAILABLE, "NOT_DONE")
        for one in await connections(client, 2):
            await one.execute("PRAGMA max_page_count = 1000000")
        for one in await connections(client, 2):
            await one.execute("PRAGMA query_only = ON")
        # The next connection takes writes, so that nobody hears of it.
        update = {"id": user["id"], "displayName": "Ada L."}
        done(await client.send(UPDATE, input=update))
        moved = {file: file.rename(f"{file}.moved") for file in path.parent.glob(f"{path.name}*")}
        await refused(readable=False)
        assert await ready() == (503, {"status": "unavailable", "database": "unreachable"})
        for before, now in moved.items():
            now.rename(before)
        assert await ready() == (200, {"status": "ok", "database": "ok"})
        for query, variables in writes(user).values():
            done(await client.send(query, input=variables))


async def test_a_write_is_told_apart_from_the_log_that_cannot_be_emptied(
    client: Client, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    """The user is erased by then."""
    user = await client.create("ada")
    await client.do("deleteUser", user["id"])

    async def fail() -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(client.database, "forget", fail)
    erase = """mutation ($input: EraseUserInput!) {
      eraseUser(input: $input) { erasedUserId errors { code } } }"""
    asked = {"id": user["id"], "confirmUsername": "ada", "reason": "asked for"}
    assert await client.ask(erase, input=asked) == {"erasedUserId": user["id"], "errors": []}
    assert [entry["log_level"] for entry in logs] == ["warning"]


def numbered(n: int) -> str:
    return (
        f'c{n}: createUser(input: {{username: "user{n}", email: "user{n}@example.com"}}) '
        "{ user { username } }"
    )


async def test_each_write_that_takes_too_long_says_what_is_known_of_it(
    database_url: str,
) -> None:
    """The first is done, the second waits for a lock, and the third is not begun."""
    settings = Settings(database_url=database_url, mutation_timeout=1.0)
    async with serving(settings) as client, holding(client) as hold:
        fields = f"{numbered(1)} held: {hold} {numbered(3)}"
        answer = await client.http.post("/graphql", json={"query": f"mutation {{ {fields} }}"})
        assert answer.status_code == 200
        assert answer.json()["data"] == {
            "c1": {"user": {"username": "user1"}},
            "held": None,
            "c3": None,
        }
        took = "The operation took longer than 1 seconds and was ended."
        told = [(e["message"], e["path"], e["extensions"]) for e in answer.json()["errors"]]
        assert told == [
            (f"{took} {NOT_DONE}", [name], {"code": "TIMEOUT", "outcome": "NOT_DONE"})
            for name in ("held", "c3")
        ]


async def test_a_write_that_takes_too_long_alone_is_the_whole_answer(database_url: str) -> None:
    settings = Settings(database_url=database_url, mutation_timeout=0.2)
    async with serving(settings) as client, holding(client) as hold:
        answer = await client.http.post("/graphql", json={"query": f"mutation {{ held: {hold} }}"})
        assert answer.status_code == 504
        [error] = answer.json()["errors"]
        assert "data" not in answer.json()
        assert error["path"] == ["held"]
        assert error["extensions"] == {"code": "TIMEOUT", "outcome": "NOT_DONE"}


async def test_a_write_that_is_done_is_told_where_its_answer_takes_too_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.execution.executor._LAST_SECONDS", 0.0)
    settings = Settings(database_url=database_url, mutation_timeout=1.0)
    async with serving(settings) as client:

        async def never(*_: object) -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr(Context, "read", never)
        query = numbered(1).replace("username }", "history { nodes { id } } }")
        answer = await client.http.post("/graphql", json={"query": f"mutation {{ {query} }}"})
        monkeypatch.undo()
        assert answer.status_code == 504
        [error] = answer.json()["errors"]
        assert error["path"] == ["c1"]
        assert error["extensions"] == {"code": "TIMEOUT", "outcome": "DONE"}
        assert await count(client.database) == (1, 1)


@on_postgres
async def test_a_commit_that_takes_too_long_leaves_it_unknown(database_url: str) -> None:
    async with faulty(database_url, IN_COMMITS, mutation_timeout=1.0) as (client, _):
        user = await client.create("ada")
        await run_in(
            database_url,
            """CREATE OR REPLACE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
               BEGIN PERFORM pg_sleep(60); RETURN true; END $$""",
        )
        for way, (query, variables) in writes(user).items():
            body = {"query": query, "variables": {"input": variables}}
            answer = await client.http.post("/graphql", json=body)
            assert answer.status_code == 504
            [error] = answer.json()["errors"]
            assert error["extensions"] == {"code": "TIMEOUT", "outcome": "UNKNOWN"}, way
            assert error["message"].endswith(UNKNOWN)


@asynccontextmanager
async def holding(client: Client) -> AsyncIterator[str]:
    """Return a mutation's field whose transaction waits for as long as this lasts."""
    user = await client.create("held")
    transaction = Session.transaction

    @asynccontextmanager
    async def wait(session: Session, **options: Any) -> AsyncIterator[Any]:
        async with transaction(session, **options):
            await asyncio.Event().wait()
            yield session

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "transaction", wait)
        yield (
            f'updateUser(input: {{id: "{user["id"]}", displayName: "X"}}) {{ user {{ username }} }}'
        )
