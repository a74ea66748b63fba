"""Apollo Client: the cache and the links."""

import pytest

from tests.clients.conftest import Workspace, cases

CACHE, LINKS, RETRIES = (f"apollo/{name}.mjs" for name in ("cache", "links", "retries"))
AUTHORS = "authorsWithTheSameIdAreNotMerged"
MANIFEST = "persistedManifestReplacesTheTexts"


@pytest.mark.parametrize("case", cases(CACHE, without={AUTHORS}))
async def test_apollo_cache(workspace: Workspace, case: str) -> None:
    await workspace.run_case(CACHE, case)


async def test_apollo_authors_with_the_same_id_are_not_merged(
    workspace: Workspace, production: dict[str, str]
) -> None:
    await workspace.run_case(CACHE, AUTHORS, **production)


@pytest.mark.parametrize("case", cases(LINKS, without={MANIFEST}))
async def test_apollo_link(workspace: Workspace, case: str) -> None:
    await workspace.run_case(LINKS, case)


@pytest.mark.parametrize("case", cases(RETRIES))
async def test_apollo_retry(workspace: Workspace, database_url: str, case: str) -> None:
    await workspace.run_case(RETRIES, case, ROSTER_DATABASE_URL=database_url)


async def test_apollo_manifest_is_accepted_and_other_documents_are_not(
    workspace: Workspace,
) -> None:
    await workspace.run("generate-persisted-query-manifest", "--config", "apollo/manifest.json")
    settings = {
        "ROSTER_PERSISTED_DOCUMENTS": "on",
        "ROSTER_PERSISTED_DOCUMENTS_FILE": str(workspace.folder / "persisted-query-manifest.json"),
    }
    await workspace.run_case(LINKS, MANIFEST, **settings)
