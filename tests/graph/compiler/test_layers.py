"""The compiler imports only graphql-core, and its modules import only those below them."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graph.compiler

PACKAGE = Path(graph.compiler.__file__).parent
# From top to bottom.
ORDER = [
    "__init__",
    "compiler",
    "codegen",
    "operation",
    "selections",
    "selection_set",
    "fields",
    "field_definitions",
    "completion",
    "execution",
    "arguments",
    "variables",
    "coercion",
    "deferred",
    "resolvers",
    "fast_path",
    "graphql_core_adapter",
]
LIBRARIES = {"graphql", *sys.stdlib_module_names}


def _imports(module: str) -> Iterator[str]:
    """The imports of a module, also under `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_order_lists_every_module() -> None:
    assert sorted(ORDER) == sorted(path.stem for path in PACKAGE.glob("*.py"))


@pytest.mark.parametrize("module", ORDER)
def test_module_imports_only_modules_below_it(module: str) -> None:
    below = {f"graph.compiler.{name}" for name in ORDER[ORDER.index(module) + 1 :]}
    for name in _imports(module):
        package = name.rpartition(".")[0] or name
        assert package.split(".")[0] in LIBRARIES or package in below, name


@pytest.mark.parametrize("module", ORDER)
def test_only_the_adapter_uses_graphql_core_internals(module: str) -> None:
    """Documented are the exports of `graphql`, and some names of `pyutils`."""
    if module == "graphql_core_adapter":
        return
    documented = {"AwaitableOrValue", "Path", "is_async_iterable", "is_awaitable", "is_iterable"}
    for name in _imports(module):
        package, _, imported = name.rpartition(".")
        if package.partition(".")[0] == "graphql":
            assert package == "graphql" or (
                package == "graphql.pyutils" and imported in documented
            ), name
