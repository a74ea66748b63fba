"""The limits of operations, the same over HTTP, WebSocket and Server-Sent Events."""

import json
from typing import Any

import pytest

from tests.support.process import http_client, serving_process
from tests.support.sockets import receive_message, send_message, socket, stream, subscribe

# As in production, but smaller if the default takes long to reach.
SETTINGS = {
    "ROSTER_MAX_ALIASES": "15",
    "ROSTER_MAX_ROOT_FIELDS": "10",
    "ROSTER_INTROSPECTION": "false",
    "ROSTER_PERSISTED_DOCUMENTS_FILE": "manifest.json",
    "ROSTER_QUERY_TIMEOUT": "20",
}
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


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_each_limit_has_the_same_error_on_every_transport(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    (folder / "manifest.json").write_text(json.dumps({"who": "{ viewer { id } }"}))
    async with (
        serving_process(folder, ROSTER_DATABASE_URL=database_url, **SETTINGS) as (_, url),
        http_client(url) as http,
        socket(url) as live,
    ):

        async def over_http(payload: dict[str, Any], accept: str, status: int) -> Any:
            answer = await http.post("/graphql", json=payload, headers={"accept": accept})
            assert (answer.status_code, set(answer.json())) == (status, {"errors"})
            return answer.json()["errors"]

        async def over_a_socket(payload: dict[str, Any]) -> Any:
            await send_message(live, {"id": "1", "type": "subscribe", "payload": payload})
            message = await receive_message(live)
            assert (message["id"], message["type"]) == ("1", "error")
            return message["payload"]

        async def over_a_stream(query: str, **variables: Any) -> Any:
            async with stream(url, query, **variables) as lines:
                received = [line async for line in lines]
            assert received[2:] == ["event: complete", "data:"]
            answer = json.loads(received[1].removeprefix("data: "))
            assert set(answer) == {"errors"}
            return answer["errors"]

        for code, (query, limit) in REJECTED.items():
            errors = await over_http({"query": query}, "application/graphql-response+json", 400)
            extensions = {"code": code} | ({} if limit is None else {"limit": limit})
            assert extensions in [error["extensions"] for error in errors], code
            assert len(errors) <= 5
            assert all(len(error["message"]) <= 300 for error in errors)
            assert await over_http({"query": query}, "application/json", 200) == errors
            assert await over_a_socket({"query": query}) == errors
            assert await over_a_stream(query) == errors
        many: dict[str, Any] = {"f": {"or": [{"and": [{}] * 500}] * 13}}
        wide = {"query": FILTERED, "variables": many}
        errors = await over_http(wide, "application/json", 200)
        assert [e["extensions"] for e in errors] == [{"code": "TOO_MANY_VALUES", "limit": 6_000}]
        assert await over_a_socket(wide) == errors
        assert await over_a_stream(FILTERED, **many) == errors
        unknown = {"documentId": "nobody's"}
        errors = await over_http(unknown, "application/json", 400)
        assert [error["extensions"] for error in errors] == [{"code": "UNKNOWN_DOCUMENT"}]
        assert await over_a_socket(unknown) == errors
        # After these rejections the same client is still served.
        known = await http.post("/graphql", json={"documentId": "who"})
        assert known.json() == {"data": {"viewer": None}}
        await subscribe(live, "1", "{ users { totalCount } }")
        assert (await receive_message(live))["payload"] == {"data": {"users": {"totalCount": 0}}}
        assert (await receive_message(live))["type"] == "complete"
        # The largest permitted request succeeds.
        done = {"data": {"bulkUsers": {"succeeded": 500, "errors": []}}}
        largest = {"query": BULK, "variables": {"input": {"operations": largest_batch("http")}}}
        assert (await http.post("/graphql", json=largest)).json() == done
        await subscribe(live, "2", BULK, input={"operations": largest_batch("socket")})
        assert (await receive_message(live))["payload"] == done
