"""`roster events` as a process: killed, stopped, without its database or its reader."""

import asyncio
import base64
import fcntl
import json
import os
import random
import signal
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from db.engine import Database
from tests.conftest import administer, opened
from tests.support.client import count
from tests.support.feed import creation, wait_until, write
from tests.support.process import run, start_writing
from users.seed import populate

KILLS = 4
WRITERS = 4


async def seed(url: str, users: int) -> int:
    """Add users and return the number of events."""
    async with opened(url) as database:
        async for _ in populate(database, users):
            pass
        return (await count(database))[1]


async def event_ids(database: Database) -> list[int]:
    async with database.session() as session:
        return list(await session.scalars(text("SELECT id FROM user_events ORDER BY id")))


def ids(output: Path) -> list[int]:
    """Return the ids of the events in complete lines."""
    cursors = [json.loads(line) for line in output.read_bytes().splitlines() if line]
    return [int(_decoded(line["cursor"])[1]) for line in cursors]


def _decoded(cursor: str) -> list[Any]:
    found: list[Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return found


async def until_written(output: Path, number: int) -> None:
    await wait_until(lambda: output.read_bytes().count(b"\n") >= number)


async def keep_writing(database: Database, name: str, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        await write(database, *[creation(f"{name}{number}x{n}") for n in range(3)])


async def test_follower_that_is_killed_repeats_events_and_misses_none(
    database_url: str, tmp_path: Path
) -> None:
    output, cursors = tmp_path / "events.ndjson", tmp_path / "cursor"
    output.touch()
    chance, stop = random.Random(KILLS), asyncio.Event()  # noqa: S311 - not used for secrets
    arguments = ("events", "--follow", "--cursor-file", str(cursors))
    async with opened(database_url) as database:
        writers = [
            asyncio.create_task(keep_writing(database, f"w{n}", stop)) for n in range(WRITERS)
        ]
        for kill in range(KILLS + 1):
            if kill == KILLS:
                stop.set()
                await asyncio.gather(*writers)
            with output.open("ab") as file:
                process = await start_writing(
                    file, PIPE, *arguments, ROSTER_DATABASE_URL=database_url
                )
            if kill < KILLS:
                before = output.read_bytes().count(b"\n")
                await until_written(output, before + chance.randrange(1, 40))
                process.kill()
                await process.wait()
        expected = await event_ids(database)
        await wait_until(
            lambda: output.read_bytes().endswith(b"\n") and expected[-1] in ids(output)
        )
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    found = ids(output)
    assert sorted(set(found)) == expected
    repeats = [n for n in range(1, len(found)) if found[n] <= found[n - 1]]
    assert len(repeats) <= KILLS  # in order within each run
    lines = output.read_bytes().splitlines()
    assert len(set(lines)) == len(expected)  # an event that is repeated is the same line
    assert _decoded(cursors.read_text().strip())[1] == expected[-1]


async def test_without_follow_it_ends_at_the_present_and_continues_there(
    database_url: str, tmp_path: Path
) -> None:
    number = await seed(database_url, 600)
    arguments = ("events", "--cursor-file", str(tmp_path / "cursor"))
    code, first = await run(*arguments, ROSTER_DATABASE_URL=database_url)
    assert (code, len(first.splitlines())) == (0, number)
    assert await run(*arguments, ROSTER_DATABASE_URL=database_url) == (0, "")
    async with opened(database_url) as database:
        await write(database, creation("later"))
    code, output = await run(
        *arguments,
        "--after",
        "not-read",
        "--format",
        "cloudevents",
        ROSTER_DATABASE_URL=database_url,
    )
    assert (code, json.loads(output)["type"]) == (0, "roster.user.created")
    middle = json.loads(first.splitlines()[9])["cursor"]
    code, rest = await run("events", "--after", middle, ROSTER_DATABASE_URL=database_url)
    assert (code, rest.splitlines()[:-1]) == (0, first.splitlines()[10:])


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_start_at_the_present_is_stored_before_the_first_event(
    database_url: str, tmp_path: Path
) -> None:
    await seed(database_url, 5)
    arguments = ("events", "--after", "now", "--cursor-file", str(tmp_path / "cursor"))
    assert await run(*arguments, ROSTER_DATABASE_URL=database_url) == (0, "")
    async with opened(database_url) as database:
        await write(database, creation("later"))
    code, output = await run(*arguments, ROSTER_DATABASE_URL=database_url)
    assert (code, len(output.splitlines())) == (0, 1)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_invalid_cursor_has_an_exit_code_of_its_own(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "cursor"
    await seed(database_url, 5)
    code, output = await run("events", "--after", "x", ROSTER_DATABASE_URL=database_url)
    reason = "the cursor of `--after` cannot be used: it is not a cursor of an event"
    again = "to begin again at the first event"
    assert (code, output) == (3, f"roster: {reason}. Omit it {again}\n")
    arguments = ("events", "--cursor-file", str(file))
    assert (await run(*arguments, ROSTER_DATABASE_URL=database_url))[0] == 0
    kept = file.read_text()
    code, _ = await run("feed", "renew-epoch", "--yes", ROSTER_DATABASE_URL=database_url)
    assert code == 0
    reason = "its event does not exist in this database, or not any longer"
    for follow in ((), ("--follow",)):
        code, output = await run(*arguments, *follow, ROSTER_DATABASE_URL=database_url)
        message = f"the cursor in {file} cannot be used: {reason}. Remove the file {again}"
        assert (code, output) == (3, f"roster: {message}\n")
    assert file.read_text() == kept
    file.write_bytes(b"")
    code, output = await run(*arguments, "--after", "now", ROSTER_DATABASE_URL=database_url)
    message = (
        f"the cursor in {file} cannot be used: it is not a cursor of an event. Remove the file"
    )
    assert (code, output) == (3, f"roster: {message} {again}\n")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_cursor_file_that_cannot_be_used_is_an_error_before_the_first_event(
    database_url: str, tmp_path: Path
) -> None:
    await seed(database_url, 5)
    file, locked = tmp_path / "none" / "cursor", tmp_path / "locked.lock"
    locked.touch()
    with locked.open("rb") as opened_file:
        fcntl.flock(opened_file, fcntl.LOCK_EX)
        for path, message in (
            (file, f"cannot write {file}.lock: No such file or directory"),
            (tmp_path, f"cannot read {tmp_path}: Is a directory"),
            (
                locked.with_suffix(""),
                f"another process writes events and uses {locked.with_suffix('')}",
            ),
        ):
            arguments = ("events", "--cursor-file", str(path))
            code, output = await run(*arguments, ROSTER_DATABASE_URL=database_url)
            assert (code, output) == (1, f"roster: {message}\n")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("source", ["", "a b", "100%", "ä", "<x>"])
async def test_source_that_is_no_uri_reference_is_refused(database_url: str, source: str) -> None:
    arguments = ("events", "--format", "cloudevents", "--source", source)
    message = "`--source` must be a URI reference, such as https://roster.example.com"
    code, output = await run(*arguments, ROSTER_DATABASE_URL=database_url)
    assert (code, output) == (1, f"roster: {message}\n")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("state", ["waits", "writes"])
async def test_reader_that_closes_the_output_ends_it_quietly(
    database_url: str, tmp_path: Path, state: str
) -> None:
    file = tmp_path / "cursor"
    await seed(database_url, {"waits": 1, "writes": 2_000}[state])
    reading, writing = os.pipe()
    process = await start_writing(
        writing,
        PIPE,
        *("events", "--follow", "--personal-data", "--cursor-file", str(file)),
        ROSTER_DATABASE_URL=database_url,
    )
    os.close(writing)
    assert (await asyncio.to_thread(os.read, reading, 1)) == b"{"
    if state == "waits":
        await wait_until(file.exists)  # after the last event
    os.close(reading)
    assert process.stderr
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert await process.stderr.read() == b""


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_also_while_its_reader_does_not_read(
    database_url: str, number: signal.Signals
) -> None:
    await seed(database_url, 2_000)  # more than a pipe and the buffer of this process hold
    reading, writing = os.pipe()
    process = await start_writing(
        *(writing, PIPE, "events", "--follow", "--personal-data"),
        ROSTER_DATABASE_URL=database_url,
    )
    os.close(writing)
    state = Path(f"/proc/{process.pid}/wchan")
    await wait_until(lambda: "pipe_write" in state.read_text())
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    os.close(reading)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_follower_waits_for_its_database_and_continues(
    database_url: str, tmp_path: Path
) -> None:
    await seed(database_url, 3)
    output = tmp_path / "events.ndjson"
    name = make_url(database_url).database
    with output.open("ab") as file:
        process = await start_writing(
            file, PIPE, "events", "--follow", ROSTER_DATABASE_URL=database_url
        )
    await until_written(output, 3)
    await asyncio.to_thread(
        administer,
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608 - a test's own name
    )
    assert process.stderr
    assert b"the feed waits for the database" in await asyncio.wait_for(
        process.stderr.readline(), 60
    )
    await asyncio.to_thread(administer, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    async with opened(database_url) as database:
        await write(database, creation("later"))
        expected = await event_ids(database)
    await until_written(output, len(expected))
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert ids(output) == expected
