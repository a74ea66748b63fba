"""The layers: which package may import which, without cycles and without side effects.

`KNOWN` lists the violations that remain. An entry that is no longer found fails, too.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
# Our packages that each package may import.
ALLOWED: Final = {
    "db": {"db"},
    "feed": {"db", "feed"},
    "users": {"db", "users"},
    "graph": {"db", "feed", "users", "graph"},
    "migrations": {"db", "migrations"},
}
OURS: Final = set(ALLOWED) | {"tests", "benchmarks"}
ONLY_IN_GRAPH: Final = {
    *("fastapi", "starlette", "strawberry", "graphql", "uvicorn", "typer", "pydantic"),
}
# graph's packages from top to bottom. A module imports its own layer and those below it. Packages
# of one layer do not import each other, except settings, which read what the others accept.
LAYERS: Final = (
    {"cli"},
    {"app"},
    {"websocket"},
    {"http", "graphiql"},
    {"streaming"},
    {"execution"},
    {"settings"},
    {"documents", "auth", "exchange", "metrics"},
    {"api"},
    {"limits", "compiler", "tracing"},
    {
        *("environment", "shutdown", "logging", "observation"),
        *("fastapi_adapter", "strawberry_adapter", "uvicorn_adapter"),
    },
    {"protocol"},
)
# Types that refer to each other as GraphQL requires, by `strawberry.lazy`.
ALLOWED_CYCLE: Final = frozenset({"graph.api.types.user", "graph.api.types.user_event"})
# Underscored, and documented.
DOCUMENTED: Final = {"_replace", "_asdict", "_make", "_fields", "_mapping", "_tuple", "_exit"}
# The modules that may use private names of a library: each has the reason, and tests that fail when
# the library changes.
ADAPTERS: Final = (
    "db/aiosqlite_adapter.py",
    "db/sqlalchemy_adapter.py",
    "graph/compiler/graphql_core_adapter.py",
    "graph/limits/limits_adapter.py",
    "graph/metrics/prometheus_adapter.py",
    "graph/strawberry_adapter.py",
    "graph/uvicorn_adapter/",
)
# Modules that their libraries do not document, and who may import them.
UNDOCUMENTED: Final = {
    "dotenv.parser": ("graph/environment.py",),
    "graphql.execution.": ("graph/compiler/graphql_core_adapter.py",),
    "sqlalchemy.pool.base": ("db/sqlalchemy_adapter.py",),
    "sqlalchemy.util": ("db/sqlalchemy_adapter.py",),
    "limits.aio.storage.redis.bridge": ("graph/limits/limits_adapter.py",),
    "strawberry.extensions.runner": ("graph/strawberry_adapter.py",),
    "strawberry.schema.schema": ("graph/strawberry_adapter.py",),
    "uvicorn.protocols": ("graph/uvicorn_adapter/",),
    "uvicorn.supervisors": ("graph/uvicorn_adapter/",),
}
KNOWN: Final[dict[str, set[str]]] = {
    "upward": set(),
    "cycles": set(),
    "private": set(),
    "undocumented": set(),
}


class Import(NamedTuple):
    module: str
    names: tuple[str, ...]
    bound: tuple[str, ...]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(module: ast.Module) -> Iterator[Import]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                yield Import(alias.name, (), (bound,))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = tuple(alias.name for alias in node.names)
            bound_names = tuple(alias.asname or alias.name for alias in node.names)
            yield Import(node.module or "", names, bound_names)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = {name_of(p): p for package in ALLOWED for p in (ROOT / package).rglob("*.py")}


def imported_modules(path: Path) -> set[str]:
    """Return the modules of ours that a module imports: `from graph import signals`, too."""
    found = set()
    for module, names, _ in imports(tree(path)):
        found |= {f"{module}.{name}" for name in names} & MODULES.keys()
        if not names or any(f"{module}.{name}" not in MODULES for name in names):
            found |= {module} & MODULES.keys()
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_only_downward(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    found = {module.split(".")[0] for path in files for module, *_ in imports(tree(path))}
    assert found & OURS <= ALLOWED[package]
    if package != "graph":
        assert not found & ONLY_IN_GRAPH


def layer_of(module: str) -> int | None:
    """Return the layer of a module of graph; None for all others, and for the command itself."""
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    if package != "graph":
        return None
    return next((n for n, layer in enumerate(LAYERS) if part in layer), None)


def test_every_module_of_graph_is_in_a_layer() -> None:
    apart = {"graph", "graph.__main__"}
    modules = {name for name in MODULES if name.split(".")[0] == "graph"}
    assert {name for name in modules if layer_of(name) is None} == apart


def test_packages_of_graph_import_only_downward() -> None:
    upward = {
        f"{name} > {other}"
        for name, path in MODULES.items()
        for other in imported_modules(path)
        if not is_downward(name, other)
    }
    assert upward == KNOWN["upward"]


def is_downward(module: str, other: str) -> bool:
    """Return whether one may import the other: in its package, below it, or among settings."""
    layer, below = layer_of(module), layer_of(other)
    if layer is None or below is None or module.split(".")[1] == other.split(".")[1]:
        return True
    return below > layer or (layer == below and "settings" in LAYERS[layer])


def test_checks_detect_forbidden_imports_cycles_and_private_names() -> None:
    assert is_downward("graph.http.endpoint", "graph.protocol.json")
    assert not is_downward("graph.api.context", "graph.auth.guard")
    assert not is_downward("graph.auth.guard", "graph.documents.cache")
    assert list(cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == [frozenset("abc")]
    code = "import x._a\nfrom y import _b\nself._own = 1\nother._own._c\nrow._mapping"
    assert sorted(foreign_privates(ast.parse(code))) == ["_a", "_b", "_c"]


def test_modules_have_no_cycles() -> None:
    """Includes imports that are only for type checkers."""
    graph = {name: imported_modules(path) - {name} for name, path in MODULES.items()}
    found = {" ".join(sorted(cycle)) for cycle in cycles(graph) if cycle != ALLOWED_CYCLE}
    assert found == KNOWN["cycles"]


def cycles(graph: dict[str, set[str]]) -> Iterator[frozenset[str]]:
    """Yield the strongly connected components of more than one module."""
    reachable = {name: reach(graph, name) for name in graph}
    seen: set[str] = set()
    for name in graph:
        cycle = frozenset(n for n in reachable[name] if name in reachable[n])
        if cycle and name not in seen:
            seen |= cycle
            yield cycle


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = list(graph[start])
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += graph[name]
    return found


def test_no_module_is_imported_for_its_effects() -> None:
    """A package's `__init__` may import what it exports."""
    unused = {
        f"{path.relative_to(ROOT)} {name}"
        for path in MODULES.values()
        if path.name != "__init__.py"
        for name in unused_imports(tree(path))
    }
    assert unused == set()


