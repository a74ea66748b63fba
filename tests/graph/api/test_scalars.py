import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from graphql import GraphQLError
from hypothesis import assume, given
from hypothesis import strategies as st

from graph.api.scalars import SCALARS, WRITERS, BigInt
from graph.protocol.json import dumps
from tests.support.client import Client

MOMENT = SCALARS[datetime]
NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2026-01-31T12:00:00Z"),
        (NOON.replace(microsecond=1), "2026-01-31T12:00:00.000001Z"),
        (NOON.astimezone(timezone(timedelta(hours=-5))), "2026-01-31T12:00:00Z"),
    ],
)
def test_datetime_is_serialized_in_utc_and_parsed_back(moment: datetime, text: str) -> None:
    assert MOMENT.serialize
    assert MOMENT.parse_value
    assert MOMENT.serialize(moment) == text
    assert MOMENT.parse_value(text) == moment

    written = {"at": text, "beside": "\ud800"}  # a lone surrogate, which orjson rejects
    try:
        left = WRITERS["DateTime"](moment)
    except TypeError:
        assert moment.tzinfo is not UTC  # the fallback writes it
    else:
        assert orjson.loads(dumps({"at": left})) == {"at": text}
        assert json.loads(dumps(written | {"at": left})) == written


@pytest.mark.parametrize(
    "value",
    [
        *("2026-01-31", "2026-01-31T12:00:00", "yesterday", "", 1, None),
        "0001-01-01T00:00:00+01:00",
        # Forms of ISO 8601 that RFC 3339 does not allow.
        *("2026-W05-6T12:00:00Z", "20260131T120000Z", "2026-031T12:00:00Z", "2026-01-31T12Z"),
        *("2026-01-31T12:00Z", "2026-01-31T12:00:00+01", "2026-01-31T12:00:00+0100"),
        *("2026-01-31T12:00:00,5Z", "2026-01-31 12:00:00Z", "2026-01-31T24:00:00Z"),
        *("2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+01:60", "+02026-01-31T12:00:00Z"),
        *("2026-01-31T12:00:00+01:00:30", "2026-01-31T12:00:61Z", "2026-01-31T12:60:00Z"),
        *("2026-02-30T12:00:00Z", "2026-13-01T12:00:00Z", "0000-01-01T00:00:00Z"),
        *("2026-01-31T12:00:00.Z", " 2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z\n"),
        *("\uff12026-01-31T12:00:00Z", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01"),
    ],
)
def test_invalid_datetimes_are_rejected(value: Any) -> None:
    assert MOMENT.parse_value
    with pytest.raises(GraphQLError, match="A DateTime must look like"):
        MOMENT.parse_value(value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00z", NOON),
        ("2026-01-31t12:00:00Z", NOON),
        ("2026-01-31T12:00:00-00:00", NOON),
        ("2026-01-31T17:30:00+05:30", NOON),
        ("2026-01-31T00:01:00-11:59", NOON),
        ("2026-01-31T12:00:00.5Z", NOON.replace(microsecond=500_000)),
        ("2026-01-31T12:00:00.0000019Z", NOON.replace(microsecond=1)),
        ("2026-01-31T12:00:00." + "0" * 1_000 + "Z", NOON),
        ("2026-01-31T11:59:60Z", NOON),
        ("2026-01-31T11:59:60.9Z", NOON),
    ],
)
def test_every_form_of_rfc_3339_is_parsed(text: str, moment: datetime) -> None:
    assert MOMENT.parse_value
    assert MOMENT.parse_value(text) == moment


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999998Z"])
async def test_earliest_and_latest_erase_after_are_stored_exactly(
    client: Client, text: str
) -> None:
    user = await client.create("ada")
    await client.mutate("deleteUser", user["id"], eraseAfter=text)
    query = "query ($id: ID!) { user(id: $id) { eraseAfter } }"
    assert await client.ask(query, id=user["id"]) == {"eraseAfter": text}


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_erase_after_that_a_driver_reads_as_infinity_is_rejected(
    client: Client, text: str
) -> None:
    user = await client.create("ada")
    payload = await client.mutate("deleteUser", user["id"], eraseAfter=text)
    assert payload["errors"] == [
        {
            "__typename": "FieldError",
            "code": "INVALID_FORMAT",
            "message": "This is no date to wait for.",
            "path": ["input", "eraseAfter"],
            "min": None,
            "max": None,
        }
    ]
    assert [event["type"] for event in await client.events(user["id"])] == ["CREATED"]


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_datetime_is_serialized_like_isoformat(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:  # outside Python's range of years
        assume(False)  # noqa: FBT003 - the signature of hypothesis
    assert MOMENT.serialize
    assert MOMENT.serialize(moment) == expected


def test_datetime_with_an_offset_is_parsed() -> None:
    assert MOMENT.parse_value
    assert MOMENT.parse_value("2026-01-31T17:30:00+05:30") == NOON


def test_big_int_is_serialized_as_a_string() -> None:
    scalar = SCALARS[BigInt]
    assert scalar.serialize
    assert scalar.parse_value
    assert scalar.serialize(2**63 - 1) == "9223372036854775807"
    assert scalar.parse_value("9223372036854775807") == 2**63 - 1
