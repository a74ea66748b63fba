"""Imports that end early: what they record, and what continues them."""

import asyncio
import fcntl
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.exchange import (
    exported,
    kill_at,
    migrate,
    progress_of,
    recorded_line,
    row,
    run_import,
    stopped_at,
    write,
)
from tests.support.process import run

ROWS = 3_000


def restore(backup: Path, database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(f"{database.name}{suffix}").unlink()
    shutil.copy(backup, database)


async def test_progress_in_another_database_or_before_a_restore_is_not_continued(
    database_url: str, tmp_path: Path
) -> None:
    file, rows = tmp_path / "users.ndjson", [row(n) for n in range(1, ROWS)]
    other, backup = tmp_path / "other.db", tmp_path / "backup.db"
    other_url = f"sqlite:///{other}"
    write(file, rows)
    for url in (database_url, other_url):
        await migrate(url)
    shutil.copy(other, backup)
    await kill_at(500, file, database_url)
    begins = f"{progress_of(file)} is of another database, or of its state before a restore"
    expected = [f"{begins}: beginning again."]
    code, output = await run("import", str(file), ROSTER_DATABASE_URL=other_url)
    assert (code, output.splitlines()[:-1]) == (0, expected)
    write(file, [*rows, row(ROWS)])
    await kill_at(500, file, other_url)
    restore(backup, other)
    code, output = await run("import", str(file), ROSTER_DATABASE_URL=other_url)
    assert (code, output.splitlines()[:-1]) == (0, expected)
    assert len(await exported(other_url, tmp_path)) == ROWS


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_report_of_a_killed_import_has_each_rejected_row_once(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    first, file = tmp_path / "first.ndjson", tmp_path / "users.ndjson"
    taken = range(400, ROWS, 400)
    write(first, [row(n) | {"externalId": f"T{n}"} for n in taken])
    assert (await run_import(first, database_url))[0] == 0
    rows = [row(n) for n in range(1, ROWS)]
    write(file, [one | {"email": f"{one['externalId']}@example.org"} for one in rows])
    report = tmp_path / "report.ndjson"
    options = ("--report", str(report))
    await kill_at(1_000, file, database_url, *options)
    assert 0 < recorded_line(file) < ROWS - 1
    with report.open("ab") as opened:  # what was written, but not recorded, before the end
        opened.write(b'{"line":9999,"field":"username","message":"unrecorded"}\n{"li')
    code, total = await run_import(file, database_url, *options)
    assert (code, total.split(", ")[3]) == (1, f"{len(taken)} rejected.")
    interrupted = report.read_bytes()
    assert (await run_import(file, database_url, *options))[0] == 1
    assert report.read_bytes() == interrupted
    assert len(interrupted.splitlines()) == len(taken)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_import_that_cannot_record_its_progress_imports_nothing(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    file = tmp_path / "users.ndjson"
    write(file, [row(1)])
    blocked = tmp_path / "users.ndjson.progress.part"
    blocked.mkdir()
    code, output = await run("import", str(file), ROSTER_DATABASE_URL=database_url)
    assert (code, output) == (1, f"roster: {blocked}: Is a directory\n")
    assert await exported(database_url, tmp_path) == []
    assert await run_import(file, database_url, "--dry-run") == (
        0,
        "1 created, 0 updated, 0 unchanged, 0 rejected.",
    )


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_second_import_of_a_file_is_refused_while_the_first_runs(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    file = tmp_path / "users.ndjson"
    write(file, [row(1)])
    with file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        code, output = await run("import", str(file), ROSTER_DATABASE_URL=database_url)
    assert (code, output) == (1, f"roster: {file} is being imported by another process\n")
    assert (await run_import(file, database_url))[0] == 0


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_interrupted_import_says_what_it_has_done_and_continues(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url)
    file, rows = tmp_path / "users.ndjson", [row(n) for n in range(1, ROWS)]
    write(file, rows)
    process = await stopped_at(500, file, database_url)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    line = recorded_line(file)
    stopped = f"{line} created, 0 updated, 0 unchanged, 0 rejected"
    assert (process.returncode, output.decode()) == (
        130,
        f"roster: stopped: {stopped}. Run the same command to continue\n",
    )
    code, output_again = await run("import", str(file), ROSTER_DATABASE_URL=database_url)
    assert (code, output_again.splitlines()[0]) == (0, f"Continuing after line {line}.")
    assert len(await exported(database_url, tmp_path)) == len(rows)
    assert not progress_of(file).exists()
