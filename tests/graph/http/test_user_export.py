"""`GET /users.ndjson`: the users of the query `users`, for each caller, and rejected requests."""

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from graph.exchange import exporting
from graph.settings import Settings
from tests.graph.api.test_user_filter import PEOPLE, random_filter
from tests.support.client import Client, serving
from tests.support.signing import RSA, TRUSTED, pem, token

FIELDS = (
    "id databaseId externalId username email displayName status statusReason statusChangedAt "
    "version createdAt updatedAt deletedAt eraseAfter erasedAt"
)
EVERY_SCOPE = "users:read users:write users:history users:erase users:link"
LIST = f"""query ($filter: UserFilter, $search: String, $after: String) {{
  users(filter: $filter, search: $search, first: 100, after: $after) {{
    nodes {{ {FIELDS} }} pageInfo {{ hasNextPage endCursor }} }} }}"""
ERASE = """mutation ($id: ID!) {
  eraseUser(input: {id: $id, confirmUsername: "erased", reason: "asked"}) { errors { code } } }"""
EVERY_STATUS = {"status": ["ACTIVE", "DEACTIVATED", "DELETED"]}


def bearer(sub: str, scope: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token(sub=sub, scope=scope)}"}


CALLERS = {
    "reading-service": bearer("sync", "users:read"),
    "service-without-scopes": bearer("sync", ""),
    "user-without-scopes": bearer("HR-1", ""),
    "reading-user": bearer("HR-1", "users:read"),
}


@pytest.fixture
async def production(database_url: str) -> AsyncIterator[Client]:
    settings = Settings(
        mode="production",
        database_url=database_url,
        **TRUSTED,
        auth_public_key=pem(RSA),
    )
    async with serving(settings) as client:
        client.http.headers.update(bearer("admin", EVERY_SCOPE))
        yield client


@pytest.fixture
async def people(production: Client) -> list[dict[str, Any]]:
    for person in PEOPLE:
        user = await production.create(**person)
        if person["username"] == "gone":
            await production.mutate("deleteUser", user["id"])
    erased = await production.create("erased")
    await production.mutate("deleteUser", erased["id"])
    assert await production.ask(ERASE, id=erased["id"]) == {"errors": []}
    fields = f"{FIELDS} isActive"
    listed = await production.ask(
        f"query ($filter: UserFilter) {{ users(filter: $filter) {{ nodes {{ {fields} }} }} }}",
        filter=EVERY_STATUS,
    )
    users: list[dict[str, Any]] = listed["nodes"]
    assert len(users) == len(PEOPLE) + 1
    return users


async def exported(client: Client, **parameters: Any) -> list[dict[str, Any]]:
    given = {n: v if n == "search" else json.dumps(v) for n, v in parameters.items()}
    response = await client.http.get("/users.ndjson", params=given)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def listed(client: Client, **variables: Any) -> list[dict[str, Any]]:
    users: list[dict[str, Any]] = []
    after = None
    while True:
        page = await client.ask(LIST, after=after, **variables)
        users += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return sorted(users, key=lambda user: int(user["databaseId"]))


@pytest.mark.parametrize("caller", CALLERS)
async def test_export_contains_the_users_that_the_caller_can_list(
    production: Client,
    people: list[dict[str, Any]],
    caller: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "PAGE", 3)
    monkeypatch.setattr(exporting, "PORTION", 2)
    production.http.headers.update(CALLERS[caller])
    rng = random.Random(caller)  # noqa: S311 - the same filters on every run
    number = 0
    for _ in range(40):
        wanted: dict[str, Any] = {"filter": random_filter(rng, people)}
        if rng.random() < 0.3:
            wanted["search"] = rng.choice(["ada", "e", "example", "王"])
        found = await exported(production, **wanted)
        assert found == await listed(production, **wanted), wanted
        number += len(found)
    whole = await exported(production, filter=EVERY_STATUS)
    assert whole == await listed(production, filter=EVERY_STATUS)
    expected = {"service-without-scopes": 0, "user-without-scopes": 1}.get(caller, len(people))
    assert len(whole) == expected
    assert bool(number) is bool(expected)


def error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("query", "status", "code", "message"),
    [
        ("filter={", 400, "BAD_REQUEST", "`filter` is not valid JSON."),
        ("filter=%FF", 400, "BAD_REQUEST", "`filter` is not valid JSON."),
        (
            "filter=[1]",
            400,
            "GRAPHQL_VALIDATION_FAILED",
            "Parameter 'filter': expected an object of type 'UserFilter', found a list.",
        ),
        (
            'filter={"name":{}}',
            400,
            "GRAPHQL_VALIDATION_FAILED",
            "Parameter 'filter': the type 'UserFilter' has no field \"name\".",
        ),
        ('filter={"id":["x"]}', 400, "INVALID_ID", "This is not an id of this directory."),
        (
            f"search={'x' * 201}",
            400,
            "INVALID_ARGUMENT",
            "`search` has 201 characters; it can have 200.",
        ),
        (
            "filters={}",
            400,
            "BAD_REQUEST",
            "Unknown parameter. Supported parameters: filter, search.",
        ),
        ("search=a&search=b", 400, "BAD_REQUEST", "The parameter `search` is given twice."),
    ],
)
async def test_invalid_parameter_is_rejected_before_anything_is_sent(
    production: Client, query: str, status: int, code: str, message: str
) -> None:
    response = await production.http.get(f"/users.ndjson?{query}")
    assert (response.status_code, response.json()) == (status, error(code, message))
    assert "ratelimit" in response.headers


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": ""}, 401, "UNAUTHENTICATED"),
        ({"authorization": "Bearer wrong"}, 401, "UNAUTHENTICATED"),
        ({"origin": "https://evil.example"}, 403, "CROSS_ORIGIN"),
        ({"sec-fetch-site": "cross-site"}, 403, "CSRF_PREVENTION"),
        ({"accept": "text/html"}, 406, "NOT_ACCEPTABLE"),
    ],
)
async def test_request_that_is_not_allowed_is_rejected_like_one_to_the_graphql_endpoint(
    production: Client, headers: dict[str, str], status: int, code: str
) -> None:
    response = await production.http.get("/users.ndjson", headers=headers)
    assert response.status_code == status
    assert [e["extensions"] for e in response.json()["errors"]] == [{"code": code}]
    assert ("www-authenticate" in response.headers) is (status == 401)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_head_has_the_headers_of_the_export_and_no_body(production: Client) -> None:
    await production.create("ada")
    response = await production.http.head("/users.ndjson", params={"search": "ada"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["content-disposition"] == 'attachment; filename="users.ndjson"'
    assert "content-length" not in response.headers
    wrong = await production.http.head("/users.ndjson", params={"filter": "{"})
    assert (wrong.status_code, wrong.headers["content-type"]) == (400, "application/json")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_media_type_is_the_accepted_one(production: Client) -> None:
    headers = {"accept": "application/jsonl, application/x-ndjson;q=0.5"}
    response = await production.http.get("/users.ndjson", headers=headers)
    assert response.headers["content-type"] == "application/jsonl"
