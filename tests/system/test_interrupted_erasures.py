"""Processes that are killed while they erase: no erasure is lost, and nobody else is erased."""

import asyncio
import json
import resource
import sys
from asyncio.subprocess import PIPE, STDOUT
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select, text

from db.models import User
from tests.conftest import opened, run_in
from tests.support.client import Client
from tests.support.ledgers import stored_entries
from tests.support.process import run, serving_process
from tests.system.test_restores import post, retry

PAST = "2000-01-01T00:00:00Z"
ERASE: Final = """mutation { eraseUser(input: {
  id: "VXNlcjox", confirmUsername: "ada", reason: "On request"}) { erasedUserId } }"""
INTERRUPTED = "roster: the erasure of user 1 was interrupted on "

# Runs `roster` and kills it before or after it appends entries of a state to the ledger.
KILLED: Final = """
import os, signal, sys
from db.erasure_ledger.file import FileLedger
from db.erasure_ledger.table import TableLedger
from graph.cli.main import main
when, state = sys.argv.pop(1), sys.argv.pop(1)
for ledger in (FileLedger, TableLedger):
    def patch(append):
        async def killed(self, entries):
            if {entry.state for entry in entries} == {state}:
                if when == "after":
                    await append(self, entries)
                os.kill(os.getpid(), signal.SIGKILL)
            await append(self, entries)
        return killed
    ledger.append = patch(ledger.append)
main()
"""


async def killed(when: str, state: str, **settings: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, when, state, "erase-due"),
        stdout=PIPE,
        stderr=STDOUT,
        env=settings,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -9, output.decode()


async def due_users(client: Client) -> None:
    """Adds Ada, who is to be erased, and Mia, who is not."""
    ada = await client.create("ada")
    await client.create("mia")
    await client.mutate("deleteUser", ada["id"], eraseAfter=PAST)


async def erased_ids(database_url: str) -> list[int]:
    async with opened(database_url) as database, database.session() as session:
        return list(await session.scalars(select(User.id).where(User.erased_at.is_not(None))))


# Each database with one of the ledgers: the ledger does not depend on the database.
each_ledger = pytest.mark.parametrize(
    ("dialect", "erasure_ledger"),
    [("sqlite", "file-ledger"), ("postgresql", "postgresql-ledger")],
    indirect=True,
)


@pytest.fixture
def settings(database_url: str, erasure_ledger: str) -> dict[str, Any]:
    return {"ROSTER_DATABASE_URL": database_url, "ROSTER_ERASURE_LEDGER": erasure_ledger}


@each_ledger
@pytest.mark.parametrize("when", ["before", "after"])
async def test_process_killed_before_the_commit_erases_nobody(
    client: Client, settings: dict[str, Any], when: str
) -> None:
    await due_users(client)
    await killed(when, "begun", **settings)
    database_url, ledger = settings.values()
    assert await erased_ids(database_url) == []
    code, output = await run("erase-replay", **settings)
    assert await erased_ids(database_url) == []
    assert "Erased 0 users again" in output
    if when == "after":  # it may have been done, for all that the ledger knows
        assert (code, output.count(INTERRUPTED)) == (1, 1)
        assert await stored_entries(ledger) == [("begun", 1)]
    else:
        assert (code, INTERRUPTED in output) == (0, False)
    assert (await run("erase-due", **settings))[0] == 0
    assert await erased_ids(database_url) == [1]
    code, output = await run("erase-replay", **settings)
    assert (code, INTERRUPTED in output) == (0, False)


@each_ledger
@pytest.mark.parametrize("command", ["erase-replay", "erase-due", "serve"])
async def test_erasure_of_a_process_killed_after_the_commit_is_recorded_later(
    client: Client, settings: dict[str, Any], command: str
) -> None:
    await due_users(client)
    await killed("before", "erased", **settings)
    database_url, ledger = settings.values()
    assert await erased_ids(database_url) == [1]
    assert await stored_entries(ledger) == [("begun", 1)]
    if command == "serve":
        async with serving_process(**settings):
            pass
    else:
        code, output = await run(command, **settings)
        assert (code, "Added 1 erasures" in output) == (0, command == "erase-replay")
    assert await stored_entries(ledger) == [("begun", 1), ("erased", 1)]


async def lose(client: Client, settings: dict[str, Any]) -> None:
    """Loses the erasure of a process that was killed after the commit, as a restore does."""
    await due_users(client)
    async with client.database.engine.begin() as connection:
        user = (await connection.execute(text("SELECT * FROM users WHERE id = 1"))).one()
    await killed("before", "erased", **settings)
    columns = ("username", "username_key", "email", "email_key", "erased_at", "version")
    given = ", ".join(f"{name} = :{name}" for name in columns)
    values = {name: user._mapping[name] for name in columns}  # noqa: SLF001 - its public name
    async with client.database.engine.begin() as connection:
        await connection.execute(text("DELETE FROM user_events WHERE type = 'ERASED'"))
        await connection.execute(text(f"UPDATE users SET {given} WHERE id = 1"), values)  # noqa: S608


