"""A ledger in a file, to which the server processes of one machine append.

The first line identifies the file. Each other line is an entry as JSON with a checksum. A crash can
cut off the last line. It was not acknowledged, and the next entry begins on a line of its own.
"""

import asyncio
import errno
import json
import os
import re
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID
from zlib import crc32

from db.erasure_ledger.entries import Entry, Erasures, LedgerError, RowIdentity, State
from db.files import open_locked, sync_folder, try_lock
from db.observation import Observe

T = TypeVar("T")

HEADER: Final = b'{"ledger": "roster erasures", "version": 1}\n'
_LINE: Final = re.compile(rb"(\{.*\}) ([0-9a-f]{8})")
_POLL_SECONDS: Final = 0.02


class FileLedger:
    """`timeout` is in seconds. It limits the wait for other processes and for the disk."""

    def __init__(self, path: Path, timeout: float = 5.0) -> None:
        self._path = path
        self._timeout = timeout

    @property
    def name(self) -> str:
        return str(self._path)

    async def append(self, entries: Collection[Entry]) -> None:
        if entries:
            data = b"".join(map(_line, entries))
            job = self._in_thread(lambda: _append(self._path, data, self._timeout))
            try:
                # The thread of a disk or network file system that hangs is left behind.
                await asyncio.wait_for(job, self._timeout + 1)
            except TimeoutError:
                raise LedgerError(f"{self._path} does not answer") from None

    async def read(self) -> Erasures:
        return await self._in_thread(lambda: _read(self._path))

    async def check_writable(self) -> None:
        await self._in_thread(lambda: _check_writable(self._path, self._timeout))

    def observe(self, _: Observe) -> None:
        pass  # a file has no statements

    async def close(self) -> None:
        pass

    async def _in_thread(self, job: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(job)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise LedgerError(f"cannot use {self._path}: {reason}") from None


def _append(path: Path, data: bytes, timeout: float) -> None:
    file = _open_locked(path, timeout)
    try:
        size = _checked_size(file, path)
        is_cut_off = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        try:
            _write(file, (b"\n" if is_cut_off else b"" if size else HEADER) + data)
            os.fsync(file)
        except OSError:
            _undo(file, size)
            raise
        if not size:
            sync_folder(path.parent)
    finally:
        os.close(file)  # releases the lock


def _check_writable(path: Path, timeout: float) -> None:
    if not path.exists():
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "")
        return
    file = _open_locked(path, timeout)
    try:
        _checked_size(file, path)
    finally:
        os.close(file)


def _open_locked(path: Path, timeout: float) -> int:
    until = time.monotonic() + timeout
    return open_locked(path, os.O_RDWR | os.O_APPEND, lambda file: _lock(file, path, until))


def _lock(file: int, path: Path, until: float) -> None:
    try:
        while not try_lock(file):
            if time.monotonic() > until:
                raise LedgerError(f"{path} is locked by another process")
            time.sleep(_POLL_SECONDS)
    except ImportError:
        raise LedgerError("a file as ledger needs a Unix system: name a database") from None


def _checked_size(file: int, path: Path) -> int:
    """Return the size of a ledger. Raises LedgerError for other files."""
    begin = os.pread(file, len(HEADER), 0)
    if begin == HEADER:
        return os.fstat(file).st_size
    if not HEADER.startswith(begin):
        raise LedgerError(f"{path} is not a ledger of erasures")
    os.ftruncate(file, 0)  # the first line was cut off, so there is no entry
    return 0


def _write(file: int, data: bytes) -> None:
    # One call, which may be cut short by a full disk: the next call raises the reason.
    while data:
        data = data[os.write(file, data) :]


def _undo(file: int, size: int) -> None:
    # Best effort: readers ignore a line that is cut off.
    try:
        os.ftruncate(file, size)
        os.fsync(file)
    except OSError:
        pass


def _read(path: Path) -> Erasures:
    erasures = Erasures()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return erasures
    with file:
        if not HEADER.startswith(file.read(len(HEADER))):
            raise LedgerError(f"{path} is not a ledger of erasures")
        for number, line in enumerate(file, 2):
            if entry := _entry(line.rstrip(b"\n"), number, path):
                erasures.add(entry)
            elif line.endswith(b"\n"):  # otherwise it is being written, or the last one
                erasures.unreadable += 1
    return erasures


def _line(entry: Entry) -> bytes:
    row = entry.row
    values = {
        "state": entry.state,
        "erasure": entry.erasure,
        "user": row.user_id,
        "created": _time(row.created_at),
        "random": row.random_id and row.random_id.hex,
        "at": _time(entry.at),
    }
    text = json.dumps(values).encode()
    return b"%s %08x\n" % (text, crc32(text))


def _entry(line: bytes, number: int, path: Path) -> Entry | None:
    """Return the entry of a line, or None for a line that was cut off."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    text, checksum = match.groups()
    if crc32(text) != int(checksum, 16):
        raise LedgerError(f"{path} is damaged in line {number}: restore it from its backup")
    values: dict[str, Any] = json.loads(text)
    random_id = values["random"]
    row = RowIdentity(
        values["user"],
        datetime.fromisoformat(values["created"]),
        None if random_id is None else UUID(random_id),
    )
    return Entry(
        State(values["state"]), values["erasure"], row, datetime.fromisoformat(values["at"])
    )


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
