"""Shared code of the commands for files of users: errors, locks, progress bars."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from db.files import try_lock
from graph.cli.database import CliError, errors
from graph.exchange.reading import UnreadableFile

INTERRUPTED = 130  # 128 + SIGINT, the convention of shells


@contextmanager
def reported(file: Path) -> Iterator[None]:
    """Convert errors of files to CliError."""
    try:
        yield
    except UnreadableFile as error:
        raise CliError(f"{file}: {error}") from None
    except BrokenPipeError:
        # The reader of the output has enough. Python would report it once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except FileExistsError:
        raise CliError(f"{file} exists already: choose a new name") from None
    except OSError as error:
        raise CliError(f"{error.filename or file}: {os.strerror(error.errno or 0)}") from None


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
