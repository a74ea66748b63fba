"""The ledger in a file: crashes, full disks, several processes, and files that are no ledger."""

import asyncio
import errno
import fcntl
import os
import time
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from db.erasure_ledger.entries import Entry, Erasures, LedgerError, State
from db.erasure_ledger.file import HEADER, FileLedger
from tests.support.ledgers import AT, entry, row

ERASED = State.ERASED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "erasures.ledger"


def read(path: Path) -> Erasures:
    return asyncio.run(FileLedger(path).read())


def ids(path: Path) -> list[int]:
    return [found.user_id for found in read(path).erased]


def append_all(path: Path, entries: list[Entry], timeout: float = 0.2) -> None:
    asyncio.run(FileLedger(path, timeout).append(entries))


def append(path: Path, *user_ids: int) -> None:
    append_all(path, [entry(ERASED, user_id) for user_id in user_ids])


def test_entries_are_read_as_they_were_appended(path: Path) -> None:
    known = row(2**40, uuid4())
    assert list(read(path).erased) == []
    assert not path.exists()
    append_all(path, [Entry(ERASED, "a" * 32, known, AT), entry(ERASED, 2)])
    append_all(path, [])
    append_all(path, [entry(State.BEGUN, 3)])
    found = read(path)
    assert list(found.erased) == [known, row(2)]
    assert [begun.row for begun in found.incomplete()] == [row(3)]
    assert found.unreadable == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(HEADER)


def test_ledger_that_is_cut_off_at_any_byte_can_be_continued(path: Path) -> None:
    append(path, 1)
    begin = path.stat().st_size
    append(path, 2)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        kept = [] if size < begin - 1 else [1] if size < len(whole) - 1 else [1, 2]
        assert ids(path) == kept, size
        append(path, 3)
        assert ids(path) == [*kept, 3], size
        is_cut_off = len(HEADER) < size < begin - 1 or begin < size < len(whole) - 1
        assert read(path).unreadable == is_cut_off, size


def test_full_disk_is_reported_and_leaves_no_entry(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, 1)
    before = path.read_bytes()
    write = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) > 100:
            return write(file, data[:100])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LedgerError, match=f"^cannot use {path}: No space left on device$"):
        append(path, 2, 3)
    assert path.read_bytes() == before
    monkeypatch.undo()
    append(path, 4)
    assert ids(path) == [1, 4]


def test_entries_that_may_not_be_on_the_disk_are_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(LedgerError, match="Input/output error"):
        append(path, 1)
    monkeypatch.undo()
    assert ids(path) == []


def test_changed_entry_is_damage_and_reported_with_its_line(path: Path) -> None:
    append(path, 1, 2)
    path.write_bytes(path.read_bytes().replace(b'"user": 2', b'"user": 3'))
    with pytest.raises(LedgerError, match=f"^{path} is damaged in line 3: restore it from"):
        read(path)


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0" * 100, b"\n" + HEADER])
def test_other_file_is_neither_read_nor_changed(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for use in (append, read):
        with pytest.raises(LedgerError, match=f"^{path} is not a ledger of erasures$"):
            use(path, *([1] if use is append else []))
    assert path.read_bytes() == content


def test_locked_file_is_reported_and_not_changed(path: Path) -> None:
    append(path, 1)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match=f"^{path} is locked by another process$"):
            append(path, 2)
    assert ids(path) == [1]


def test_file_that_was_replaced_during_the_wait_gets_the_entry(path: Path) -> None:
    append(path, 1)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = Thread(target=append_all, args=(path, [entry(ERASED, 2)], 60.0))
        waiting.start()
        while list(map(os.path.realpath, Path("/proc/self/fd").iterdir())).count(str(path)) < 2:
            time.sleep(0.01)  # until it has opened the file, too
        copy.rename(path)
    waiting.join()
    assert ids(path) == [1, 2]


def test_file_in_a_missing_or_forbidden_place_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="No such file or directory"):
        append(tmp_path / "no" / "file", 1)
    with pytest.raises(LedgerError, match="Is a directory"):
        append(tmp_path, 1)
