"""How far an import is, in FILE.progress, and the report of its rejected rows."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson
from pydantic import BaseModel, ValidationError

from db.engine import Database
from db.files import replace_file
from feed.anchors import Anchor, InvalidAnchor
from feed.reader import EventReader
from graph.cli.database import CliError, errors
from graph.cli.exchange import reported
from graph.exchange.importing import Imported
from graph.exchange.reading import Rejection

_SHOWN: Final = 20  # rejections


class Progress(BaseModel):
    """What is imported up to a line, and the size of the report, in bytes."""

    line: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    reported: int = 0

    def add(self, batch: Imported) -> None:
        self.line = batch.line
        self.created += batch.created
        self.updated += batch.updated
        self.unchanged += batch.unchanged
        self.rejected += len(lines_of(batch.rejections))

    @property
    def rows(self) -> int:
        return self.created + self.updated + self.unchanged + self.rejected

    def __str__(self) -> str:
        return (
            f"{self.created} created, {self.updated} updated, {self.unchanged} unchanged, "
            f"{self.rejected} rejected"
        )


class _Stored(Progress):
    # It is valid for the content of a file, and for a database that still has the newest event of
    # that time. Otherwise the rows up to the line would be missing from a restored or another one.
    digest: str
    newest: Anchor


class ProgressFile:
    def __init__(self, path: Path, digest: str) -> None:
        self._path = path
        self._digest = digest

    async def load(self, database: Database) -> Progress:
        """Return the progress of this file in this database, which may be none."""
        if not self._path.exists():
            return Progress()
        try:
            with reported(self._path):
                stored = _Stored.model_validate_json(self._path.read_bytes())
        except ValidationError:
            message = f"{self._path} is not the progress of an import: remove it"
            raise CliError(message) from None
        if stored.digest != self._digest:
            return Progress()
        try:
            await EventReader(database).check(stored.newest)
        except InvalidAnchor:
            message = f"{self._path} is of another database, or of its state before a restore"
            errors.print(f"{message}: beginning again.", markup=False)
            return Progress()
        if stored.line:
            errors.print(f"Continuing after line {stored.line}.", markup=False)
        return Progress.model_validate(stored.model_dump(include=set(Progress.model_fields)))

    async def save(self, database: Database, progress: Progress) -> None:
        events = EventReader(database)
        newest, _ = await events.newest()
        stored = _Stored(
            **progress.model_dump(),
            digest=self._digest,
            newest=newest or Anchor.beginning(await events.epoch()),
        )
        with reported(self._path):
            replace_file(self._path, stored.model_dump_json().encode())

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Report:
    """Rejected rows: the first ones are printed, and all are written to a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._shown = 0
        if path:
            with reported(path):
                path.open("ab").close()  # fails before anything is imported

    def begin(self, progress: Progress) -> None:
        """Discard what was written after the progress: a batch that was not recorded is repeated.

        If the earlier rejections are not in this report, print it.
        """
        if not self._path:
            return
        size = progress.reported
        with reported(self._path), self._path.open("ab") as file:
            is_complete = bool(size) and file.seekable() and file.tell() >= size
            if file.seekable() and file.tell() > size:
                file.truncate(size)
        if progress.rejected and not is_complete:
            missing = f"{progress.rejected} rows that were rejected up to line {progress.line}"
            errors.print(f"{self._path} does not contain the {missing}.", markup=False)

    def add(self, rejections: Sequence[Rejection]) -> int:
        """Write the rejections. Returns the size of the report."""
        for rejection in rejections[: max(0, _SHOWN - self._shown)]:
            name = f"{rejection.field}: " if rejection.field else ""
            errors.print(f"line {rejection.line}: {name}{rejection.message}", markup=False)
        self._shown += len(rejections)
        if not self._path:
            return 0
        with reported(self._path), self._path.open("ab") as file:
            file.writelines(orjson.dumps(asdict(one)) + b"\n" for one in rejections)
            file.flush()
            if self._path.is_file():
                os.fsync(file.fileno())
            return file.tell() if file.seekable() else 0


def lines_of(rejections: Sequence[Rejection]) -> set[int]:
    return {rejection.line for rejection in rejections}