@each_ledger
@pytest.mark.parametrize(("decision", "expected"), [("erase", [1]), ("dismiss", [])])
async def test_erasure_that_only_the_lost_database_knew_is_decided_by_the_operator(
    client: Client, settings: dict[str, Any], decision: str, expected: list[int]
) -> None:
    await lose(client, settings)
    code, output = await run("erase-replay", **settings)
    assert (code, output.count(INTERRUPTED)) == (1, 1)
    assert await erased_ids(settings["ROSTER_DATABASE_URL"]) == []
    code, output = await run("erase-replay", "--incomplete", decision, **settings)
    assert (code, INTERRUPTED in output) == (0, False)
    assert f"Erased {len(expected)} users again" in output
    assert await erased_ids(settings["ROSTER_DATABASE_URL"]) == expected
    code, output = await run("erase-replay", **settings)
    assert (code, INTERRUPTED in output, "Erased 0 users again" in output) == (0, False, True)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("erasure_ledger", ["file-ledger"], indirect=True)
@pytest.mark.parametrize("is_committed", [True, False])
async def test_server_killed_during_the_commit_leaves_the_decision_to_the_database(
    client: Client, settings: dict[str, Any], *, is_committed: bool
) -> None:
    await due_users(client)
    database_url, ledger = settings.values()
    await run_in(database_url, WAIT_IN_COMMIT)
    async with client.database.engine.connect() as holder:
        await holder.execute(text("SELECT pg_advisory_lock(42)"))
        async with serving_process(**settings) as (process, url):
            erasing = asyncio.create_task(post(url, ERASE))
            waiting = await committing(client)
            process.kill()
            await process.wait()
        await asyncio.gather(erasing, return_exceptions=True)
        if not is_committed:
            await run_in(database_url, f"SELECT pg_terminate_backend({waiting})")
        await holder.execute(text("SELECT pg_advisory_unlock(42)"))
    await retry(partial(has_ended, client, waiting))
    assert await erased_ids(database_url) == ([1] if is_committed else [])
    code, output = await run("erase-replay", **settings)
    assert await erased_ids(database_url) == ([1] if is_committed else [])
    assert (code, INTERRUPTED in output) == ((0, False) if is_committed else (1, True))
    ended = [("erased", 1)] if is_committed else []
    assert await stored_entries(ledger) == [("begun", 1), *ended]


WAIT_IN_COMMIT: Final = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER waiting AFTER INSERT ON user_events
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
"""


async def committing(client: Client) -> int:
    """Waits for a transaction in its commit; returns its process."""
    waiting = text(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
    )
    async with client.database.session() as session:
        await retry(partial(session.scalar, waiting))
        return int(await session.scalar(waiting))


async def has_ended(client: Client, pid: int) -> bool:
    async with client.database.session() as session:
        found = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        return not await session.scalar(found, {"pid": pid})


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("erasure_ledger", ["file-ledger"], indirect=True)
async def test_erasure_is_refused_while_the_file_cannot_grow(
    client: Client, settings: dict[str, Any]
) -> None:
    await due_users(client)
    ledger = Path(settings["ROSTER_ERASURE_LEDGER"])
    async with serving_process(**settings) as (process, url):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        assert extensions(await post(url, ERASE)) == {
            "code": "ERASURE_LEDGER_UNAVAILABLE",
            "outcome": "NOT_DONE",
        }
        assert await stored_entries(str(ledger)) == []
        assert await erased_ids(settings["ROSTER_DATABASE_URL"]) == []
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert await post(url, ERASE) == {"data": {"eraseUser": {"erasedUserId": "VXNlcjox"}}}
    assert await stored_entries(str(ledger)) == [("begun", 1), ("erased", 1)]


def extensions(answer: dict[str, Any]) -> Any:
    [error] = answer["errors"]
    return error["extensions"]


async def test_erasure_is_refused_while_the_ledger_is_unreachable(
    client: Client, database_url: str, erasure_ledger: str, tmp_path: Path
) -> None:
    await due_users(client)
    is_file = "://" not in erasure_ledger
    folder = tmp_path / "ledger"
    folder.mkdir()
    unreachable = str(folder / "x") if is_file else "postgresql://roster@127.0.0.1:1/ledger"
    settings: dict[str, Any] = {
        "ROSTER_DATABASE_URL": database_url,
        "ROSTER_ERASURE_LEDGER": unreachable,
    }
    async with serving_process(**settings) as (process, url):
        if is_file:
            folder.rmdir()
        assert extensions(await post(url, ERASE)) == {
            "code": "ERASURE_LEDGER_UNAVAILABLE",
            "outcome": "NOT_DONE",
        }
        process.terminate()
        output, _ = await process.communicate()
    assert await erased_ids(database_url) == []
    assert "erasure ledger unavailable" in output.decode()
    code, output_of_command = await run("erase-due", **settings | {"ROSTER_LOG_FORMAT": "json"})
    assert code == 1
    assert output_of_command.count("\n") == 1, json.dumps(output_of_command)
    assert await erased_ids(database_url) == []
