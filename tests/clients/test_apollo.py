"""Apollo Client: the cache and the links."""

import pytest

from tests.clients.conftest import Workspace, cases

MANIFEST = "persistedManifestReplacesTheTexts"


@pytest.mark.parametrize("case", cases("apollo/cache.mjs"))
async def test_apollo_cache(workspace: Workspace, case: str) -> None:
    await workspace.run_case("apollo/cache.mjs", case)


@pytest.mark.parametrize("case", [case for case in cases("apollo/links.mjs") if case != MANIFEST])
async def test_apollo_link(workspace: Workspace, case: str) -> None:
    await workspace.run_case("apollo/links.mjs", case)


async def test_apollo_manifest_is_accepted_and_other_documents_are_not(
    workspace: Workspace,
) -> None:
    await workspace.run("generate-persisted-query-manifest", "--config", "apollo/manifest.json")
    settings = {
        "ROSTER_PERSISTED_DOCUMENTS": "on",
        "ROSTER_PERSISTED_DOCUMENTS_FILE": str(workspace.folder / "persisted-query-manifest.json"),
    }
    await workspace.run_case("apollo/links.mjs", MANIFEST, **settings)
