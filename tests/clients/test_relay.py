"""Relay: its compiler, the store, and React's hooks."""

import json

import pytest

from tests.clients.conftest import Workspace, cases

STORE, HOOKS = "relay/store.mjs", "relay/hooks.mjs"
AUTHORS = "authorsWithTheSameIdAreNotMerged"
PERSISTED = "persistedDocumentsAreSentByTheirId"


async def compile_documents(workspace: Workspace) -> None:
    (workspace.folder / "relay" / "__generated__").mkdir()
    await workspace.run("relay-compiler", "relay/relay.config.json")


@pytest.fixture
async def compiled(workspace: Workspace) -> Workspace:
    await compile_documents(workspace)
    return workspace


@pytest.mark.parametrize("case", cases(STORE, without={AUTHORS, PERSISTED}))
async def test_relay_store(compiled: Workspace, case: str) -> None:
    await compiled.run_case(STORE, case)


@pytest.mark.parametrize("case", cases(HOOKS))
async def test_relay_hooks(compiled: Workspace, case: str) -> None:
    await compiled.run_case(HOOKS, case)


async def test_relay_authors_with_the_same_id_are_not_merged(
    compiled: Workspace, production: dict[str, str]
) -> None:
    await compiled.run_case(STORE, AUTHORS, **production)


async def test_relay_persisted_documents_are_sent_by_their_id(workspace: Workspace) -> None:
    config = workspace.folder / "relay" / "relay.config.json"
    persisted = workspace.folder / "persisted.json"
    persisted.write_text("{}")
    options = json.loads(config.read_text()) | {"persistConfig": {"file": persisted.name}}
    config.write_text(json.dumps(options))
    await compile_documents(workspace)
    settings = {
        "ROSTER_PERSISTED_DOCUMENTS": "on",
        "ROSTER_PERSISTED_DOCUMENTS_FILE": str(persisted),
    }
    await workspace.run_case(STORE, PERSISTED, **settings)
