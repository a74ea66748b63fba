"""The limits of operations, the same over HTTP, WebSocket and Server-Sent Events."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from tests.support.process import http_client
from tests.support.sockets import receive_message, send_message, socket, stream, subscribe

# As in production, but smaller if the default takes long to reach.
SETTINGS = {
    "ROSTER_MAX_ALIASES": "15",
    "ROSTER_MAX_ROOT_FIELDS": "10",
    "ROSTER_INTROSPECTION": "false",
    "ROSTER_PERSISTED_DOCUMENTS_FILE": "manifest.json",
    "ROSTER_QUERY_TIMEOUT": "20",
}
FILES = {"manifest.json": json.dumps({"who": "{ viewer { id } }"})}
NO_VIEWER = {"data": {"viewer": None}}
DEEP = "history { nodes { user { " * 4 + "id" + " } } }" * 4
REJECTED = {
    "QUERY_TOO_LONG": ("{ __typename }" + " " * 20_000, 20_000),
    "TOO_MANY_TOKENS": ("{" + "id " * 1_000 + "}", 1_000),
    "TOO_DEEP": (f'{{ user(id: "x") {{ {DEEP} }} }}', 12),
    "TOO_MANY_FIELDS": ('{ user(id: "x") {' + "id " * 300 + "} }", 300),
    "TOO_MANY_ALIASES": (
        '{ user(id: "x") {' + " ".join(f"a{n}: id" for n in range(16)) + "} }",
        15,
    ),
    "TOO_MANY_DIRECTIVES": ("{ __typename" + " @skip(if: false)" * 21 + "}", 20),
    "TOO_MANY_ROOT_FIELDS": ("{" + "__typename " * 11 + "}", 10),
    "TOO_MANY_FRAGMENTS": (
        "{ __typename }" + "".join(f"fragment f{n} on User {{ id }} " for n in range(51)),
        50,
    ),
    "TOO_EXPENSIVE": (
        "{ users(first: 100) { nodes { history(first: 100) { nodes { id } } } } }",
        5_000,
    ),
    "LIST_TOO_LONG": ("{ nodes(ids: [" + '"x" ' * 501 + "]) { id } }", 500),
    "INTROSPECTION_DISABLED": ("{ __schema { types { name } } }", None),
    "GRAPHQL_PARSE_FAILED": ("{", None),
    "GRAPHQL_VALIDATION_FAILED": ("{ nothing }", None),
    "OPERATION_RESOLUTION_FAILURE": ("query A { __typename } query B { __typename }", None),
}

FILTERED = "query ($f: UserFilter) { users(filter: $f) { totalCount } }"
BULK = """mutation ($input: BulkUsersInput!) {
  bulkUsers(input: $input) { succeeded errors { code message } } }"""


def largest_batch(name: str) -> list[dict[str, Any]]:
    """The maximum number of operations, each with all of its fields."""
    return [
        {
            "create": {
                "username": f"{name}{n}",
                "email": f"{name}{n}@example.com",
                "displayName": "x" * 200,
                "isActive": True,
                "externalId": f"{name}{n}",
                "validateOnly": False,
                "idempotencyKey": None,
            }
        }
        for n in range(500)
    ]


class Transports:
    """One client of each transport. Each method returns the errors of a rejected operation."""

    def __init__(self, url: str, http: httpx.AsyncClient, live: ClientConnection) -> None:
        self.url = url
        self.http = http
        self.live = live

    async def over_http(self, payload: dict[str, Any], accept: str, status: int) -> Any:
        answer = await self.http.post("/graphql", json=payload, headers={"accept": accept})
        assert (answer.status_code, set(answer.json())) == (status, {"errors"})
        return answer.json()["errors"]

    async def over_a_socket(self, payload: dict[str, Any]) -> Any:
        await send_message(self.live, {"id": "1", "type": "subscribe", "payload": payload})
        message = await receive_message(self.live)
        assert (message["id"], message["type"]) == ("1", "error")
        return message["payload"]

    async def over_a_stream(self, query: str, **variables: Any) -> Any:
        async with stream(self.url, query, **variables) as lines:
            received = [line async for line in lines]
        assert received[2:] == ["event: complete", "data:"]
        answer = json.loads(received[1].removeprefix("data: "))
        assert set(answer) == {"errors"}
        return answer["errors"]

    async def assert_still_served(self) -> None:
        known = await self.http.post("/graphql", json={"documentId": "who"})
        assert known.json() == NO_VIEWER
        await subscribe(self.live, "1", "{ viewer { id } }")
        assert (await receive_message(self.live))["payload"] == NO_VIEWER
        assert (await receive_message(self.live))["type"] == "complete"


@pytest.fixture
async def transports(server_url: str) -> AsyncIterator[Transports]:
    async with http_client(server_url) as http, socket(server_url) as live:
        yield Transports(server_url, http, live)


@pytest.mark.parametrize("code", REJECTED)
async def test_rejected_document_has_the_same_error_on_every_transport(
    transports: Transports, code: str
) -> None:
    query, limit = REJECTED[code]
    payload = {"query": query}
    errors = await transports.over_http(payload, "application/graphql-response+json", 400)
    extensions = {"code": code} | ({} if limit is None else {"limit": limit})
    assert extensions in [error["extensions"] for error in errors]
    assert len(errors) <= 5
    assert all(len(error["message"]) <= 300 for error in errors)
    assert await transports.over_http(payload, "application/json", 200) == errors
    assert await transports.over_a_socket(payload) == errors
    assert await transports.over_a_stream(query) == errors
    await transports.assert_still_served()


async def test_too_many_values_in_variables_have_the_same_error_on_every_transport(
    transports: Transports,
) -> None:
    many: dict[str, Any] = {"f": {"or": [{"and": [{}] * 500}] * 13}}
    wide = {"query": FILTERED, "variables": many}
    errors = await transports.over_http(wide, "application/json", 200)
    assert [e["extensions"] for e in errors] == [{"code": "TOO_MANY_VALUES", "limit": 6_000}]
    assert await transports.over_a_socket(wide) == errors
    assert await transports.over_a_stream(FILTERED, **many) == errors
    await transports.assert_still_served()


async def test_unknown_document_id_has_the_same_error_over_http_and_a_socket(
    transports: Transports,
) -> None:
    unknown = {"documentId": "nobody's"}
    errors = await transports.over_http(unknown, "application/json", 400)
    assert [error["extensions"] for error in errors] == [{"code": "UNKNOWN_DOCUMENT"}]
    assert await transports.over_a_socket(unknown) == errors
    await transports.assert_still_served()


async def test_largest_permitted_batch_succeeds_over_http_and_a_socket(
    transports: Transports,
) -> None:
    done = {"data": {"bulkUsers": {"succeeded": 500, "errors": []}}}
    largest = {"query": BULK, "variables": {"input": {"operations": largest_batch("http")}}}
    assert (await transports.http.post("/graphql", json=largest)).json() == done
    await subscribe(transports.live, "2", BULK, input={"operations": largest_batch("socket")})
    assert (await receive_message(transports.live))["payload"] == done