def unused_imports(module: ast.Module) -> set[str]:
    """Return imported names of ours that do not occur, also in the text of an annotation."""
    occurring: set[str] = set()
    for node in ast.walk(module):
        match node:
            case ast.Name(id=name):
                occurring.add(name)
            case ast.Constant(value=str(text)):
                occurring.update(re.findall(r"\w+", text))
    ours = [found for found in imports(module) if found.module.split(".")[0] in OURS]
    return {name for found in ours for name in found.bound} - occurring


def test_private_names_of_others_are_used_by_adapters_only() -> None:
    found = {
        f"{path.relative_to(ROOT)} {private}"
        for path in MODULES.values()
        if not str(path.relative_to(ROOT)).startswith(ADAPTERS)
        for private in foreign_privates(tree(path))
    }
    assert found == KNOWN["private"]


def test_undocumented_modules_are_used_by_adapters_only() -> None:
    found = {
        f"{path.relative_to(ROOT)} {module}"
        for path in MODULES.values()
        for module, *_ in imports(tree(path))
        for undocumented, adapters in UNDOCUMENTED.items()
        if module.startswith(undocumented) and not str(path.relative_to(ROOT)).startswith(adapters)
    }
    assert found == KNOWN["undocumented"]


def foreign_privates(module: ast.Module) -> Iterator[str]:
    """Yield private names that a module does not define itself: imported, or attributes."""
    nodes = list(ast.walk(module))
    own = set(defined(nodes))
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield name
    for imported, names, _ in imports(module):
        if imported.split(".")[0] not in OURS | {"__future__", "_typeshed"}:
            yield from (name for name in (*imported.split("."), *names) if is_private(name))


def defined(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def test_only_tests_of_marked_folders_start_processes() -> None:
    """The helpers in tests/support start them. `wire` serves in this process."""
    helpers = {f"tests.support.{name}" for name in ("process", "nginx", "haproxy")}
    programs = helpers | {"subprocess", "multiprocessing"}
    harmless = {"MEASURED", "processor_seconds", "resident", "visiting"}
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.parent.name not in {"system", "clients", "federation", "stage"}
        for module, names, _ in imports(tree(path))
        if module in programs and not (names and harmless.issuperset(names))
    }
    assert found == set()


def test_top_level_packages_match_the_design() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {"benchmarks", "db", "feed", "graph", "migrations", "tests", "users"}
