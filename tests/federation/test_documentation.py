"""The samples of docs/federation.md are those that are tested."""

import re
from pathlib import Path

from graph.execution.schema import FederatedSchema
from tests.federation.conftest import FOLDER
from tests.support.process import run

PAGE = (FOLDER.parents[1] / "docs" / "federation.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines()}


async def test_command_prints_the_subgraph(tmp_path: Path) -> None:
    [command] = blocks("sh")
    program, *arguments, to, target = command.split()
    assert (program, to, target) == ("roster", ">", "roster.graphql")
    assert await run(*arguments, cwd=tmp_path) == (0, FederatedSchema().as_str() + "\n")


def test_samples_of_gateways_consist_of_tested_lines() -> None:
    tested = lines((FOLDER / "gateways.mjs").read_text())
    samples = blocks("js")
    assert len(samples) == 2
    for sample in samples:
        assert lines(sample) - tested == set()


def test_samples_of_subgraphs_consist_of_tested_lines() -> None:
    subgraph, node = blocks("graphql")
    assert subgraph == (FOLDER / "subgraphs" / "staff.graphql").read_text()
    assert lines(node) <= lines((FOLDER / "subgraphs" / "devices.graphql").read_text())
