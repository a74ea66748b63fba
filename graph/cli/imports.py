"""The command `roster import`."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from db.engine import Database
from graph.cli.database import CliError, begin, console, database_name, prepare_existing, run
from graph.cli.exchange import INTERRUPTED, lock, progress_bar, reported
from graph.cli.import_progress import Progress, ProgressFile, Report, lines_of
from graph.exchange.importing import import_users
from graph.exchange.reading import InvalidRow, Row, check_is_file, read, validate
from graph.settings import Settings


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
    with reported(file):
        check_is_file(file)
        state = file.with_name(f"{file.name}.progress")
        _check_report(report, file, state)
        with _alone(file, needed=not dry_run):
            digest = _digest(file)
            stored = None if dry_run else ProgressFile(state, digest)
            job = _Import(file, digest, stored, Report(report), settings)
            try:
                job.validate()
                run(settings, job.write)
            except KeyboardInterrupt:
                again = "" if dry_run else ". Run the same command to continue"
                raise CliError(f"stopped: {job.progress}{again}", INTERRUPTED) from None
            job.finish()
    verb = "Would import" if dry_run else "Imported"
    console.print(f"{verb} into {database_name(settings)}: {job.progress}.", markup=False)
    if job.progress.rejected:
        raise typer.Exit(1)


@dataclass
class _Import:
    """One run of the command. Without `stored` it is a dry run."""

    file: Path
    digest: str
    stored: ProgressFile | None
    report: Report
    settings: Settings
    rows: int = 0
    progress: Progress = field(default_factory=Progress)

    def validate(self) -> None:
        """Raise CliError if a row is invalid."""

        def counted() -> Iterator[Row | InvalidRow]:
            with progress_bar("Validating", None) as advance:
                for number, row in enumerate(read(self.file), start=1):
                    advance(number)
                    yield row

        checked = validate(counted())
        self.rows = checked.rows
        if checked.rejections:
            self.report.begin(Progress())
            self.report.add(checked.rejections)
            raise CliError(
                f"{len(lines_of(checked.rejections))} of {checked.rows} rows cannot be imported: "
                "nothing was imported"
            )

    async def write(self, database: Database) -> None:
        if self.stored:
            self.progress = await self.stored.load(database)
            # Fails before anything is imported.
            await self.stored.save(database, self.progress)
        self.report.begin(self.progress)
        with progress_bar("Importing", self.rows) as advance:
            async for batch in import_users(
                database,
                self._rows(self.progress.line),
                username_emails=self.settings.username_emails,
                dry_run=self.stored is None,
            ):
                self.progress.add(batch)
                self.progress.reported = self.report.add(batch.rejections)
                if self.stored:
                    await self.stored.save(database, self.progress)
                advance(self.progress.rows)

    def _rows(self, done: int) -> Iterator[Row]:
        with reported(self.file):  # otherwise it would be an error of the database
            for row in read(self.file):
                if isinstance(row, Row) and row.line > done:
                    yield row

    def finish(self) -> None:
        if _digest(self.file) != self.digest:
            changed = f"{self.file} was changed during the import"
            raise CliError(f"{changed}: run the same command again")
        if self.stored:
            self.stored.remove()


@contextmanager
def _alone(file: Path, *, needed: bool) -> Iterator[None]:
    # Two imports of a file would write the same progress and report.
    with file.open("rb") as opened:
        if needed:
            lock(opened.fileno(), f"{file} is being imported by another process")
        yield


def _check_report(report: Path | None, file: Path, state: Path) -> None:
    for used in (file, state):
        if report and (
            report.absolute() == used.absolute()
            or (report.exists() and used.exists() and report.samefile(used))
        ):
            raise CliError("the report would replace the file to import: choose another name")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
