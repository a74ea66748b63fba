import ast
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import graph.compiler
from graph.compiler import codegen

README = (Path(graph.compiler.__file__).parent / "README.md").read_text()
EXAMPLE, GENERATED = re.findall(r"^ *```python\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)


def test_readme_example_generates_the_code_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generated: list[str] = []

    def compile_and_record(text: str, *arguments: str) -> Any:
        generated.append(text)
        return compile(text, *arguments)

    monkeypatch.setattr(codegen, "compile", compile_and_record, raising=False)
    names: dict[str, Any] = {}
    exec(EXAMPLE, names)  # noqa: S102 - our own text
    expected = {"users": [{"key": "1", "name": "Ada"}, {"key": "2", "name": None}]}
    assert names["result"] == (expected, None)
    names["asyncio"].run(names["compiled"].execute({"users": names["users"]}, variables={"n": 3}))
    assert _syntax(dedent(GENERATED)) in map(_syntax, generated)


def _syntax(text: str) -> str:
    return ast.dump(ast.parse(text))
