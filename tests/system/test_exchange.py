"""`roster import` and `roster export` as processes, also killed at any row."""

import asyncio
import fcntl
import os
import random
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from graph.cli import exports
from graph.exchange.rows import EXPORTED, ExportedUser
from tests.conftest import opened
from tests.support.client import count
from tests.support.exchange import (
    KEPT,
    exported,
    kill_after,
    kill_at,
    migrate,
    row,
    run_import,
    write,
)
from tests.support.faults import Faults, in_reads
from tests.support.process import run, start, start_writing
from users.seed import populate

ROWS = 6_000
KILLS = int(os.environ.get("IMPORT_KILLS", "3"))


async def test_import_that_is_killed_at_random_lines_continues_without_loss(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    file, rows = tmp_path / "users.ndjson", [row(n) for n in range(ROWS)]
    write(file, rows)
    chance = random.Random(KILLS)  # noqa: S311 - not used for secrets
    for line in sorted(chance.randrange(ROWS) for _ in range(KILLS)):
        await kill_after(line, file, database_url)
    code, output = await run("import", str(file), ROSTER_DATABASE_URL=database_url)
    assert code == 0, output
    users = await exported(database_url, tmp_path)
    assert [{name: user[name] for name in KEPT} for user in users] == rows
    assert all(user["version"] == (2 if user["status"] == "DEACTIVATED" else 1) for user in users)
    async with opened(database_url) as database:
        assert await count(database) == (ROWS, ROWS + ROWS // 5)
    assert not file.with_name("users.ndjson.progress").exists()


async def test_exported_csv_is_imported_into_another_database_and_exported_alike(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    first, second = tmp_path / "first.ndjson", tmp_path / "second.csv"
    names = ['"quoted", x', "a;b|c", "=1+1", " Ünïcode 王 "]
    write(first, [row(n) | {"displayName": name} for n, name in enumerate(names, start=1)])
    assert (await run("import", str(first), ROSTER_DATABASE_URL=database_url))[0] == 0
    assert (await run("export", str(second), ROSTER_DATABASE_URL=database_url))[0] == 0
    assert second.stat().st_mode & 0o777 == 0o600
    other = f"sqlite:///{tmp_path}/other.db"
    await migrate(other)
    assert await run_import(second, other) == (
        0,
        "4 created, 0 updated, 0 unchanged, 0 rejected.",
    )
    given, taken = [await exported(url, tmp_path) for url in (database_url, other)]
    assert [{n: u[n] for n in KEPT} for u in given] == [{n: u[n] for n in KEPT} for u in taken]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_file_with_an_invalid_row_imports_nothing_and_writes_a_report(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    file, report = tmp_path / "users.ndjson", tmp_path / "report.ndjson"
    write(file, [row(1), row(2) | {"email": "secret"}])
    code, output = await run(
        "import", str(file), "--report", str(report), ROSTER_DATABASE_URL=database_url
    )
    [rejection] = [orjson.loads(line) for line in report.read_bytes().splitlines()]
    assert (rejection["line"], rejection["field"], set(rejection)) == (
        2,
        "email",
        {"line", "field", "message"},
    )
    refused = "roster: 1 of 2 rows cannot be imported: nothing was imported"
    assert (code, output) == (1, f"line 2: email: {rejection['message']}\n{refused}\n")
    assert "secret" not in output + report.read_text()
    assert await exported(database_url, tmp_path) == []


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "{folder}/none.csv"), "{folder}/none.csv: No such file or directory"),
        (
            ("import", "{folder}/a.txt"),
            "{folder}/a.txt: the name must end with .csv, .ndjson or .jsonl",
        ),
        (("export", "{folder}/a.txt"), "{folder}/a.txt exists already: choose a new name"),
        (("import", "."), ".: Is a directory"),
        (("import", "-"), "-: a pipe cannot be imported: store its rows in a file first"),
        (
            ("import", "{folder}/pipe.csv"),
            "{folder}/pipe.csv: a pipe cannot be imported: store its rows in a file first",
        ),
        (
            ("import", "{folder}/b.ndjson"),
            "{folder}/b.ndjson.progress is not the progress of an import: remove it",
        ),
    ],
)
async def test_file_that_cannot_be_used_is_named_in_one_line(
    database_url: str, tmp_path: Path, arguments: tuple[str, str], message: str
) -> None:
    await migrate(database_url)
    for name in ("a.txt", "b.ndjson", "b.ndjson.progress"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.csv")
    command, file = (part.format(folder=tmp_path) for part in arguments)
    assert await run(command, file, ROSTER_DATABASE_URL=database_url) == (
        1,
        f"roster: {message.format(folder=tmp_path)}\n",
    )


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_report_never_replaces_the_file_to_import(database_url: str, tmp_path: Path) -> None:
    await migrate(database_url)
    file = tmp_path / "users.ndjson"
    write(file, [row(1)])
    before = file.read_bytes()
    code, output = await run(
        "import", str(file), "--report", str(file), ROSTER_DATABASE_URL=database_url
    )
    message = "the report would replace the file to import: choose another name"
    assert (code, output) == (1, f"roster: {message}\n")
    assert file.read_bytes() == before


async def test_progress_of_another_file_is_not_continued(database_url: str, tmp_path: Path) -> None:
    await migrate(database_url)
    file, rows = tmp_path / "users.ndjson", [row(n) for n in range(ROWS)]
    write(file, rows)
    await kill_at(500, file, database_url)
    assert file.with_name("users.ndjson.progress").exists()
    write(file, [row(1) | {"displayName": "changed"}])
    assert await run_import(file, database_url) == (
        0,
        "0 created, 1 updated, 0 unchanged, 0 rejected.",
    )


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_export_that_fails_leaves_no_file(database_url: str, tmp_path: Path) -> None:
    await migrate(database_url)
    faults = Faults(database_url)
    await faults.prepare(in_reads("users"))
    await faults.choose("XX000")
    file = tmp_path / "users.csv"
    code, output = await run("export", str(file), ROSTER_DATABASE_URL=database_url)
    assert (code, output.startswith("roster: cannot use PostgreSQL")) == (1, True), output
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - ASYNC240 rejects pathlib here


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_export_that_is_stopped_leaves_no_file(
    database_url: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    await migrate(database_url)
    file = tmp_path / "users.csv"
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
    )
    async with opened(database_url) as database, database.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE users"))
        process = await start("export", str(file), ROSTER_DATABASE_URL=database_url)
        async with asyncio.timeout(60):
            while not await connection.scalar(waiting):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
        assert os.listdir(tmp_path) == ["users.csv.part"]  # noqa: PTH208 - as above
        process.send_signal(number)
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, output.decode().strip()) in {(code, ""), (code, "Aborted.")}
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - as above


