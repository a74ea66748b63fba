"""Shared code of the commands for files of users: errors, locks, signals, progress bars."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from db.files import try_lock
from graph.cli.database import CliError, errors
from graph.exchange.reading import UnreadableFile

INTERRUPTED = 130  # 128 + SIGINT, the convention of shells
_CANNOT_WRITE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextmanager
def reported(file: Path) -> Iterator[None]:
    """Convert errors of files to CliError."""
    try:
        yield
    except UnreadableFile as error:
        raise CliError(f"{file}: {error}") from None
    except BrokenPipeError:
        _discard_output()  # its reader has enough
        raise typer.Exit(1) from None
    except FileExistsError:
        raise CliError(f"{file} exists already: choose a new name") from None
    except OSError as error:
        raise CliError(f"{error.filename or file}: {os.strerror(error.errno or 0)}") from None


@contextmanager
def output_reported() -> Iterator[None]:
    """Convert errors of standard output to CliError. A closed pipe ends the process quietly."""
    try:
        try:
            yield
        finally:
            if sys.stdout:  # None if it was closed
                sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None or error.errno not in _CANNOT_WRITE:
            raise
        _discard_output()
        raise CliError(f"cannot write the output: {os.strerror(error.errno)}") from None


def standard_output() -> BinaryIO:
    if not sys.stdout:
        raise CliError("standard output is closed")
    return sys.stdout.buffer


def _discard_output() -> None:
    # Python would report the error once more at the end of the process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def cancelled_by(
    *signals: int, before: Callable[[], object] = lambda: None
) -> Iterator[Sequence[object]]:
    """Cancel the current task on signals, of which the handler calls `before` first.

    Yields what is not empty after the first signal.
    """
    # Not handlers of the event loop: it does not run while the reader of the output keeps the
    # process waiting.
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    cancelling: list[asyncio.Handle] = []

    def cancel(*_: object) -> None:
        before()
        cancelling.append(loop.call_soon_threadsafe(task.cancel))

    previous = {number: signal.signal(number, cancel) for number in signals}
    try:
        yield cancelling
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for handle in cancelling:  # the task may have ended by itself
            handle.cancel()


def lock(file: int, message: str) -> None:
    """Lock a file until it is closed. Raises CliError if another process has locked it."""
    try:
        is_locked = try_lock(file)
    except (ImportError, OSError):
        return  # Windows, or a file system without locks
    if not is_locked:
        raise CliError(message)


@contextmanager
def progress_bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=errors, disable=not errors.is_terminal
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)
