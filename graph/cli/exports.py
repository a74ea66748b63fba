"""The command `roster export`."""

import csv
import io
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from db.engine import Database
from db.files import open_locked, sync_folder
from graph.cli.database import begin, database_name, errors, prepare_existing, run
from graph.cli.exchange import cancelled_by, lock, reported, standard_output
from graph.exchange.exporting import export_users
from graph.exchange.rows import EXPORTED, ExportedUser, as_ndjson
from graph.protocol.json import format_datetime


class Format(StrEnum):
    NDJSON = "ndjson"
    CSV = "csv"


def export(
    file: Annotated[Path, typer.Argument(help="The new file, or - for standard output.")],
    format: Annotated[
        Format | None, typer.Option(help="By default that of the file's name, or ndjson.")
    ] = None,
) -> None:
    """Write all users that are not deleted to a file, as NDJSON or CSV."""
    settings = begin()
    prepare_existing(settings)
    is_csv = format is Format.CSV if format else file.suffix.lower() == ".csv"
    encode = _as_csv if is_csv else as_ndjson

    with reported(file), _output(file) as output:
        if is_csv:
            output.write(_csv_lines([EXPORTED]))

        async def job(database: Database) -> int:
            count = 0
            # A write to a pipe cannot be cancelled: there SIGTERM ends the process.
            stopping = nullcontext() if str(file) == "-" else _cancelled_by_sigterm()
            with stopping:
                async with database.session() as session:
                    async for users in export_users(session):
                        with reported(file):  # otherwise it would be an error of the database
                            output.write(encode(users))
                        count += len(users)
            return count

        exported = run(settings, job)
    errors.print(f"Exported {exported} users of {database_name(settings)}.", markup=False)


def _as_csv(users: Sequence[ExportedUser]) -> bytes:
    return _csv_lines([map(_as_cell, user.model_dump().values()) for user in users])


def _as_cell(value: object) -> object:
    return format_datetime(value) if isinstance(value, datetime) else value


def _csv_lines(rows: Sequence[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


@contextmanager
def _output(file: Path) -> Iterator[BinaryIO]:
    """Open standard output, or a new file, which gets its name when it is complete."""
    if str(file) == "-":
        output = standard_output()
        yield output
        output.flush()  # an error at the end of the process would not be reported
        return
    _check_new(file)
    part = file.with_name(f"{file.name}.part")
    taken = f"{file} is being exported by another process"
    signal.signal(signal.SIGTERM, _exit)
    with os.fdopen(open_locked(part, os.O_WRONLY, lambda one: lock(one, taken)), "wb") as opened:
        try:
            _check_new(file)  # another export may have completed it
            opened.truncate()
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
            part.rename(file)
            sync_folder(file.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _exit(number: int, _: object) -> None:
    # The incomplete file is removed, as after Ctrl-C.
    sys.exit(128 + number)


@contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """Cancel the current task on SIGTERM, and then exit."""
    # `_exit` could raise in the task after it has sent a query. The end of the process would wait
    # for the end of the query.
    cancelling: Sequence[object] = ()
    try:
        with cancelled_by(signal.SIGTERM) as cancelling:
            yield
    finally:
        if cancelling:
            _exit(signal.SIGTERM, None)


def _check_new(file: Path) -> None:
    if os.path.lexists(file):
        raise FileExistsError