def test_sigterm_cancels_the_query_of_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An exception of the handler would end the task between the query and its answer.
    after: list[str] = []

    async def waiting(_: object) -> AsyncIterator[list[ExportedUser]]:
        signal.raise_signal(signal.SIGTERM)
        after.append("still running")
        yield []
        await asyncio.sleep(60)
        after.append("not cancelled")

    monkeypatch.setenv("ROSTER_DATABASE_URL", f"sqlite:///{tmp_path}/roster.db")
    monkeypatch.setattr(exports, "prepare_existing", lambda _: None)
    monkeypatch.setattr(exports, "export_users", waiting)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            exports.export(tmp_path / "users.csv")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (ended.value.code, after) == (143, ["still running"])
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".db"] == []


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_export_to_a_reader_that_goes_away_ends_quietly(database_url: str) -> None:
    async with opened(database_url) as database:
        async for _ in populate(database, 2_000):
            pass
    reading, writing = os.pipe()
    process = await start_writing(writing, PIPE, "export", "-", ROSTER_DATABASE_URL=database_url)
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1) == b"{"
    os.close(reading)
    _, message = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, message) == (1, b"")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_second_export_to_a_name_is_refused_and_what_a_killed_one_left_is_replaced(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    file, part = tmp_path / "users.csv", tmp_path / "users.csv.part"
    part.write_text("left by an export that was killed\n" * 100)
    with part.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        code, output = await run("export", str(file), ROSTER_DATABASE_URL=database_url)
    assert (code, output) == (1, f"roster: {file} is being exported by another process\n")
    assert part.exists()
    assert (await run("export", str(file), ROSTER_DATABASE_URL=database_url))[0] == 0
    assert file.read_text().splitlines() == [",".join(EXPORTED)]
    assert not part.exists()
