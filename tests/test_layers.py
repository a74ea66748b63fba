"""Imports point only downward: graph, then users, then db."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What each package may import of ours, and what only the top may import of others'.
ALLOWED = {
    "db": {"db"},
    "feed": {"db", "feed"},
    "users": {"db", "users"},
    "graph": {"db", "feed", "users", "graph"},
    "migrations": {"db", "migrations"},
}
OURS = set(ALLOWED) | {"tests"}
ONLY_IN_GRAPH = {"fastapi", "starlette", "strawberry", "graphql", "uvicorn", "typer", "pydantic"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_downward(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    found = {name.split(".")[0] for path in files for name in imports(path)}
    assert found & OURS <= ALLOWED[package]
    if package != "graph":
        assert not found & ONLY_IN_GRAPH


def test_the_top_level_is_the_design_s() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {"benchmarks", "db", "feed", "graph", "migrations", "tests", "users"}
