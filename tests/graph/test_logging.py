"""Log lines have constant events, and only keys that `graph/logging.py` lists."""

import ast
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import IntegrityError

from db.error_summary import summarize
from graph.logging import KEYS
from tests.test_layers import ROOT, tree

PACKAGES = ("db", "feed", "graph", "users")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# They expand `facts`, whose keys are those of `error_id`, `request_id`, `field` and `outcome`; or
# the message is for developers, and has the origin or host that the browser was refused with.
EXPANDED = {"graph/api/errors.py", "graph/execution/errors.py", "graph/http/hints.py"}
OF_DEVELOPMENT = {"graph/http/hints.py"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(tree(path)):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and ast.unparse(node.func.value) == "log"
                ):
                    yield str(path.relative_to(ROOT)), node


def test_every_log_call_has_a_constant_event_and_known_keys() -> None:
    wrong = []
    calls = list(log_calls())
    for path, call in calls:
        [event] = call.args
        if not isinstance(event, ast.Constant) and path not in OF_DEVELOPMENT:
            wrong.append(f"{path}:{call.lineno}: the event is not constant")
        for key in call.keywords:
            if key.arg is None and path not in EXPANDED:
                wrong.append(f"{path}:{call.lineno}: unknown keys")
            elif key.arg not in KEYS | {"exc_info", None}:
                wrong.append(f"{path}:{call.lineno}: {key.arg} is not in KEYS")
    assert wrong == []
    assert len(calls) > 30


def test_no_module_logs_by_another_library() -> None:
    found = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "import logging" in path.read_text()
    ]
    filters = "graph/tracing/failures.py"  # the lines of a library
    assert found == ["graph/app.py", "graph/cli/database.py", "graph/logging.py", filters]


def test_documented_keys_are_those_of_log_lines() -> None:
    text = Path(ROOT / "docs/operations.md").read_text()
    section = text.partition("\n## Logs\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    named = {key.strip(" `") for row in rows for key in row.split("|")[1].split(",")}
    assert named == KEYS


def test_summary_of_a_database_error_has_codes_and_no_values() -> None:
    driver = asyncpg.UniqueViolationError.new(
        {"C": "23505", "M": "duplicate", "D": "Key (email)=(ada@x.example)", "n": "email_key"}
    )
    error = IntegrityError("INSERT", {"email": "ada@x.example"}, driver)
    assert summarize(error) == "IntegrityError: UniqueViolationError 23505 email_key"


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (ConnectionRefusedError(111, "ada"), "ConnectionRefusedError ECONNREFUSED"),
        (ValueError("ada"), "ValueError"),
        (None, "None"),
    ],
)
def test_summary_of_another_error_has_its_type(error: Exception | None, summary: str) -> None:
    assert summarize(error) == summary
