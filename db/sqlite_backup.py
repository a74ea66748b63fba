"""Copies of an SQLite database, made while other processes use it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

_LOCK_SECONDS: Final = 30.0


class DamagedError(Exception):
    """The file is not an SQLite database, or damaged."""


def copy(source: Path, target: Path) -> None:
    """Replace the content of `target` by that of `source`, in one transaction of each.

    Other processes may read and write both: writers of `source` do not wait, and `target` keeps its
    connections. Raises sqlite3.Error, and DamagedError if `source` is not intact.
    """
    with closing(sqlite3.connect(source.absolute().as_uri() + "?mode=ro", uri=True)) as one:
        _check(one, source)
        with closing(sqlite3.connect(target, timeout=_LOCK_SECONDS)) as other:
            one.backup(other)


def write(source: Path, target: Path) -> None:
    """Copy `source` to the new file `target`, which only the owner may read.

    The file is complete as soon as it exists. Raises FileExistsError if it exists.
    """
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        copy(source, part)
        with closing(sqlite3.connect(part)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # a single file, without a log
            _check(connection, part)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        target.hardlink_to(part)  # unlike `rename`, it does not replace a file
    finally:
        part.unlink(missing_ok=True)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    try:
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:  # not of the file's content
        raise
    except sqlite3.DatabaseError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from None
    if found != "ok":
        raise DamagedError(f"{path} is damaged: {found.splitlines()[-1]}")
