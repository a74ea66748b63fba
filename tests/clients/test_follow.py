"""The example of a live list: each client equals the table after lost connections."""

import json
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Workspace, cases
from tests.clients.test_relay import compile_documents
from tests.support.process import serving_process

FOLLOW, CLIENTS, KIT = (f"follow/{name}.mjs" for name in ("follow", "clients", "kit"))
FORBIDDEN = "callerWhoMayNotFollowGetsTheListAndItsEnd"
_SECONDS = 600


async def run(workspace: Workspace, script: str, case: str, url: str) -> None:
    """Runs a case, whose last line is a report. `make test-follow` prints it."""
    output = await workspace.run("node", "run.mjs", script, case, url, seconds=_SECONDS)
    report = json.loads(output.splitlines()[-1])
    sys.stdout.write(f"{report}\n")
    assert (report["missing"], report["repeated"]) == (0, 0)


@pytest.mark.parametrize("case", [*cases(FOLLOW), *cases(CLIENTS)])
async def test_list_equals_the_table_after_reconnects(workspace: Workspace, case: str) -> None:
    await compile_documents(workspace)
    script = FOLLOW if case in cases(FOLLOW) else CLIENTS
    async with serving_process(workspace.folder) as (_, url):
        await run(workspace, script, case, url)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_list_equals_the_table_after_reconnects_to_two_servers(
    workspace: Workspace, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url}
    async with (
        serving_process(tmp_path, **settings) as (_, url),
        serving_process(tmp_path, **settings) as (_, second),
    ):
        monkeypatch.setenv("FOLLOW_SECOND_URL", second)
        await run(workspace, FOLLOW, "kitOverWebSocket", url)


@pytest.mark.parametrize("case", cases(KIT, without={FORBIDDEN}))
async def test_kit(workspace: Workspace, case: str) -> None:
    await workspace.run_case(KIT, case)


async def test_kit_of_a_caller_who_may_not_follow_shows_the_list_and_ends(
    workspace: Workspace, production: dict[str, str]
) -> None:
    await workspace.run_case(KIT, FORBIDDEN, **production)
