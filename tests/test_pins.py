"""What is installed is what was looked at: pinned by hash, from whatever mirror it comes."""

import ast
import json
import re
import runpy
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from urllib.request import Request

import pytest

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
        "dotenv",
        "_typeshed",  # which type checkers bring along
    }
    others |= {"_typeshed"}  # for mypy alone
    own = {"graph", "users", "feed", "db", "migrations"}
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


def test_the_image_has_what_the_service_needs_and_nothing_to_test_it_with() -> None:
    script = runpy.run_path(str(ROOT / "docs/container/pins.py"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = script["needed"](project["dependencies"])
    lock = (ROOT / "requirements.lock").read_text()
    chosen = list(script["pins"](lock, names))
    assert {pin.partition("==")[0] for pin in chosen} == names
    assert all(f"\n{pin}\n" in f"\n{lock}" for pin in chosen)
    of_dev = {re.split(r"[^a-z0-9-]", name)[0] for name in project["optional-dependencies"]["dev"]}
    assert names & of_dev == set()
    # And it can run: whatever is installed here asks for nothing that is missing there.
    missing = {
        name: script["needed"](requires(name) or ()) - names
        for name in names
        if script["needed"](requires(name) or ()) - names
    }
    assert missing == {}


def test_the_image_is_built_of_the_packages_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    folder = ROOT / "docs/container"
    copied = re.findall(r"^COPY (\w+) (\w+)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    assert copied == [(package, package) for package in packages]
    let_through = (folder / "Dockerfile.dockerignore").read_text().splitlines()
    files = ["requirements.lock", "pyproject.toml", "README.md", "docs/container/pins.py"]
    assert let_through[1] == "*"
    assert let_through[2:-1] == [f"!{name}" for name in [*files, *packages]]


def test_the_image_is_asked_for_its_health_as_any_host(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/container/Dockerfile").read_text().replace("\\\n", "")
    [command] = re.findall(r"^HEALTHCHECK .* CMD (.*)$", text, re.MULTILINE)
    program, flag, code = json.loads(command)
    assert (program, flag) == ("python", "-c")
    asked: list[tuple[str, dict[str, str]]] = []

    def urlopen(request: Request, timeout: float) -> None:
        assert timeout < 5
        asked.append((request.full_url, dict(request.header_items())))

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    exec(code, {})  # noqa: S102 - our own, as the image has it
    monkeypatch.setenv("ROSTER_PORT", "9000")
    monkeypatch.setenv("ROSTER_ALLOWED_HOSTS", "roster.example, other.example")
    exec(code, {})  # noqa: S102 - as above
    for port in ("", "tcp://10.0.0.7:8000"):  # not set by compose, or set by Kubernetes
        monkeypatch.setenv("ROSTER_PORT", port)
        exec(code, {})  # noqa: S102 - as above
    assert asked == [
        ("http://127.0.0.1:8000/health/live", {"Host": "localhost"}),
        ("http://127.0.0.1:9000/health/live", {"Host": "roster.example"}),
        *[("http://127.0.0.1:8000/health/live", {"Host": "roster.example"})] * 2,
    ]
