"""Batches: an array of requests in one POST, disabled by default."""

import json
from typing import Any

import httpx
import pytest

from graph.settings import Settings
from tests.support.client import CREATE, Client, count, serving

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
TYPENAME = {"query": "{ __typename }"}
ANSWER = {"data": {"__typename": "Query"}}
TOTAL = {"query": "{ users { totalCount } }"}
FEED = {"query": "subscription { userEvents { id } }"}


def create_request(username: str) -> dict[str, Any]:
    given = {"username": username, "email": f"{username}@example.com"}
    return {"query": CREATE, "variables": {"input": given}}


def total_count_result(number: int) -> dict[str, Any]:
    return {"data": {"users": {"totalCount": number}}}


def request_error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


async def post(client: Client, batch: object, **headers: str) -> httpx.Response:
    return await client.http.post("/graphql", json=batch, headers=headers)


def codes(answers: list[Any]) -> list[str | None]:
    return [e["errors"][0]["extensions"]["code"] if "errors" in e else None for e in answers]


@sqlite
async def test_batch_is_rejected_by_default(client: Client) -> None:
    for batch in ([], [create_request("ada")], [TYPENAME, TYPENAME], [[TYPENAME]]):
        answer = await post(client, batch)
        assert answer.status_code == 400
        message = "A request must be a JSON object. Batches are not enabled."
        assert answer.json() == request_error("BAD_REQUEST", message)
    assert await count(client.database) == (0, 0)


async def test_batch_executes_its_requests_in_order(database_url: str) -> None:
    async with serving(Settings(database_url=database_url, max_batch_size=10)) as client:
        batch = [
            TOTAL,
            create_request("ada"),
            TOTAL,
            create_request("bob"),
            create_request("ADA"),
            TOTAL,
            {"query": "query A { __typename } query B { users { totalCount } }"}
            | {"operationName": "B"},
        ]
        for accept in ("*/*", "application/json", "application/graphql-response+json"):
            answer = await post(client, batch, accept=accept)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            first, ada, second, bob, twin, third, named = answer.json()
            if accept == "*/*":
                assert (first, second, third, named) == (
                    total_count_result(0),
                    total_count_result(1),
                    total_count_result(2),
                    total_count_result(2),
                )
                assert ada["data"]["createUser"]["user"]["username"] == "ada"
                assert bob["data"]["createUser"]["user"]["username"] == "bob"
            else:
                assert [first, second, third, named] == [total_count_result(2)] * 4
            assert twin["data"]["createUser"]["user"] is None
            assert [e["code"] for e in twin["data"]["createUser"]["errors"]] == ["TAKEN"] * 2
        assert await count(client.database) == (2, 2)
        # A single request still gets a single result.
        assert (await post(client, TOTAL)).json() == total_count_result(2)


@sqlite
async def test_invalid_request_in_a_batch_has_its_error_in_its_place(database_url: str) -> None:
    settings = Settings(database_url=database_url, max_batch_size=12, max_aliases=1)
    wrong = [
        (1, "BAD_REQUEST"),
        (None, "BAD_REQUEST"),
        ([TYPENAME], "BAD_REQUEST"),
        ({}, "BAD_REQUEST"),
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "{ a: __typename b: __typename }"}, "TOO_MANY_ALIASES"),
        ({"query": CREATE, "variables": {"input": 1}}, "GRAPHQL_VALIDATION_FAILED"),
        ({"documentId": "nobody's"}, "UNKNOWN_DOCUMENT"),
        (FEED, "SUBSCRIPTION_NOT_STREAMED"),
    ]
    async with serving(settings) as client:
        answer = await post(client, [TYPENAME, *[each for each, _ in wrong], create_request("ada")])
        first, *others, last = answer.json()
        assert (answer.status_code, first) == (200, ANSWER)
        assert codes(others) == [code for _, code in wrong]
        assert all(set(each) == {"errors"} for each in others)
        assert last["data"]["createUser"]["errors"] == []
        assert await count(client.database) == (1, 1)


@sqlite
async def test_batch_that_is_too_long_empty_or_streamed_is_rejected(database_url: str) -> None:
    async with serving(Settings(database_url=database_url, max_batch_size=2)) as client:
        long = await post(client, [create_request("ada"), TYPENAME, TYPENAME])
        assert long.status_code == 413
        assert long.json() == request_error(
            "BATCH_TOO_LONG", "A batch can have at most 2 requests."
        )
        empty = await post(client, [])
        assert empty.status_code == 400
        assert empty.json() == request_error(
            "BAD_REQUEST", "A batch must have at least one request."
        )
        streamed = await post(client, [create_request("ada")], accept="text/event-stream")
        assert streamed.status_code == 400
        message = "A batch is answered as application/json, not as a stream."
        assert streamed.json() == request_error("BAD_REQUEST", message)
        got = await client.http.get("/graphql", params={"query": json.dumps([TYPENAME])})
        assert codes([got.json()]) == ["GRAPHQL_PARSE_FAILED"]
        assert await count(client.database) == (0, 0)


@sqlite
async def test_each_request_of_a_batch_counts_for_the_rate_limit(database_url: str) -> None:
    settings = Settings(database_url=database_url, max_batch_size=5, rate_limit="6/hour")
    async with serving(settings) as client:
        answer = await post(client, [create_request("ada"), TYPENAME, 1, TYPENAME])
        assert codes(answer.json()) == [None, None, "BAD_REQUEST", None]
        assert answer.headers["ratelimit"].startswith('"caller";r=2;')
        assert "retry-after" not in answer.headers
        answer = await post(
            client, [TYPENAME, create_request("bob"), create_request("eve"), TYPENAME]
        )
        assert answer.status_code == 200
        assert codes(answer.json()) == [None, None, "RATE_LIMITED", "RATE_LIMITED"]
        assert int(answer.headers["retry-after"]) > 0
        answer = await post(client, [TYPENAME])
        assert (answer.status_code, codes([answer.json()])) == (429, ["RATE_LIMITED"])
        assert await count(client.database) == (2, 2)
