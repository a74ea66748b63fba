"""Relay: its compiler, the store, and React's hooks."""

import pytest

from tests.clients.conftest import Workspace, cases


@pytest.fixture
async def compiled(workspace: Workspace) -> Workspace:
    (workspace.folder / "relay" / "__generated__").mkdir()
    await workspace.run("relay-compiler", "relay/relay.config.json")
    return workspace


@pytest.mark.parametrize("case", cases("relay/store.mjs"))
async def test_relay_store(compiled: Workspace, case: str) -> None:
    await compiled.run_case("relay/store.mjs", case)


@pytest.mark.parametrize("case", cases("relay/hooks.mjs"))
async def test_relay_hooks(compiled: Workspace, case: str) -> None:
    await compiled.run_case("relay/hooks.mjs", case)
