"""Lines of events: the published schemas, CloudEvents, and what is left out by default."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from feed.reader import ALL_EVENTS, EventReader
from graph.exchange.event_format import EventFormat
from graph.exchange.events import encoder, json_schema
from tests.support.client import Client

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
FILES = {
    EventFormat.NDJSON: SCHEMAS / "user-event.json",
    EventFormat.CLOUDEVENTS: SCHEMAS / "user-event-cloudevent.json",
}
NAMES = {"Canary-Name", "canary", "canary@example.com", "canary-hr", "Canary-Reason"}
EVENTS = """{ userEvents(first: 100) { nodes { id cursor type userId at reason requestId
  actor { type actorId label } changes { fieldName before after redacted }
  statusBefore statusAfter versionAfter } } }"""
ERASE = """mutation ($id: ID!) {
  eraseUser(input: {id: $id, confirmUsername: "erased", reason: "asked"}) { errors { code } } }"""


# Without these, jsonschema accepts any text in both formats, unless other packages are installed.
FORMATS = FormatChecker()
FORMATS.checks("date-time")(
    lambda text: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text) is not None
)
FORMATS.checks("uri-reference")(lambda text: re.search(r"[\s<>\"{}|\\^`]", text) is None)


@pytest.fixture
async def events(client: Client) -> list[Any]:
    """All kinds of events, as rows."""
    user = await client.create("canary", displayName="Canary-Name", externalId="canary-hr")
    erased = await client.create("erased")
    for verb in ("deactivateUser", "reactivateUser", "deleteUser", "restoreUser"):
        await client.mutate(verb, user["id"], reason="Canary-Reason")
    await client.mutate("updateUser", user["id"], displayName="Other")
    await client.mutate("deleteUser", erased["id"])
    assert await client.ask(ERASE, id=erased["id"]) == {"errors": []}
    return list(await EventReader(client.database).between(0, 1_000, ALL_EVENTS))


def lines(
    events: list[Any], format: EventFormat, *, personal_data: bool = False
) -> list[dict[str, Any]]:
    encode = encoder(format, personal_data=personal_data, source="https://directory.example")
    encoded = [encode(event) for event in events]
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in encoded)
    return [json.loads(line) for line in encoded]


def words(value: Any) -> set[str]:
    match value:
        case dict():
            return {word for inner in value.values() for word in words(inner)}
        case list():
            return {word for inner in value for word in words(inner)}
    return {str(value)}


@pytest.mark.parametrize("format", EventFormat)
def test_published_schema_is_that_of_the_code(format: EventFormat) -> None:
    assert json.loads(FILES[format].read_text()) == json_schema(format), "run `make docs`"


@pytest.mark.parametrize("personal_data", [False, True])
@pytest.mark.parametrize("format", EventFormat)
async def test_every_line_matches_the_published_schema(
    events: list[Any], format: EventFormat, *, personal_data: bool
) -> None:
    schema = json.loads(FILES[format].read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=FORMATS)
    found = lines(events, format, personal_data=personal_data)
    assert len(found) == 9
    for line in found:
        validator.validate(line)
        assert set(line) <= set(schema["properties"])
        assert not list(validator.iter_errors(line))
        assert list(validator.iter_errors({k: v for k, v in line.items() if k != "id"}))
        time = "time" if "time" in line else "at"
        assert list(validator.iter_errors({**line, time: line[time].replace("T", " ")}))


async def test_lines_with_personal_data_are_the_events_of_the_graphql_schema(
    client: Client, events: list[Any]
) -> None:
    listed = (await client.ask(EVENTS))["nodes"]
    assert lines(events, EventFormat.NDJSON, personal_data=True) == listed
    assert words(listed) >= NAMES


async def test_personal_data_is_left_out_by_default(client: Client, events: list[Any]) -> None:
    listed = (await client.ask(EVENTS))["nodes"]
    for event in listed:
        del event["reason"], event["actor"]["label"]
        for change in event["changes"]:
            del change["before"], change["after"]
    found = lines(events, EventFormat.NDJSON)
    assert found == listed
    data = [line["data"] for line in lines(events, EventFormat.CLOUDEVENTS)]
    assert data == found
    assert not NAMES & words(found)


async def test_cloud_events_have_the_attributes_of_the_specification(events: list[Any]) -> None:
    found = lines(events, EventFormat.CLOUDEVENTS)
    first = found[0]
    assert first == {
        "specversion": "1.0",
        "id": first["data"]["cursor"],
        "source": "https://directory.example",
        "type": "roster.user.created",
        "subject": first["data"]["userId"],
        "time": first["data"]["at"],
        "datacontenttype": "application/json",
        "dataschema": "urn:roster:user-event:1",
        "data": first["data"],
    }
    # Section "Context Attributes": the names, and the uniqueness of `source` and `id`.
    assert all(name.isalnum() and name == name.lower() for line in found for name in line)
    assert len({line["id"] for line in found}) == len(found)
    assert found == lines(events, EventFormat.CLOUDEVENTS)
