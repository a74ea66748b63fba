"""GraphQLEndpoint: media types, status codes and error codes."""

import json
from typing import Any

import httpx
import pytest

from graph.settings import Settings
from tests.support.client import Client, count, serving

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
EVENTS = "text/event-stream"
CREATE = 'mutation { createUser(input: {username: "ada", email: "a@b.example"}) { user { id } } }'
TYPENAME = {"query": "{ __typename }"}
ANSWER = {"data": {"__typename": "Query"}}


async def post(client: Client, body: object = None, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(TYPENAME if body is None else body)
    named = {"content-type": JSON} | {k.replace("_", "-"): v for k, v in headers.items()}
    return await client.http.post("/graphql", content=content, headers=named)


def code(response: httpx.Response) -> str:
    [error] = response.json()["errors"]
    assert 0 < len(error["message"]) <= 300
    return str(error["extensions"]["code"])


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", JSON),
        (f"{JSON};q=0.5, {GRAPHQL};q=0.9", GRAPHQL),
        (f"{JSON};q=0, */*", GRAPHQL),
        (f"{JSON};q=nan, {GRAPHQL};q=0.1", GRAPHQL),
        (f"{JSON};q=inf", JSON),
        (f"garbage, ;;;, {JSON}", JSON),
        ("TEXT/HTML, */*;q=0.1", JSON),
        ("image/png", None),
        (f"{JSON};q=0", None),
        (f"{JSON};q=nan", None),
        ("*/*;q=0", None),
        ("text/html", None),
        (",", None),
    ],
)
async def test_response_media_type_follows_the_accept_header(
    client: Client, accept: str, media: str | None
) -> None:
    response = await post(client, accept=accept)
    if media is None:
        assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")
        return
    assert (response.status_code, response.json()) == (200, ANSWER)
    assert response.headers["content-type"] == f"{media}; charset=utf-8"


async def test_several_accept_headers_are_combined(client: Client) -> None:
    headers = [("accept", "image/png"), ("accept", GRAPHQL), ("content-type", JSON)]
    response = await client.http.post("/graphql", json=TYPENAME, headers=httpx.Headers(headers))
    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"


INVALID_REQUESTS = [
    ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    (
        {"query": "query ($n: Int!) { users(first: $n) { totalCount } }", "variables": {"n": "x"}},
        "GRAPHQL_VALIDATION_FAILED",
    ),
    ({"query": "{" + " " * 20_000 + "__typename }"}, "QUERY_TOO_LONG"),
    (
        {"query": "query A { __typename } query B { __typename }"},
        "OPERATION_RESOLUTION_FAILURE",
    ),
]


@pytest.mark.parametrize(("body", "expected"), INVALID_REQUESTS)
async def test_document_that_cannot_be_executed_gets_errors_without_data(
    client: Client, body: object, expected: str
) -> None:
    for accept, status in ((GRAPHQL, 400), (JSON, 200), ("*/*", 200)):
        response = await post(client, body, accept=accept)
        assert (response.status_code, code(response)) == (status, expected)
        assert set(response.json()) == {"errors"}
    stream = await post(client, body, accept=EVENTS)
    assert (stream.status_code, stream.headers["content-type"]) == (200, f"{EVENTS}; charset=utf-8")
    first, *rest = [line for line in stream.text.splitlines() if line and line != ":"]
    assert (first, rest[1:]) == ("event: next", ["event: complete", "data:"])
    [error] = json.loads(rest[0].removeprefix("data: "))["errors"]
    assert error["extensions"]["code"] == expected


