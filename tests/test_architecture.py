"""docs/architecture.md names packages, modules and classes that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("graph", "users", "feed", "db", "migrations")


def test_paths_exist() -> None:
    paths = set(re.findall(r"`((?:graph|users|feed|db|migrations|tests)/[\w./]+)`", TEXT))
    assert len(paths) > 20
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_packages_of_graph_are_all_described() -> None:
    packages = {f"graph/{path.parent.name}" for path in (ROOT / "graph").glob("*/__init__.py")}
    assert {package for package in packages if f"`{package}`" not in TEXT} == set()


def test_classes_and_functions_exist() -> None:
    trees = [ast.parse(path.read_text()) for p in PACKAGES for path in (ROOT / p).rglob("*.py")]
    defined = {
        getattr(node, "name", "")
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w*)(?:\.\w+)*`", TEXT))
    named |= set(re.findall(r"`[A-Z]\w+\.(\w+)`", TEXT))
    named |= set(re.findall(r"`([a-z]+_[a-z_]+)`", TEXT)) - {"connection_init"}
    assert len(named) > 20
    assert named - defined - {"RuleViolation"} == set()
