"""Requests in the form that client libraries send them."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from graph.documents.persisted import PersistedMode
from graph.settings import Mode, Settings
from tests.support.client import Client, serving

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
QUERY = "query Kind { __typename }"
ANSWER = {"data": {"__typename": "Query"}}
HASH = sha256(QUERY.encode()).hexdigest()
PERSISTED = {"persistedQuery": {"version": 1, "sha256Hash": HASH}}


async def by_post(http: httpx.AsyncClient, body: dict[str, Any]) -> Any:
    return (await http.post("/graphql", json=body)).json()


async def by_get(http: httpx.AsyncClient, body: dict[str, Any]) -> Any:
    params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
    return (await http.get("/graphql", params=params)).json()


async def by_stream(http: httpx.AsyncClient, body: dict[str, Any]) -> Any:
    sent = await http.post("/graphql", json=body, headers={"accept": "text/event-stream"})
    if sent.headers["content-type"].startswith(JSON):
        return sent.json()
    [data] = [line for line in sent.text.splitlines() if line.startswith("data: ")]
    return json.loads(data.removeprefix("data: "))


Ask = Callable[[httpx.AsyncClient, dict[str, Any]], Any]
every_way = pytest.mark.parametrize("way", [by_post, by_get, by_stream])


def codes_or_result(found: Any) -> Any:
    """The error codes of a result, or the result itself if it has no errors."""
    return [e["extensions"]["code"] for e in found["errors"]] if "errors" in found else found


@asynccontextmanager
async def with_manifest(
    folder: Path, url: str, mode: PersistedMode, manifest: object
) -> AsyncIterator[Client]:
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest))
    settings = Settings(database_url=url, persisted_documents=mode, persisted_documents_file=path)
    async with serving(settings) as client:
        yield client


@sqlite
@every_way
async def test_automatic_persisted_query_gets_not_supported(client: Client, way: Ask) -> None:
    rejected = await way(client.http, {"extensions": PERSISTED, "operationName": "Kind"})
    assert rejected == {
        "errors": [
            {
                "message": "PersistedQueryNotSupported",
                "extensions": {"code": "PERSISTED_QUERY_NOT_SUPPORTED"},
            }
        ]
    }
    assert await way(client.http, {"query": QUERY, "extensions": PERSISTED}) == ANSWER


@sqlite
@pytest.mark.parametrize("accept", [JSON, GRAPHQL, "*/*"])
async def test_unsupported_persisted_query_has_status_200(client: Client, accept: str) -> None:
    body = {"extensions": PERSISTED}
    response = await client.http.post("/graphql", json=body, headers={"accept": accept})
    assert response.status_code == 200
    assert codes_or_result(response.json()) == ["PERSISTED_QUERY_NOT_SUPPORTED"]


MANIFESTS = {
    "graphql-codegen": {HASH: QUERY},
    "Relay": {"d0c1": QUERY},
    "prefixed": {f"sha256:{HASH}": QUERY},
    "Apollo": {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [{"id": HASH, "name": "Kind", "type": "query", "body": QUERY}],
    },
}


@sqlite
@every_way
@pytest.mark.parametrize("kind", MANIFESTS)
async def test_document_of_a_manifest_is_found_by_each_of_its_ids(
    database_url: str, tmp_path: Path, kind: str, way: Ask
) -> None:
    ids = [HASH, f"sha256:{HASH}", *(["d0c1"] if kind == "Relay" else [])]
    async with with_manifest(tmp_path, database_url, PersistedMode.ON, MANIFESTS[kind]) as client:
        for id_ in ids:
            assert await way(client.http, {"documentId": id_}) == ANSWER, id_
        assert await way(client.http, {"extensions": PERSISTED}) == ANSWER
        assert await way(client.http, {"extensions": PERSISTED, "query": QUERY}) == ANSWER
        other = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}
        for body, expected in (
            ({"documentId": "0" * 64}, ["UNKNOWN_DOCUMENT"]),
            ({"extensions": other}, ["UNKNOWN_DOCUMENT"]),
            ({"extensions": other, "query": QUERY}, ["DOCUMENT_NOT_TRUSTED"]),
            ({"extensions": PERSISTED, "query": "{ __typename }"}, ["BAD_REQUEST"]),
            ({"query": QUERY}, ["DOCUMENT_NOT_TRUSTED"]),
        ):
            assert codes_or_result(await way(client.http, body)) == expected, body


@sqlite
@every_way
async def test_empty_operation_name_is_treated_as_missing(client: Client, way: Ask) -> None:
    assert await way(client.http, {"query": QUERY, "operationName": ""}) == ANSWER
    two = "query A { __typename } query B { __typename }"
    rejected = await way(client.http, {"query": two, "operationName": ""})
    assert codes_or_result(rejected) == ["OPERATION_RESOLUTION_FAILURE"]


@sqlite
@every_way
@pytest.mark.parametrize("name", ["variables", "extensions"])
async def test_empty_list_of_variables_or_extensions_is_treated_as_empty(
    client: Client, way: Ask, name: str
) -> None:
    assert await way(client.http, {"query": QUERY, name: []}) == ANSWER
    assert codes_or_result(await way(client.http, {"query": QUERY, name: [1]})) == ["BAD_REQUEST"]


@sqlite
@pytest.mark.parametrize(
    ("charset", "status"),
    [("utf-8", 200), ("utf8", 200), ('"UTF8"', 200), ("UTF-8", 200), ("latin1", 415), ("", 415)],
)
async def test_utf_8_charset_is_accepted_by_both_names(
    client: Client, charset: str, status: int
) -> None:
    headers = {"content-type": f"{JSON}; charset={charset}"}
    body = json.dumps({"query": QUERY})
    response = await client.http.post("/graphql", content=body, headers=headers)
    assert response.status_code == status


NO_TOKEN = ["", " ", "Bearer", "Bearer ", "Bearer undefined", "bearer NULL"]


@sqlite
@pytest.mark.parametrize("authorization", NO_TOKEN)
async def test_authorization_without_a_token_is_treated_as_missing(
    database_url: str, authorization: str
) -> None:
    headers = {"authorization": authorization}
    async with serving(Settings(database_url=database_url)) as client:
        answered = await client.http.post("/graphql", json={"query": QUERY}, headers=headers)
        assert (answered.status_code, answered.json()) == (200, ANSWER)
        wrong = {"authorization": "Bearer undefined1"}
        rejected = await client.http.post("/graphql", json={"query": QUERY}, headers=wrong)
        assert rejected.status_code == 401
    settings = Settings(database_url=database_url, mode=Mode.PRODUCTION, auth_api_keys=True)
    async with serving(settings) as client:
        rejected = await client.http.post("/graphql", json={"query": QUERY}, headers=headers)
        assert rejected.status_code == 401
        assert rejected.json()["errors"][0]["message"] == "A bearer token is required."


ORIGIN = "https://app.example"
TRACING = "sentry-trace,baggage,traceparent,apollographql-client-name,apollo-require-preflight"


@sqlite
async def test_preflight_allows_tracing_and_custom_headers(database_url: str) -> None:
    settings = Settings(database_url=database_url, cors_origins=[ORIGIN])
    async with serving(settings) as client:
        headers = {
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": f"content-type,authorization,{TRACING},x-own",
        }
        granted = await client.http.options("/graphql", headers=headers)
        assert granted.status_code == 200
        allowed = granted.headers["access-control-allow-headers"].replace(" ", "").split(",")
        assert {*TRACING.split(","), "content-type", "authorization", "x-own"} <= set(allowed)
        assert "access-control-allow-credentials" not in granted.headers
        other = await client.http.options("/graphql", headers=headers | {"origin": "https://x.y"})
        assert other.status_code == 400
        rejected = await client.http.post(
            "/graphql", json={"query": QUERY}, headers={"origin": "https://x.y"}
        )
        assert rejected.status_code == 403
        assert rejected.json()["errors"] == [
            {
                "message": "A page of https://x.y was rejected. Start Roster with "
                f"ROSTER_CORS_ORIGINS={ORIGIN},https://x.y to allow it. If a proxy such as Vite's "
                "passes its requests on, `changeOrigin: false` works without it.",
                "extensions": {"code": "CROSS_ORIGIN"},
            }
        ]


@sqlite
@pytest.mark.parametrize("name", ["live", "ready"])
async def test_health_accepts_head_requests(client: Client, name: str) -> None:
    response = await client.http.head(f"/health/{name}")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == JSON


LISTS = {
    "users": "{ users(%s) { totalCount nodes { id } pageInfo { hasNextPage endCursor } } }",
    "userEvents": "{ userEvents(%s) { nodes { id } pageInfo { hasNextPage endCursor } } }",
}
EMPTY = {"nodes": [], "pageInfo": {"hasNextPage": True, "endCursor": None}}


@pytest.mark.parametrize("name", LISTS)
async def test_page_of_zero_rows_has_counts_and_page_info(client: Client, name: str) -> None:
    await client.create("ada")
    counts = {"totalCount": 1} if name == "users" else {}
    assert await client.ask(LISTS[name] % "first: 0") == EMPTY | counts
    backwards = EMPTY | counts | {"pageInfo": EMPTY["pageInfo"] | {"hasNextPage": False}}  # type: ignore[operator]
    assert await client.ask(LISTS[name] % "last: 0") == backwards


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("window", ['first: 5, after: ""', 'last: 5, before: ""'])
async def test_empty_cursor_starts_at_the_beginning(client: Client, name: str, window: str) -> None:
    await client.create("ada")
    whole = (await client.ask(LISTS[name] % "first: 5"))["nodes"]
    assert (await client.ask(LISTS[name] % window))["nodes"] == whole != []
