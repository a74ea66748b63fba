"""Commands for users in files: `roster import` and `roster export`."""

import csv
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from db.engine import Database
from graph.cli.database import (
    CliError,
    begin,
    console,
    database_name,
    errors,
    prepare_existing,
    run,
)
from graph.exchange.exporting import export_users
from graph.exchange.importing import import_users
from graph.exchange.reading import (
    Rejection,
    Row,
    UnreadableFile,
    Validated,
    check_is_file,
    read,
    validate,
)
from graph.exchange.rows import EXPORTED, ExportedUser, as_ndjson
from graph.protocol.json import format_datetime

_SHOWN: Final = 20  # rejections


class Format(StrEnum):
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass
class _Total:
    """What is imported so far. It is stored after each batch, so that an import can continue."""

    digest: str
    line: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __str__(self) -> str:
        return (
            f"{self.created} created, {self.updated} updated, {self.unchanged} unchanged, "
            f"{self.rejected} rejected"
        )


def import_(
    file: Annotated[Path, typer.Argument(help="A .csv, .ndjson or .jsonl file.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row against the database, import none.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="A file for all rejected rows: NDJSON with line, field and message."),
    ] = None,
) -> None:
    """Create or update users from a file. The external id is the key of a row.

    All rows are validated first. If one is invalid, nothing is imported. After an interruption the
    same command continues after the last complete batch, which FILE.progress records.
    """
    settings = begin()
    prepare_existing(settings)
    state = file.with_name(f"{file.name}.progress")
    with _reported(file):
        if report and report.exists() and report.samefile(file):
            raise CliError("the report would replace the file to import: choose another name")
        check_is_file(file)
        digest = _digest(file)
        checked = _validate(file)
        total = _resumed(state, digest) if not dry_run else _Total(digest)
        rejections = _Rejections(report, append=total.line > 0)
        if checked.rejections:
            rejections.add(checked.rejections)
            raise CliError(
                f"{_counted_lines(checked.rejections)} of {checked.rows} rows cannot be imported: "
                "nothing was imported"
            )

        async def job(database: Database) -> None:
            rows = (row for row in read(file) if isinstance(row, Row) and row.line > total.line)
            with _progress("Importing", checked.rows) as advance:
                async for batch in import_users(
                    database, rows, username_emails=settings.username_emails, dry_run=dry_run
                ):
                    total.line = batch.line
                    total.created += batch.created
                    total.updated += batch.updated
                    total.unchanged += batch.unchanged
                    total.rejected += _counted_lines(batch.rejections)
                    with _reported(file):  # otherwise it would be an error of the database
                        rejections.add(batch.rejections)
                        if not dry_run:
                            _write_whole(state, orjson.dumps(asdict(total)))
                    advance(total.created + total.updated + total.unchanged + total.rejected)

        try:
            run(settings, job)
        except KeyboardInterrupt:
            raise CliError(f"stopped: {total}. Run the same command to continue") from None
        if _digest(file) != digest:
            raise CliError(f"{file} was changed during the import: run the same command again")
        state.unlink(missing_ok=True)
    name = database_name(settings)
    if dry_run:
        console.print(f"Would import into {name}: {total}.", markup=False)
    else:
        console.print(f"Imported into {name}: {total}.", markup=False)
    if total.rejected:
        raise typer.Exit(1)


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

    with _reported(file), _output(file) as output:
        if is_csv:
            output.write(_csv_lines([EXPORTED]))

        async def job(database: Database) -> int:
            count = 0
            async with database.session() as session:
                async for users in export_users(session):
                    with _reported(file):  # otherwise it would be an error of the database
                        output.write(encode(users))
                    count += len(users)
            return count

        exported = run(settings, job)
    errors.print(f"Exported {exported} users of {database_name(settings)}.", markup=False)


class _Rejections:
    """Rejected rows: the first ones are printed, and all are written to the report."""

    def __init__(self, report: Path | None, *, append: bool) -> None:
        self._report = report
        self._shown = 0
        if report and not append:
            report.write_bytes(b"")

    def add(self, rejections: Sequence[Rejection]) -> None:
        for rejection in rejections[: max(0, _SHOWN - self._shown)]:
            name = f"{rejection.field}: " if rejection.field else ""
            errors.print(f"line {rejection.line}: {name}{rejection.message}", markup=False)
        self._shown += len(rejections)
        if self._report and rejections:
            with self._report.open("ab") as file:
                file.writelines(orjson.dumps(asdict(one)) + b"\n" for one in rejections)


def _counted_lines(rejections: Sequence[Rejection]) -> int:
    return len({rejection.line for rejection in rejections})


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _validate(file: Path) -> Validated:
    def counted() -> Iterator[Row | Rejection]:
        with _progress("Validating", None) as advance:
            for number, row in enumerate(read(file), start=1):
                advance(number)
                yield row

    return validate(counted())


def _resumed(state: Path, digest: str) -> _Total:
    if state.exists():
        try:
            stored = _Total(**orjson.loads(state.read_bytes()))
        except (TypeError, ValueError):
            raise CliError(f"{state} is not the progress of an import: remove it") from None
        if stored.digest == digest:
            errors.print(f"Continuing after line {stored.line}.", markup=False)
            return stored
    return _Total(digest)


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


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
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()  # an error at the end of the process would not be reported
        return
    if file.exists():
        raise FileExistsError
    part = file.with_name(f"{file.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - of a descriptor
            yield opened
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=errors, disable=not errors.is_terminal
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _reported(file: Path) -> Iterator[None]:
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