async def test_partial_result_has_status_200(client: Client) -> None:
    body = {"query": "{ __typename users(first: -1) { totalCount } node(id: 1) { id } }"}
    for media in (GRAPHQL, JSON):
        response = await post(client, body, accept=media)
        assert response.status_code == 200
        assert "data" in response.json()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 415),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/graphql", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin1", 415),
        ("application/jsonx", 415),
        ('application/json; charset="UTF-8"', 200),
        ("APPLICATION/JSON;charset=utf-8;x=y", 200),
    ],
)
async def test_body_requires_the_content_type_json(
    client: Client, kind: str | None, status: int
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    body = json.dumps({"query": CREATE})
    response = await client.http.post("/graphql", content=body, headers=headers)
    assert response.status_code == status
    if status == 415:
        assert code(response) == "UNSUPPORTED_MEDIA_TYPE"
    assert await count(client.database) == ((1, 1) if status == 200 else (0, 0))


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_compressed_body_is_rejected(client: Client, encoding: str) -> None:
    response = await post(client, b"\x1f\x8b", content_encoding=encoding)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


def nested(depth: int) -> dict[str, Any]:
    value: Any = {}
    for _ in range(depth - 3):
        value = [value]
    return {"query": "{ __typename }", "variables": {"x": value}}


WRONG_TYPES: dict[str, list[Any]] = {
    "query": [None, 1, True, [], {}, 1.5],
    "variables": [1, "", "{}", [1], True],
    "operationName": [1, [], {}, True],
    "extensions": [1, "", [1], True],
    "documentId": [1, [], {}, True],
}
QUERY = b'"query": "{ __typename }"'
MALFORMED_BODIES = [
    b"", b" ", b"1", b"null", b"true", b'"x"', b"NaN", b"[]", b"{}", b"{", b'{"query"}',
    b"9" * 5_000, b"\xff\xfe{", b"\x00", b"[" * 400, b'{"a":' * 400,
    json.dumps(TYPENAME).encode("utf-16"), b"\xef\xbb\xbf" + json.dumps(TYPENAME).encode(),
    json.dumps([TYPENAME]).encode(),
    b"{" + QUERY + b', "variables": {"x": NaN}}',
    b"{" + QUERY + b', "variables": {"x": -Infinity}}',
    b"{" + QUERY + b', "variables": {"x": ' + b"9" * 5_000 + b"}}",
    b'{"query": "\xff"}', b'{"query": "\xed\xa0\x80"}', b'{"query": "a\nb"}',
    b"{" + QUERY + b"} x",
    *(json.dumps({**TYPENAME, n: v}).encode() for n, vs in WRONG_TYPES.items() for v in vs),
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED_BODIES, ids=lambda body: repr(body[:50]))
async def test_malformed_body_is_a_bad_request(client: Client, body: bytes) -> None:
    response = await post(client, body, accept=GRAPHQL)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": "{ \ud800 }"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ \0 }"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": ""}, "GRAPHQL_PARSE_FAILED"),
        ({**TYPENAME, "operationName": "\ud800"}, "OPERATION_RESOLUTION_FAILURE"),
        ({"documentId": "\ud800"}, "UNKNOWN_DOCUMENT"),
        ({"documentId": ""}, "UNKNOWN_DOCUMENT"),
        (nested(51), "JSON_TOO_DEEP"),
        (b"[" * 100_000 + b"]" * 100_000, "JSON_TOO_DEEP"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "JSON_TOO_DEEP"),
    ],
)
async def test_well_formed_but_invalid_body_gets_a_specific_code(
    client: Client, body: object, expected: str
) -> None:
    response = await post(client, body, accept=GRAPHQL)
    assert (response.status_code, code(response)) == (400, expected)


@pytest.mark.parametrize("id_", ["\ud800", "\0", "", "x" * 10_000, "💥", "VXNlcjox\n"])
async def test_malformed_id_in_a_variable_gets_invalid_id(client: Client, id_: str) -> None:
    body = {"query": "query ($id: ID!) { user(id: $id) { id } }", "variables": {"id": id_}}
    response = await post(client, body)
    assert (response.status_code, code(response)) == (200, "INVALID_ID")
    assert response.json()["data"] == {"user": None}


async def test_unusual_but_valid_bodies_are_accepted(client: Client) -> None:
    bodies = [
        nested(50),
        {**TYPENAME, "variables": None, "operationName": None, "extensions": None},
        {**TYPENAME, "extensions": {"x": 1}, "unknown": [1]},
        {**TYPENAME, "variables": {"\ud800": "\ud800"}},
        b'{"query": "{ nothing }", "query": "{ __typename }"}',
    ]
    for body in bodies:
        response = await post(client, body)
        assert (response.status_code, response.json()) == (200, ANSWER)


