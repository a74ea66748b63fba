"""The API must import enums of lower packages from `enums`, which describes them."""

import ast
from pathlib import Path

import graph.api
from graph.api.types import enums

API = Path(graph.api.__file__).parent


def test_api_modules_import_enums_only_from_the_enums_module() -> None:
    for path in API.rglob("*.py"):
        if path.stem == "enums":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module != enums.__name__:
                names = {alias.name for alias in node.names}
                assert not names & set(enums.__all__), (path.name, names)
