"""squawk finds no statement in a migration that blocks requests or rewrites a table."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command

from db import migrations

ROOT = Path(__file__).parents[2]
SQUAWK = Path(sys.executable).parent / "squawk"
INDEX = "require-concurrent-index-creation"
# Released with version 0.5 or before, and unchanged since. From revision 0009 on, `roster migrate`
# upgrades databases whose servers are running.
RELEASED = {
    "0002": {INDEX},
    "0004": {INDEX, "constraint-missing-not-valid"},
    "0005": {INDEX},
    "0007": {INDEX},
}
REVISIONS = [
    (script.down_revision or "base", script.revision) for script in migrations.pending(None)
]


def script(before: str, revision: str) -> str:
    alembic = migrations.config()
    alembic.output_buffer = io.StringIO()
    command.upgrade(alembic, f"{before}:{revision}", sql=True)
    # Without the first line, which is a command of psql.
    return alembic.output_buffer.getvalue().partition("\n")[2]


def lint(sql: str) -> set[str]:
    """Return the rules that the SQL breaks."""
    found = subprocess.run(  # noqa: S603 - our own arguments
        [SQUAWK, "--reporter=json", "--stdin-filepath=migration.sql"],
        input=sql,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    findings: list[dict[str, Any]] = json.loads(found.stdout)
    return {finding["rule_name"] for finding in findings}


@pytest.mark.parametrize(("before", "revision"), REVISIONS)
def test_migration_has_only_safe_statements(before: str, revision: str) -> None:
    assert lint(script(before, revision)) == RELEASED.get(revision, set())


@pytest.mark.parametrize(("before", "revision"), REVISIONS)
def test_migration_with_concurrent_statements_contains_nothing_else(
    before: str, revision: str
) -> None:
    """A repetition after an interruption would fail on what is already committed."""
    sql = re.sub(r"(?m)^--.*$", "", script(before, revision)).partition("BEGIN;")[2]
    statements = [text.strip() for text in sql.split(";\n") if text.strip()]
    if any("INDEX CONCURRENTLY" in statement for statement in statements):
        around = (
            "BEGIN",
            "COMMIT",
            "SET",
            "RESET",
            "UPDATE alembic_version",
            "DO",
            "SELECT pg_adv",
        )
        allowed = re.compile(rf"((CREATE|DROP) (UNIQUE )?INDEX CONCURRENTLY|{'|'.join(around)}) ?")
        assert [text for text in statements if not allowed.match(text)] == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX i ON users (email)", INDEX),
        ("ALTER TABLE users ALTER COLUMN version TYPE bigint", "changing-column-type"),
        ("ALTER TABLE users ALTER COLUMN email SET NOT NULL", "adding-not-nullable-field"),
        ("ALTER TABLE users RENAME COLUMN email TO mail", "renaming-column"),
        (
            "ALTER TABLE users ADD CONSTRAINT c CHECK (version < 9)",
            "constraint-missing-not-valid",
        ),
        ("ALTER TABLE users ADD COLUMN c float DEFAULT random()", "adding-field-with-default"),
    ],
)
def test_unsafe_statement_is_found(statement: str, rule: str) -> None:
    limits = "SET lock_timeout = '1s';\nSET statement_timeout = 0;\n"
    assert rule in lint(f"{limits}BEGIN;\n{statement};\nCOMMIT;\n")
