"""The clients page shows the configuration and the versions that the tests use."""

import json
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_FOLDER = Path(__file__).parent
_PAGE = (_ROOT / "docs" / "clients.md").read_text()
_ROW = re.compile(r"^\| `([^`]+)`( \(Python\))? \| (\S+) \| ", re.MULTILINE)
_SUPPORT = {  # what the clients need to run
    *("@gql.tada/internal", "@types/node", "eslint", "fake-indexeddb", "graphql", "react"),
    *("react-test-renderer", "rxjs", "typescript"),
}


@pytest.mark.parametrize(
    ("title", "file"),
    [
        ("Apollo Client", "apollo/client.mjs"),
        ("urql with Graphcache", "urql/client.mjs"),
        ("Relay", "relay/environment.mjs"),
    ],
)
def test_configuration_of_a_client_is_the_one_that_is_tested(title: str, file: str) -> None:
    [snippet] = re.findall(rf"^```js\n// {title}[^\n]*\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)
    tested = {line.strip() for line in (_FOLDER / file).read_text().splitlines()}
    assert [line for line in snippet.splitlines() if line.strip() not in tested] == []


def test_table_has_each_client_with_the_installed_version() -> None:
    npm = json.loads((_FOLDER / "package-lock.json").read_text())["packages"]
    python = "".join(
        path.read_text()
        for path in (_ROOT / "requirements.lock", _FOLDER / "python" / "requirements.lock")
    )
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", python, re.MULTILINE))
    clients = {name: npm[f"node_modules/{name}"]["version"] for name in npm[""]["dependencies"]}
    assert {name: version for name, kind, version in _ROW.findall(_PAGE) if not kind} == {
        name: version for name, version in clients.items() if name not in _SUPPORT
    }
    assert {name: version for name, kind, version in _ROW.findall(_PAGE) if kind} == {
        name: pinned[name] for name in ("gql", "ariadne-codegen")
    }


def test_versions_of_clients_are_exact() -> None:
    dependencies = json.loads((_FOLDER / "package.json").read_text())["dependencies"]
    assert [v for v in dependencies.values() if not re.fullmatch(r"\d+(\.\d+){2}", v)] == []
