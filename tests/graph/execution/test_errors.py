"""Errors have a code and reveal no internals."""

import json
from typing import Any

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from tests.support.client import CREATE, Client, count


def codes(answer: dict[str, Any]) -> list[str]:
    return [e["extensions"]["code"] for e in answer["errors"]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ users(first: 1 { nodes { id } } }", "GRAPHQL_PARSE_FAILED"),
        ('{ userBy(by: {username: "\ud800"}) { id } }', "GRAPHQL_PARSE_FAILED"),
        ('{ userBy(by: {username: "\\uD800"}) { id } }', "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ users { nodes } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ userBy(by: {}) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ userBy(by: {username: null}) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        (f"{{ users(first: {'9' * 5_000}) {{ totalCount }} }}", "GRAPHQL_VALIDATION_FAILED"),
        ("{ userBy(by: {databaseId: -1}) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ userBy(by: {databaseId: 9223372036854775808}) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ('{ userBy(by: {databaseId: "٣"}) { id } }', "GRAPHQL_VALIDATION_FAILED"),
        ('{ userBy(by: {databaseId: ""}) { id } }', "GRAPHQL_VALIDATION_FAILED"),
        ("{ userBy(by: {databaseId: true}) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ users(filter: {status: [ERASED]}) { totalCount } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "mutation { createUser(input: {username: 1}) { errors { code } } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
    ],
)
async def test_invalid_document_is_rejected_with_a_code(
    client: Client, query: str, code: str
) -> None:
    answer = await client.send(query)
    assert answer.get("data") is None
    assert set(codes(answer)) == {code}


@pytest.mark.parametrize("value", ["x" * 30, -1, 2**63, "9" * 5_000, "1.0", " 1", True, [1, 2], {}])
async def test_invalid_big_int_variable_is_a_validation_error(client: Client, value: Any) -> None:
    answer = await client.send(
        "query ($n: BigInt!) { userBy(by: {databaseId: $n}) { id } }", n=value
    )
    assert answer.get("data") is None
    assert codes(answer) == ["GRAPHQL_VALIDATION_FAILED"]


# Texts that every field of a mutation must reject.
HOSTILE = {
    "empty": "",
    "spaces": "   ",
    "long": "x" * 100_000,
    "NUL": "ada\x00",
    "control": "ada\x1b[31m",
    "newline": "ada\nbob",
    "bidi override": "ada\u202egnp.exe",
    "bidi isolate": "ada\u2066x\u2069",
    "lone surrogate": "ada\ud83d",
    "reversed pair": "ada\ude00\ud83d",
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_text_is_rejected_in_every_field_and_changes_nothing(
    client: Client, kind: str
) -> None:
    text = HOSTILE[kind]
    user = await client.create("grace", displayName="Grace", externalId="hr-1")
    fields = {"username": text, "email": text, "displayName": text, "externalId": text}
    if kind == "spaces":
        del fields["externalId"]  # an external id is not trimmed, so spaces are valid
    payloads = [
        await client.ask(CREATE, input=fields),
        await client.mutate("updateUser", user["id"], **fields),
    ]
    for payload in payloads:
        assert payload["user"] is None
        assert [e["path"][1] for e in payload["errors"]] == list(fields)
        allowed = {"empty": {"TOO_SHORT"}, "long": {"TOO_LONG"}}.get(
            kind, {"INVALID_FORMAT", "TOO_SHORT"}
        )
        assert {e["code"] for e in payload["errors"]} <= allowed
    for verb in ("deactivateUser", "deleteUser"):
        payload = await client.mutate(verb, user["id"], reason=text)
        assert [e["path"] for e in payload["errors"]] == [["input", "reason"]]
    assert await client.ask(
        "query ($id: ID!) { user(id: $id) { displayName version } }", id=user["id"]
    ) == {"displayName": "Grace", "version": 1}
    assert await count(client.database) == (1, 1)


@pytest.mark.parametrize(
    "text",
    ["%_\\", "'; DROP TABLE users; --", '"quoted"', "👩‍💻", "&lt;b&gt;", "\u200f", "ﬁ", "ａ"],
)
async def test_unusual_text_is_stored_and_found_unchanged(client: Client, text: str) -> None:
    user = await client.create("ada", displayName=f"a{text}a", externalId=text)
    assert (user["displayName"], user["externalId"]) == (f"a{text}a", text)
    query = "query ($x: String!) { userBy(by: {externalId: $x}) { displayName } }"
    assert await client.ask(query, x=text) == {"displayName": f"a{text}a"}


async def test_exception_in_a_resolver_returns_only_the_id_in_the_log(client: Client) -> None:
    user = await client.create("ada")

    @event.listens_for(client.database.engine.sync_engine, "before_cursor_execute")
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret /etc/path")

    with capture_logs() as logs:
        response = await client.http.post(
            "/graphql",
            json={"query": f'{{ user(id: "{user["id"]}") {{ id }} }}'},
            headers={"x-request-id": "req-1"},
        )
    event.remove(client.database.engine.sync_engine, "before_cursor_execute", fail)
    answer = response.json()
    assert answer["data"] == {"user": None}
    [error] = answer["errors"]
    assert error["message"] == "Internal server error."
    assert error["path"] == ["user"]
    assert set(error["extensions"]) == {"code", "id"}
    assert error["extensions"]["code"] == "INTERNAL_ERROR"
    for internal in ("secret", "Zero", "sqlite", "asyncpg", "SELECT", ".py"):
        assert internal not in response.text
    [entry] = logs
    assert isinstance(entry["exc_info"], ZeroDivisionError)
    assert (entry["error_id"], entry["request_id"], entry["field"]) == (
        error["extensions"]["id"],
        "req-1",
        "user",
    )
    assert await client.ask("{ users { totalCount } }") == {"totalCount": 1}


async def test_client_errors_are_not_logged(client: Client) -> None:
    with capture_logs() as logs:
        await client.send("{ nothing }")
        await client.send("{ users(first: -1) { totalCount } }")
        await client.ask(CREATE, input={"username": "", "email": ""})
    assert logs == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"1",
        b"null",
        b"[]",
        b'[{"query": "{ __typename }"}]',
        b'"x"',
        b"9" * 5_000,
        b"[" * 100_000,
        b'{"query": 1}',
        b'{"query": "{ __typename }", "variables": [1]}',
        b'{"variables": {}}',
        b'{"query": "{ __typename }", "operationName": 1}',
    ],
)
async def test_malformed_body_gets_400(client: Client, body: bytes) -> None:
    response = await client.http.post(
        "/graphql", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 400


async def test_mutation_by_get_gets_405_and_writes_nothing(client: Client) -> None:
    query = (
        'mutation { createUser(input: {username: "ada", email: "a@b.example"}) { user { id } } }'
    )
    response = await client.http.get("/graphql", params={"query": query})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert await count(client.database) == (0, 0)
    answer = await client.http.get("/graphql", params={"query": "{ users { totalCount } }"})
    assert json.loads(answer.content) == {"data": {"users": {"totalCount": 0}}}
