"""Checks of a SQLite file: each finds its problem, and changes nothing."""

import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from db.checks import file, inspected
from db.checks.check import Finding, Status
from tests.db.checks.inspection import inspect, with_status

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as in shutil
MEGABYTE = 1024 * 1024


def path_of(url: str) -> Path:
    return Path(make_url(url).database or "")


async def test_missing_file_fails_and_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "roster.db"
    found = await inspect(f"sqlite:///{path}")
    assert found["connection"].detail == f"{path} does not exist"
    assert with_status(found, Status.FAILED) == {"connection"}
    assert not path.exists()


async def test_file_that_is_no_database_fails(tmp_path: Path) -> None:
    path = tmp_path / "roster.db"
    path.write_text("no database" * 1000)
    found = await inspect(f"sqlite:///{path}")
    assert found["connection"] == Finding(
        "connection",
        Status.FAILED,
        "file is not a database",
        "ROSTER_DATABASE_URL has to name a database of Roster",
    )


@on_sqlite
async def test_file_of_a_server_is_left_as_it_is(database_url: str) -> None:
    path = path_of(database_url)
    before = path.read_bytes()
    found = await inspect(database_url, production=True)
    assert with_status(found, Status.FAILED, Status.NOT_CHECKED) == set()
    assert path.read_bytes() == before


@on_sqlite
async def test_file_that_others_may_read_is_a_warning_in_production(database_url: str) -> None:
    path = path_of(database_url)
    path.chmod(0o644)
    found = await inspect(database_url, production=True)
    assert found["permissions"].status is Status.WARNING
    assert found["permissions"].fix == f"chmod 600 {path}"
    path.chmod(0o600)
    assert (await inspect(database_url, production=True))["permissions"].status is Status.OK


@on_sqlite
async def test_lock_of_another_program_is_a_warning(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspected, "_SQLITE_SECONDS", 0.05)
    with closing(sqlite3.connect(path_of(database_url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = await inspect(database_url)
        assert with_status(found, Status.WARNING) == {"writable"}
        other.execute("ROLLBACK")
    assert (await inspect(database_url))["writable"].status is Status.OK


@on_sqlite
async def test_other_journal_mode_is_a_warning(database_url: str) -> None:
    with closing(sqlite3.connect(path_of(database_url))) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    found = (await inspect(database_url))["log"]
    assert found.status is Status.WARNING
    assert found.detail.startswith("the journal mode is delete")


@on_sqlite
@pytest.mark.parametrize(
    ("free", "status"),
    [(0, Status.FAILED), (20 * MEGABYTE, Status.WARNING), (1024 * MEGABYTE, Status.OK)],
)
async def test_free_space_is_reported(
    database_url: str, monkeypatch: pytest.MonkeyPatch, free: int, status: Status
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    assert (await inspect(database_url))["disk-space"].status is status


@on_sqlite
async def test_network_file_system_fails(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    folder = path_of(database_url).parent.resolve()
    mounts.write_text(
        "21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        f"30 21 0:50 / {folder} rw shared:2 - nfs4 server:/export rw\n"
        f"31 21 0:51 / {folder}/other rw - tmpfs tmpfs rw\n"
    )
    monkeypatch.setattr(file, "_MOUNTS", mounts)
    found = (await inspect(database_url))["file-system"]
    assert found.status is Status.FAILED
    assert "nfs4" in found.detail
