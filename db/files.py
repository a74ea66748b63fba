"""Files that must survive a crash, and that only one process may write."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write the folder's list of names to the disk: a new or renamed file is not on it before."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file. After a crash or a power loss, it has the old or the new content."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def try_lock(file: int) -> bool:
    """Lock a file until it is closed. Returns whether no other process has locked it.

    Raises ImportError on Windows, and OSError if the file system has no locks.
    """
    import fcntl  # noqa: PLC0415 - Windows has no `fcntl`

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_locked(path: Path, flags: int, lock: Callable[[int], None]) -> int:
    """Open or create a file and lock it. If it was renamed or replaced meanwhile, open it again."""
    while True:
        file = os.open(path, flags | os.O_CREAT, 0o600)
        try:
            lock(file)
            if _has_name(file, path):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _has_name(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
