"""Clients whose types are generated from the schema: each program is compiled and run."""

from tests.clients.conftest import Workspace


async def test_codegen_client_preset_sends_persisted_documents(workspace: Workspace) -> None:
    await workspace.run("graphql-codegen", "--config", "codegen/codegen.mjs")
    await workspace.run("tsc", "--project", "codegen")
    manifest = workspace.folder / "codegen" / "gql" / "persisted-documents.json"
    settings = {
        "ROSTER_PERSISTED_DOCUMENTS": "on",
        "ROSTER_PERSISTED_DOCUMENTS_FILE": str(manifest),
    }
    case = "persistedDocumentsAreSentByTheirHash"
    await workspace.run_case("codegen/users.ts", case, **settings)


async def test_tada_infers_types_that_match_the_answers(workspace: Workspace) -> None:
    await workspace.run("node", "tada/introspect.mjs")
    await workspace.run("tsc", "--project", "tada")
    await workspace.run_case("tada/users.ts", "answersHaveTheInferredTypes")
