"""What is installed is what was looked at: pinned by hash, from whatever mirror it comes."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PIN = re.compile(r"[a-z0-9-]+==[^\s;]+( ; [^\\]+)?( --hash=sha256:[0-9a-f]{64})+")


def test_every_pin_of_python_has_a_hash_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pins = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    assert len(pins) > 50
    assert [pin for pin in pins if not _PIN.fullmatch(pin)] == []
    assert "://" not in text


def test_every_dependency_is_pinned() -> None:
    """Not only installed here by chance."""
    pinned = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[^a-z0-9-]", name)[0] for name in needed} - pinned == set()


def test_what_is_imported_is_depended_on() -> None:
    """By name of the import, where that is not the package's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[^a-z0-9-]", name)[0].replace("-", "_") for name in project["dependencies"]}
    others = {
        "jwt",
        "cryptography",
        "graphql",
        "pydantic",
        "starlette",
        "strawberry",
        "precis_i18n",
        "_typeshed",  # which type checkers bring along
    }
    others |= {"_typeshed"}  # for mypy alone
    own = {"graph", "users", "db", "migrations"}
    imported = {
        name.partition(".")[0]
        for folder in own
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _names(node)
    }
    assert imported - named - others - own - sys.stdlib_module_names == set()


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
    return []


def test_every_pin_of_npm_has_a_hash_and_no_address() -> None:
    locks = [p for p in ROOT.rglob("package-lock.json") if "node_modules" not in p.parts]
    assert locks != []
    for lock in locks:
        packages = json.loads(lock.read_text())["packages"]
        pinned = {name: package for name, package in packages.items() if name}
        assert pinned != {}
        assert [n for n, p in pinned.items() if "integrity" not in p or "resolved" in p] == []
