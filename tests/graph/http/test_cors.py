"""Responses to pages of other origins, and what they cost requests that need none of it."""

from unittest.mock import patch

import httpx
import pytest
from fastapi import Response
from fastapi.testclient import TestClient
from starlette.middleware.cors import CORSMiddleware

from graph.app import create_app
from graph.settings import Settings
from tests.support.client import serving

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
OWN = "http://127.0.0.1:8000"
APP = "https://app.example"
OTHER = "https://other.example"
REQUEST = {"query": "{ __typename }"}
RESULT = {"data": {"__typename": "Query"}}
EXPOSED = "ratelimit, ratelimit-policy, retry-after, roster-position, x-request-id"


def code(response: httpx.Response) -> str:
    [error] = response.json()["errors"]
    return str(error["extensions"]["code"])


def cors_headers(response: httpx.Response) -> list[tuple[str, str]]:
    names = ("access-control-", "vary")
    return sorted(item for item in response.headers.multi_items() if item[0].startswith(names))


@sqlite
async def test_request_from_an_allowed_origin_gets_cors_headers(database_url: str) -> None:
    settings = Settings(database_url=database_url, cors_origins=[APP])
    async with serving(settings) as client:
        preflight = {
            "origin": APP,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,authorization",
        }
        granted = await client.http.options("/graphql", headers=preflight)
        assert granted.status_code == 200
        assert granted.headers["access-control-allow-origin"] == APP
        assert granted.headers["vary"].startswith("Origin")
        assert "access-control-allow-credentials" not in granted.headers
        other = await client.http.options("/graphql", headers=preflight | {"origin": OWN + "1"})
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers
        headers = {"origin": APP, "sec-fetch-site": "cross-site"}
        for answer in (
            await client.http.post("/graphql", json=REQUEST, headers=headers),
            await client.http.get("/graphql", params=REQUEST, headers=headers),
        ):
            assert answer.json() == {"data": {"__typename": "Query"}}
            assert answer.headers["access-control-allow-origin"] == APP
            assert answer.headers["vary"] == "Origin"
            assert "retry-after" in answer.headers["access-control-expose-headers"]
        wrong = await client.http.post("/graphql", content="x", headers=headers)
        assert (wrong.status_code, code(wrong)) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert (
            wrong.headers["access-control-allow-origin"] == APP
        )  # so that the page can read the error


ALLOWED = [
    ("access-control-allow-origin", APP),
    ("access-control-expose-headers", EXPOSED),
    ("vary", "Origin"),
]
VARIES = [("vary", "Origin")]


@sqlite
@pytest.mark.parametrize(
    ("allowed", "origin", "status", "expected"),
    [
        ([OTHER, APP], APP, 200, ALLOWED),
        ([APP], OWN, 200, VARIES),
        ([APP], OTHER, 403, VARIES),
        ([APP], "", 403, VARIES),
        ([APP], None, 200, VARIES),
        ([], OWN, 200, []),
        ([], OTHER, 403, []),
        ([], None, 200, []),
    ],
)
async def test_response_has_the_cors_headers_of_its_origin(
    database_url: str,
    allowed: list[str],
    origin: str | None,
    status: int,
    expected: list[tuple[str, str]],
) -> None:
    headers = {} if origin is None else {"origin": origin}
    async with serving(Settings(database_url=database_url, cors_origins=allowed)) as client:
        for answer in (
            await client.http.post("/graphql", json=REQUEST, headers=headers),
            await client.http.get("/graphql", params=REQUEST, headers=headers),
        ):
            assert answer.status_code == status
            assert cors_headers(answer) == expected


@sqlite
def test_headers_of_a_route_are_kept_except_its_own_grants(database_url: str) -> None:
    app = create_app(Settings(database_url=database_url, cors_origins=[APP]))

    @app.get("/own")
    def own() -> Response:
        own = {"Vary": "Accept", "Access-Control-Allow-Origin": "*", "X-Own": "1"}
        return Response("own", headers=own)

    with TestClient(app, base_url=OWN) as client:
        answer = client.get("/own", headers={"origin": APP})
    assert answer.headers["x-own"] == "1"
    assert cors_headers(answer) == sorted([("vary", "Accept"), *ALLOWED])


@sqlite
@pytest.mark.parametrize("allowed", [[], [APP]])
async def test_only_preflights_reach_starlettes_middleware(
    database_url: str, allowed: list[str]
) -> None:
    # It parses the headers of each request and response, which takes a tenth of the CPU time of a
    # lookup by id.
    call = CORSMiddleware.__call__
    counting = patch.object(CORSMiddleware, "__call__", autospec=True, side_effect=call)
    settings = Settings(database_url=database_url, cors_origins=allowed)
    with counting as calls:
        async with serving(settings) as client:
            for headers in ({}, *({"origin": origin} for origin in [OWN, *allowed])):
                answer = await client.http.post("/graphql", json=REQUEST, headers=headers)
                assert answer.json() == RESULT
            assert (await client.http.options("/graphql")).status_code == 405
            assert calls.call_count == 0
            preflight = {"origin": APP, "access-control-request-method": "POST"}
            answer = await client.http.options("/graphql", headers=preflight)
            assert answer.status_code == (200 if allowed else 400)
        assert calls.call_count == 1
