"""The subgraph, composed with other subgraphs by three compositions."""

import re
import shutil
from pathlib import Path

import pytest

from graph.execution.schema import FederatedSchema
from tests.federation.conftest import FOLDER
from tests.support.node import run_program

OTHERS = sorted(str(path) for path in (FOLDER / "subgraphs").glob("*.graphql"))
COMPOSITIONS = ["apollo", "guild", "wundergraph"]
OVERRIDE = '@override(from: "roster") '
KEYS = {"id", "databaseId", "externalId"}


@pytest.fixture
def roster(tmp_path: Path) -> str:
    path = tmp_path / "roster.graphql"
    path.write_text(FederatedSchema().as_str())
    return str(path)


async def compose(composition: str, *files: str, status: int = 0) -> str:
    command = ("node", "composed.mjs", composition, *files)
    return await run_program(*command, cwd=FOLDER, status=status)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 2
    path.write_text(text.replace(old, new))


def fields_of(type_: str, composed: str) -> set[str]:
    """Returns the names of a type's fields, of which the composition shows clients all."""
    found = re.search(rf"\ntype {type_}\b[^{{]*{{(.*?)\n}}", composed, re.DOTALL)
    assert found
    lines = re.findall(r"^  (\w+)(?:\(.*|: .*)$", found[1], re.MULTILINE)
    hidden = re.findall(r"^  (\w+): .*@inaccessible", found[1], re.MULTILINE)
    return {*lines} - {*hidden}


@pytest.mark.parametrize("composition", COMPOSITIONS)
async def test_subgraph_composes_with_others_that_extend_user_by_each_key(
    roster: str, composition: str
) -> None:
    composed = await compose(composition, roster, *OTHERS)
    # What composition drops.
    assert fields_of("CreateUserPayload", composed) == {"errors", "replayed", "user", "userEdge"}
    assert not re.search(r"\b(_entities|_service|_Any|_Entity|_Service)\b", composed)
    assert ("directive @oneOf" in composed) == (composition != "apollo")
    # What it keeps and adds.
    assert {*KEYS, "username", "devices", "badge", "employee"} <= fields_of("User", composed)
    assert {"users", "node", "nodes", "devices", "badges"} <= fields_of("Query", composed)
    assert fields_of("Subscription", composed) == {"userEvents"}
    if composition != "wundergraph":  # which has another format for its router
        keys = re.findall(r'@join__type\(graph: ROSTER, key: "(\w+)"', composed)
        assert sorted(keys) == sorted([*KEYS, "id"])


@pytest.mark.parametrize("composition", COMPOSITIONS)
async def test_subgraph_composes_alone(roster: str, composition: str) -> None:
    composed = await compose(composition, roster)
    assert {"users", "node", "nodes"} <= fields_of("Query", composed)


@pytest.mark.parametrize("composition", COMPOSITIONS)
async def test_subgraphs_can_share_node_if_both_have_users(
    roster: str, tmp_path: Path, composition: str
) -> None:
    [devices] = [path for path in OTHERS if "devices" in path]
    sharing = tmp_path / "devices.graphql"
    shutil.copy(devices, sharing)
    replace(sharing, OVERRIDE, "")
    composed = await compose(composition, roster, str(sharing))
    assert {"node", "nodes"} <= fields_of("Query", composed)
