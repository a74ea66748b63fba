"""Tools that check the schema: graphql-inspector and graphql-eslint."""

import json
import re
import shutil

import pytest

from tests.clients.conftest import Workspace
from tests.graph.api.test_compatibility import RELEASED, announced

# graphql-eslint's findings that are no faults.
ACCEPTED = {
    # Strawberry prints the definition, for tools that do not know this directive of the standard.
    ("require-description", 'Description is required for directive "oneOf"'),
    # The filter `UserEventFilter.actorId` has the same name.
    ("no-typename-prefix", 'Field "actorId" starts with the name of the parent type "Actor"'),
    # It is one word.
    ("no-typename-prefix", 'Field "username" starts with the name of the parent type "User"'),
}


async def test_inspector_finds_no_breaking_change_that_the_changelog_does_not_announce(
    workspace: Workspace,
) -> None:
    shutil.copy(RELEASED, workspace.folder)
    diff = ("graphql-inspector", "diff", RELEASED.name, "schema.graphql")
    # For the inspector, a changed default is not breaking. `test_compatibility` is stricter.
    try:
        assert "No breaking changes detected" in await workspace.run(*diff)
    except AssertionError as found:
        assert re.search(r"Detected \d+ breaking change", str(found))  # noqa: PT017 - or none
        assert announced()


async def test_inspector_finds_a_removed_field(workspace: Workspace) -> None:
    schema = workspace.folder / "schema.graphql"
    removed = workspace.folder / "removed.graphql"
    removed.write_text(schema.read_text().replace("  totalCount: Int\n", "  total: Int\n"))
    with pytest.raises(AssertionError, match="totalCount was removed"):
        await workspace.run("graphql-inspector", "diff", "schema.graphql", removed.name)


async def test_inspector_finds_no_deprecated_field_in_the_documents_of_the_tests(
    workspace: Workspace,
) -> None:
    documents = ("graphql-inspector", "validate", "./{apollo,urql,codegen,tada}/*.{graphql,mjs,ts}")
    output = await workspace.run(*documents, "schema.graphql", "--deprecated")
    assert "All documents are valid" in output


async def test_inspector_finds_a_deprecated_field_in_a_document(workspace: Workspace) -> None:
    document = workspace.folder / "deprecated.graphql"
    document.write_text("{ userEvents { nodes { actor { kind } } } }")
    validate = ("graphql-inspector", "validate", document.name, "schema.graphql", "--deprecated")
    with pytest.raises(AssertionError, match=r"The field Actor\.kind is deprecated"):
        await workspace.run(*validate)


@pytest.mark.parametrize(
    ("field", "rule", "message"),
    [
        ("hasNextPage: Boolean!", "relay-page-info", "must contain a field `hasNextPage`"),
        ("edges: [UserEdge!]!", "relay-connection-types", "must contain a field `edges`"),
        ("cursor: String!", "relay-edge-types", "must contain a field `cursor`"),
    ],
)
async def test_eslint_finds_what_breaks_the_rules_for_relay(
    workspace: Workspace, field: str, rule: str, message: str
) -> None:
    schema = workspace.folder / "schema.graphql"
    text = schema.read_text()
    assert f"  {field}\n" in text
    schema.write_text(text.replace(f"  {field}\n", f"  other{field[field.index(':') :]}\n"))
    found = await lint(workspace) - ACCEPTED
    assert [name for name, text in found if name == rule and message in text] == [rule]


async def test_eslint_accepts_the_schema_by_the_rules_for_relay(workspace: Workspace) -> None:
    assert await lint(workspace) == ACCEPTED


async def lint(workspace: Workspace) -> set[tuple[str, str]]:
    """Returns the rules that find something, with their messages."""
    report = workspace.folder / "report.json"
    await workspace.run(
        *("eslint", "--config", "tools/eslint.config.mjs", "--no-inline-config"),
        *("--format", "json", "--output-file", report.name, "schema.graphql"),
        status=1,
    )
    [checked] = json.loads(report.read_text())
    return {
        (message["ruleId"].removeprefix("@graphql-eslint/"), message["message"])
        for message in checked["messages"]
    }
