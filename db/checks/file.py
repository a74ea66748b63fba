"""Checks of a SQLite file."""

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from db.checks.check import Caution, Failure
from db.checks.inspected import File

_MEGABYTE: Final = 1024 * 1024
_LEAST_FREE: Final = 16 * _MEGABYTE
_SPARE: Final = 64 * _MEGABYTE
_LARGE_LOG: Final = 256 * _MEGABYTE
_OLDEST: Final = (3, 35)  # RETURNING
_OF_NETWORKS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OTHERS: Final = 0o077


async def file(inspected: File) -> str:
    path = inspected.path.absolute()
    if not path.is_file():
        raise Failure(
            f"{path} does not exist",
            "`roster serve` creates it; run this in the folder of the server, or correct "
            "ROSTER_DATABASE_URL",
        )
    await inspected.query("SELECT count(*) FROM sqlite_master")
    return f"{path}, {_size(path.stat().st_size)}"


async def permissions(inspected: File) -> str:
    path = inspected.path.absolute()
    for entry, wanted, said in (
        (path, os.R_OK | os.W_OK, "the file"),
        (path.parent, os.W_OK | os.X_OK, "its folder, in which SQLite keeps the log"),
    ):
        if not os.access(entry, wanted):
            raise Failure(f"this user may not write {said}", f"change the owner of {entry}")
    if inspected.expected.production and path.stat().st_mode & _OTHERS:
        raise Caution("other users of this machine may read the file", f"chmod 600 {path}")
    return "the file and its folder can be written"


async def writable(inspected: File) -> str:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("PRAGMA user_version = 0")
        finally:
            connection.execute("ROLLBACK")

    try:
        await inspected.run(write)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_BUSY":
            raise
        raise Caution(
            "another program held the write lock for two seconds",
            "end a long transaction of another program, such as an open sqlite3 shell",
        ) from None
    return "a transaction was begun and rolled back"


async def log(inspected: File) -> str:
    [[mode]] = await inspected.query("PRAGMA journal_mode")
    if mode != "wal":
        raise Caution(
            f"the journal mode is {mode}: readers and a writer block each other",
            "`roster serve` changes it to wal",
        )
    size = _size_of(Path(f"{inspected.path.absolute()}-wal"))
    if size > _LARGE_LOG:
        raise Caution(
            f"the log has {_size(size)}: something reads for a long time, and it cannot be emptied",
            "end the program that reads",
        )
    return f"the journal mode is wal, and the log has {_size(size)}"


async def file_system(inspected: File) -> str:
    kind = await asyncio.to_thread(_file_system_of, inspected.path.absolute().parent)
    if kind in _OF_NETWORKS:
        raise Failure(
            f"the file is on a network file system ({kind}), which SQLite's log does not support",
            "move it to a local disk, or use PostgreSQL",
        )
    return kind or "not known on this system"


async def disk_space(inspected: File) -> str:
    path = inspected.path.absolute()
    free = (await asyncio.to_thread(shutil.disk_usage, path.parent)).free
    if free < _LEAST_FREE:
        raise Failure(f"only {_size(free)} are free", "free space on the disk")
    if free < 2 * path.stat().st_size + _SPARE:
        raise Caution(
            f"{_size(free)} are free, less than a migration or a backup may need",
            "keep twice the size of the file free",
        )
    return f"{_size(free)} are free"


async def version(_: File) -> str:
    if sqlite3.sqlite_version_info < _OLDEST:
        raise Failure(f"SQLite {sqlite3.sqlite_version}", "use a Python with SQLite 3.35 or newer")
    return f"SQLite {sqlite3.sqlite_version}"


def _file_system_of(folder: Path) -> str | None:
    """Return the type of the file system, on Linux."""
    if not _MOUNTS.exists():
        return None
    resolved, found = folder.resolve(), (-1, "")
    for line in _MOUNTS.read_text().splitlines():
        mounted, _, options = line.partition(" - ")
        point = Path(mounted.split(" ")[4].replace("\\040", " "))
        if resolved.is_relative_to(point):
            found = max(found, (len(point.parts), options.split(" ")[0]))
    return found[1] or None


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _size(number: int) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 10 * 1024 or unit == "GB":
            return f"{number} {unit}"
        number //= 1024
    raise AssertionError
