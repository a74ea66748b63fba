"""`roster backup` and `roster restore` while servers use the database."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.process import run
from tests.system.test_restores import (
    REJECTED,
    Ledger,
    assert_rejected,
    create,
    following,
    two_servers,
)

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def rows(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT username FROM users ORDER BY id")]


async def test_backup_is_restored_while_servers_and_followers_use_the_database(
    database_url: str, tmp_path: Path
) -> None:
    ledger, backup = Ledger(database_url), tmp_path / "backup.db"
    kept = [f"user{n}" for n in range(20)]
    async with two_servers(database_url) as (urls, _):
        await create(urls[0], "user", 20)
        assert await run("backup", str(backup), ROSTER_DATABASE_URL=database_url) == (
            0,
            f"Copied SQLite {make_url(database_url).database} to {backup}.\n",
        )
        assert backup.stat().st_mode & 0o777 == 0o600
        await create(urls[0], "lost", 10)
        await ledger.keep()
        async with following(urls, ledger.cursors[20]) as followers:
            for follower in followers:
                await follower.until(30)
            assert await run("restore", str(backup), "--yes", ROSTER_DATABASE_URL=database_url) == (
                0,
                f"Replaced SQLite {make_url(database_url).database} by {backup}.\n",
            )
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        await create(urls[1], "new", 5)
        assert await ledger.ids() == list(range(1, 26))
        for url in urls:
            for id_ in (1, 20, 21, 30):  # a restore begins an epoch
                await assert_rejected(url, ledger.cursors[id_])
    assert rows(Path(make_url(database_url).database or "")) == kept + [f"new{n}" for n in range(5)]
    assert rows(backup) == kept
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []  # noqa: PTH208 - in an async function


async def test_restore_asks_first_and_changes_nothing_without_an_answer(
    database_url: str, tmp_path: Path
) -> None:
    file, backup = Path(make_url(database_url).database or ""), tmp_path / "backup.db"
    await run("backup", str(backup), ROSTER_DATABASE_URL=database_url)
    await run("demo", "--users", "3", ROSTER_DATABASE_URL=database_url)
    code, output = await run("restore", str(backup), ROSTER_DATABASE_URL=database_url)
    assert (code, output) == (1, f"Replace SQLite {file} by {backup}? [y/N]: Aborted.\n")
    assert len(rows(file)) == 3


async def test_file_that_is_no_backup_is_reported_in_one_line_and_changes_nothing(
    database_url: str, tmp_path: Path
) -> None:
    file = Path(make_url(database_url).database or "")
    await run("demo", "--users", "3", ROSTER_DATABASE_URL=database_url)
    before = rows(file)
    text, damaged, other = tmp_path / "text.db", tmp_path / "damaged.db", tmp_path / "other.db"
    text.write_text("not a database" * 1000)
    await run("backup", str(damaged), ROSTER_DATABASE_URL=database_url)
    content = bytearray(damaged.read_bytes())
    content[8192:40_960] = b"\xa5" * 32_768
    damaged.write_bytes(content)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    for path, line in (
        (tmp_path / "missing.db", f"there is no backup in {tmp_path}/missing.db"),
        (text, f"{text} cannot be read: file is not a database"),
        (damaged, f"{damaged} is damaged: "),
        (other, "this file is not a backup of Roster"),
    ):
        code, output = await run("restore", str(path), "--yes", ROSTER_DATABASE_URL=database_url)
        assert code == 1
        assert output.startswith(f"roster: {line}")
        assert output.count("\n") == 1, output
        assert rows(file) == before


async def test_backup_that_cannot_be_written_is_reported_in_one_line(
    database_url: str, tmp_path: Path
) -> None:
    existing = tmp_path / "existing.db"
    existing.write_text("kept")
    await run("migrate", ROSTER_DATABASE_URL=database_url)
    for path, line in (
        (existing, f"{existing} exists already: choose a new name"),
        (tmp_path / "no" / "x.db", f"cannot write {tmp_path}/no/x.db: No such file or directory"),
    ):
        result = await run("backup", str(path), ROSTER_DATABASE_URL=database_url)
        assert result == (1, f"roster: {line}\n")
    assert existing.read_text() == "kept"
    code, output = await run("backup", "new.db", ROSTER_DATABASE_URL="postgresql://localhost/x")
    assert code == 1
    assert output.startswith("roster: this command is for SQLite.")