async def test_get_accepts_all_request_parameters(client: Client) -> None:
    params = {
        "query": "query A { __typename } query B($n: Int) { users(first: $n) { totalCount } }",
        "operationName": "B",
        "variables": '{"n": 1}',
        "extensions": "{}",
    }
    response = await client.http.get("/graphql", params=params)
    assert response.json() == {"data": {"users": {"totalCount": 0}}}
    for wrong in (
        {}, {"query": ""}, {**params, "variables": "1"}, {**params, "variables": "{"},
        {**params, "extensions": "[1]"},
    ):  # fmt: skip
        response = await client.http.get("/graphql", params=wrong, headers={"accept": GRAPHQL})
        assert (response.status_code, code(response)) == (400, "BAD_REQUEST"), wrong
    deep = {**params, "variables": "[" * 4_500 + "]" * 4_500}
    response = await client.http.get("/graphql", params=deep, headers={"accept": GRAPHQL})
    assert (response.status_code, code(response)) == (400, "JSON_TOO_DEEP")
    junk = await client.http.get("/graphql?query=%FF&variables=%ED%A0%80", headers={"accept": JSON})
    assert junk.status_code < 500


@pytest.mark.parametrize("accept", [JSON, GRAPHQL, EVENTS, "*/*"])
async def test_mutation_by_get_is_rejected(client: Client, accept: str) -> None:
    response = await client.http.get(
        "/graphql", params={"query": CREATE}, headers={"accept": accept}
    )
    assert (response.status_code, code(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"
    assert await count(client.database) == (0, 0)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "X"])
async def test_other_methods_get_405(client: Client, method: str) -> None:
    response = await client.http.request(method, "/graphql", json={"query": CREATE})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"
    if method != "HEAD":  # its response has no body
        assert code(response) == "METHOD_NOT_ALLOWED"
    assert await count(client.database) == (0, 0)


async def test_subscription_without_a_stream_is_rejected(client: Client) -> None:
    body = {"query": "subscription { userEvents { id } }"}
    response = await post(client, body, accept=GRAPHQL)
    assert (response.status_code, code(response)) == (400, "SUBSCRIPTION_NOT_STREAMED")


async def test_body_above_the_limit_gets_413(database_url: str) -> None:
    settings = Settings(database_url=database_url, max_body_bytes=1024)
    minimal_body = json.dumps(TYPENAME).encode()
    async with serving(settings) as client:

        async def parts(body: bytes) -> Any:
            for at in range(0, len(body), 100):
                yield body[at : at + 100]

        for size, status in ((1024, 200), (1025, 413)):
            body = minimal_body + b" " * (size - len(minimal_body))
            for content in (body, parts(body)):
                response = await client.http.post(
                    "/graphql", content=content, headers={"content-type": JSON}
                )
                assert response.status_code == status
                if status == 413:
                    assert code(response) == "BODY_TOO_LARGE"
                    assert response.headers["connection"] == "close"
        for lie in ("9" * 5_000, "1025"):
            response = await post(client, minimal_body, content_length=lie)
            assert (response.status_code, code(response)) == (413, "BODY_TOO_LARGE")


async def test_errors_are_limited_in_number_and_length(client: Client) -> None:
    query = "{" + " ".join(f"{'x' * 2_000}{n}" for n in range(7)) + "}"
    for body in ({"query": query}, {"query": "{ " + "x" * 10_000 + " }"}):
        errors = (await post(client, body)).json()["errors"]
        assert 1 <= len(errors) <= 5
        assert {len(error["message"]) for error in errors} == {300}


async def test_disabled_introspection_also_disables_suggestions(database_url: str) -> None:
    async with serving(Settings(database_url=database_url, introspection=False)) as client:
        introspection = await post(client, {"query": "{ __schema { queryType { name } } }"})
        assert code(introspection) == "INTROSPECTION_DISABLED"
        for query in ("{ user(id: 1) { usernam } }", "{ users(frist: 1) { totalCount } }",
                      "{ users(orderBy: [{field: CREATEDAT}]) { totalCount } }",
                      "query ($x: UserFiltr) { __typename }",
                      "{ users(filter: {usernam: 1}) { totalCount } }"):  # fmt: skip
            answer = await post(client, {"query": query})
            assert "Did you mean" not in answer.text, answer.text
        body = {"query": "query ($f: UserFilter) { users(filter: $f) { totalCount } }"}
        answer = await post(client, body | {"variables": {"f": {"usernam": {}}}})
        assert "Did you mean" not in answer.text, answer.text


async def test_browser_gets_graphiql_and_nothing_is_executed(client: Client) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    response = await client.http.get("/graphql", params={"query": CREATE}, headers=browser)
    assert (response.status_code, response.headers["content-type"]) == (
        200,
        "text/html; charset=utf-8",
    )
    assert await count(client.database) == (0, 0)
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'; worker-src 'self';" in policy
    assert "<script>" not in response.text
    for sign in (" onload=", " onclick=", "javascript:"):
        assert sign not in response.text
