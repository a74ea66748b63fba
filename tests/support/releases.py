"""The next release of Roster: a copy of this tree with further migrations.

A clone for CI has no history, so the other release is made from this one. Commands run its code if
PYTHONPATH names its folder.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from db import migrations

ROOT = Path(__file__).parents[2]
PACKAGES = ("db", "feed", "graph", "migrations", "users")
# Adds a column that the models of the next release have, and its code reads and writes.
NICKNAME = "    nickname: Mapped[str | None] = mapped_column(code_point_text(100))\n"
_AFTER = "    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)\n"
_HEADER = '''"""{title}."""

import sqlalchemy as sa
from alembic import op

from migrations.operations import create_index, drop_index, replace_check

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None
min_compatible_revision = {oldest!r}
'''


class Release:
    """A copy of Roster's packages in a folder, which further migrations are added to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.newest = migrations.newest()
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "dist")
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)

    def migration(self, title: str, upgrade: str, *, breaks_older: bool = False) -> str:
        """Add a migration of these statements and return its revision."""
        before, revision = self.newest, f"{int(self.newest) + 1:04}"
        oldest = revision if breaks_older else None
        header = _HEADER.format(title=title, revision=revision, before=before, oldest=oldest)
        body = "".join(f"    {line}\n" for line in upgrade.splitlines())
        text = f"{header}\n\ndef upgrade() -> None:\n{body}\n\ndef downgrade() -> None:\n    pass\n"
        (self.folder / "migrations" / "versions" / f"{revision}_next.py").write_text(text)
        self.newest = revision
        return revision

    def map_nickname(self) -> None:
        models = self.folder / "db" / "models.py"
        text = models.read_text()
        assert text.count(_AFTER) == 1
        models.write_text(text.replace(_AFTER, _AFTER + NICKNAME))

    @property
    def settings(self) -> dict[str, Any]:
        return {"PYTHONPATH": str(self.folder)}


def additive(folder: Path) -> Release:
    """Make a release with a column, a concurrent index and a replaced check constraint."""
    made = Release(folder)
    made.map_nickname()
    column = 'sa.Column("nickname", sa.String(100).with_variant(sa.String(100, "C"), "postgresql"))'
    made.migration("A column", f'op.add_column("users", {column})')
    made.migration("An index", 'create_index("ix_users_nickname", "users", ["nickname", "id"])')
    made.migration(
        "A check",
        'replace_check("ck_users_version", "users", "version > 0 AND version < 2000000000")',
    )
    return made


def breaking(folder: Path) -> Release:
    """Make a release whose column the code of this release does not fill."""
    made = Release(folder)
    column = 'sa.Column("tenant", sa.String(100), nullable=False, server_default="main")'
    made.migration("A required column", f'op.add_column("users", {column})', breaks_older=True)
    return made


def imported_from(release: Release) -> str:
    """Return where the next release's commands import `db` from."""
    return subprocess.run(
        [sys.executable, "-c", "import db; print(db.__file__)"],
        env={"PYTHONPATH": str(release.folder)},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stdout.strip()
