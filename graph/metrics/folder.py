"""The folder in which prometheus-client keeps the values of several workers."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

import structlog

from db.error_summary import summarize
from db.files import try_lock
from graph.environment import InvalidSettings

log = structlog.get_logger("roster")

# Read by prometheus-client when it is imported, in each process.
_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX: Final = "roster-metrics-"
_LOCK: Final = "lock"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def values_in_files(*, has_workers: bool) -> Iterator[str | None]:
    """Yield a new folder for values, or None if each process keeps them in its memory.

    Must be entered before prometheus-client is imported, which would write into the folder of the
    variable. Files of an earlier process with the same id would be added up, too.
    """
    parent = os.environ.pop(_VARIABLE, None)
    made = _new_folder(parent) if has_workers else None
    if made is None:
        yield None
        return
    with made as folder, _locked(Path(folder)):
        os.environ[_VARIABLE] = folder
        yield folder


def _new_folder(parent: str | None) -> TemporaryDirectory[str] | None:
    """Return a new folder, or None if there is no space."""
    try:
        _remove_leftovers(parent or gettempdir())
        return TemporaryDirectory(prefix=_PREFIX, dir=parent or None, ignore_cleanup_errors=True)
    except OSError as error:
        if parent and error.errno not in _FULL:
            raise InvalidSettings(f"{_VARIABLE}: no files can be created in this folder") from None
        log.warning("metrics of workers cannot be published", cause=summarize(error))
        return None


def _locked(folder: Path) -> AbstractContextManager[object]:
    """Hold the lock that tells other servers that the folder is in use, if there is space for it.

    The file gets its name when it is locked. Workers do not inherit it.
    """
    new = folder / f"new-{_LOCK}"
    try:
        file = new.open("x")
        try_lock(file.fileno())
        new.rename(folder / _LOCK)
    except (ImportError, OSError):
        return nullcontext()
    return file


def _remove_leftovers(parent: str) -> None:
    """Remove the folders of servers that were killed: those of this user whose lock is free."""
    for folder in Path(parent).glob(f"{_PREFIX}*"):
        with suppress(ImportError, OSError):
            status = folder.lstat()
            is_private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
            if not is_private or status.st_uid != os.geteuid():
                continue
            with (folder / _LOCK).open("r+") as file:
                if try_lock(file.fileno()):
                    shutil.rmtree(folder)
