"""Dependencies are pinned by hash, independently of the mirror."""

import ast
import json
import re
import runpy
import sys
import tomllib
from importlib.metadata import files, packages_distributions, requires
from pathlib import Path
from urllib.request import Request

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
EXTRAS = (None, "otel", "dev")
OWN = {"graph", "users", "feed", "db", "migrations"}
_PIN = re.compile(r"[a-z0-9-]+==[^\s;]+( ; [^\\]+)?( --hash=sha256:[0-9a-f]{64})+")


@pytest.mark.parametrize("lock", ["requirements.lock", "tests/stage/requirements.lock"])
def test_every_pin_of_python_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    pins = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    assert len(pins) > 10
    assert [pin for pin in pins if not _PIN.fullmatch(pin)] == []
    assert "://" not in text


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    """Checks the lock file, not the installed packages."""
    text = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", text, re.MULTILINE))
    outside = [
        str(requirement)
        for requirement in [n for extra in EXTRAS for n in _declared(extra)]
        if pinned.get(requirement.name, "none") not in requirement.specifier
    ]
    assert outside == []


def test_libraries_have_an_upper_bound_if_a_release_can_break_roster() -> None:
    """Their internals are used by an adapter, or their texts and exact behaviour are tested."""
    relied_on = {
        *("aiosqlite", "alembic", "asyncpg", "email-validator", "fastapi", "graphql-core"),
        *("httptools", "httpx", "limits", "precis-i18n", "pydantic", "pydantic-settings", "pyjwt"),
        *("sqlalchemy", "starlette", "strawberry-graphql", "typer", "uvicorn", "websockets"),
    }
    bounded = {n.name for n in _declared() if any(s.operator == "<" for s in n.specifier)}
    assert relied_on - bounded == set()


def test_strawberry_is_requested_with_its_integration_for_fastapi() -> None:
    [strawberry] = [n for n in _declared() if n.name == "strawberry-graphql"]
    assert strawberry.extras == {"fastapi"}


def test_imports_match_declared_dependencies() -> None:
    declared = {requirement.name for requirement in (*_declared(), *_declared("otel"))}
    imported = set(_imported_distributions(OWN))
    assert imported - declared == set()
    # uvicorn loads uvloop.
    assert declared - imported == {"uvloop"}


def test_tests_and_benchmarks_import_only_what_is_declared() -> None:
    declared = {requirement.name for extra in EXTRAS for requirement in _declared(extra)}
    assert _imported_distributions({"tests", "benchmarks"}) - declared == set()


def _declared(extra: str | None = None) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [Requirement(line) for line in lines]


def _imported_distributions(folders: set[str]) -> set[str]:
    """Return the distributions that the packages import, also for type checkers."""
    distributions = packages_distributions()
    known = OWN | {"tests", "benchmarks"} | sys.stdlib_module_names
    imported = {
        name
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "node_modules" not in path.parts
        if path.name != "build.py"  # of GraphiQL: hatchling runs it, and it is not installed
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _names(node)
    }
    return {
        canonicalize_name(_owner(name, distributions.get(name.partition(".")[0], [name])))
        for name in imported
        if name.partition(".")[0] not in known | {"_typeshed"}  # of the standard library's stubs
    }


def _owner(module: str, candidates: list[str]) -> str:
    """Return the distribution with a module. Several share the namespace `opentelemetry`."""
    if len(set(candidates)) == 1:
        return candidates[0]
    path = module.replace(".", "/")
    modules = {f"{path}.py", f"{path}/__init__.py"}
    found = [name for name in candidates if modules & {str(file) for file in files(name) or ()}]
    return found[0] if found else candidates[0]


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module="opentelemetry", names=names):  # a namespace
            return [f"opentelemetry.{alias.name}" for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
    return []


def test_every_pin_of_npm_has_a_hash_and_no_address() -> None:
    locks = [p for p in ROOT.rglob("package-lock.json") if "node_modules" not in p.parts]
    assert locks != []
    for lock in locks:
        assert "://" not in lock.read_text(), lock
        packages = json.loads(lock.read_text())["packages"]
        pinned = {name: package for name, package in packages.items() if name}
        assert pinned != {}
        assert [n for n, p in pinned.items() if "integrity" not in p or "resolved" in p] == []


def test_image_has_the_dependencies_of_the_service_and_no_others() -> None:
    script = runpy.run_path(str(ROOT / "docs/container/pins.py"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = script["needed"]([*project["dependencies"], *extras["otel"]])
    lock = (ROOT / "requirements.lock").read_text()
    chosen = list(script["pins"](lock, names))
    assert {pin.partition("==")[0] for pin in chosen} == names
    assert all(f"\n{pin}\n" in f"\n{lock}" for pin in chosen)
    dev_dependencies = {re.split(r"[^a-z0-9-]", name)[0] for name in extras["dev"]}
    # uvicorn, limits and the exporter of traces need them, too.
    assert names & dev_dependencies == {"h11", "packaging", "opentelemetry-proto"}
    # It can run: no package of the image requires one that is missing there.
    missing = {
        name: script["needed"](requires(name) or ()) - names
        for name in names
        if script["needed"](requires(name) or ()) - names
    }
    assert missing == {}


def test_image_is_built_only_from_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    folder = ROOT / "docs/container"
    copied = re.findall(r"^COPY (\w+) (\w+)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    assert copied == [(package, package) for package in packages]
    let_through = (folder / "Dockerfile.dockerignore").read_text().splitlines()
    files = [
        "requirements.lock",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "docs/container/pins.py",
    ]
    assert let_through[1] == "*"
    assert let_through[2:-1] == [f"!{name}" for name in [*files, *packages]]


def test_health_check_of_the_image_uses_an_allowed_host(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/container/Dockerfile").read_text().replace("\\\n", "")
    [command] = re.findall(r"^HEALTHCHECK .* CMD (.*)$", text, re.MULTILINE)
    program, flag, code = json.loads(command)
    assert (program, flag) == ("python", "-c")
    requests: list[tuple[str, dict[str, str]]] = []

    def urlopen(request: Request, timeout: float) -> None:
        assert timeout < 5
        requests.append((request.full_url, dict(request.header_items())))

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    exec(code, {})  # noqa: S102 - our own, as the image has it
    monkeypatch.setenv("ROSTER_PORT", "9000")
    monkeypatch.setenv("ROSTER_ALLOWED_HOSTS", "roster.example, other.example")
    exec(code, {})  # noqa: S102 - as above
    for port in ("", "tcp://10.0.0.7:8000"):  # not set by compose, or set by Kubernetes
        monkeypatch.setenv("ROSTER_PORT", port)
        exec(code, {})  # noqa: S102 - as above
    assert requests == [
        ("http://127.0.0.1:8000/health/live", {"Host": "localhost"}),
        ("http://127.0.0.1:9000/health/live", {"Host": "roster.example"}),
        *[("http://127.0.0.1:8000/health/live", {"Host": "roster.example"})] * 2,
    ]
