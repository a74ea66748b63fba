"""Request ids, health checks and GraphiQL."""

import re

import pytest

from tests.support.client import CREATE, Client


async def test_request_id_is_returned_and_stored_in_events(client: Client) -> None:
    body = {"query": CREATE, "variables": {"input": {"username": "ada", "email": "a@b.example"}}}
    for given, kept in (("abc-1.Z_", "abc-1.Z_"), ("a b", None), ("x" * 65, None), ("", None)):
        body["variables"]["input"] = {  # type: ignore[index]
            "username": f"ada{len(given)}",
            "email": f"a{len(given)}@b.example",
        }
        response = await client.http.post("/graphql", json=body, headers={"x-request-id": given})
        found = response.headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", found) if kept is None else found == kept
        user_id = response.json()["data"]["createUser"]["user"]["id"]
        history = await client.ask(
            "query ($id: ID!) { user(id: $id) { history { nodes { requestId } } } }", id=user_id
        )
        assert history == {"history": {"nodes": [{"requestId": found}]}}


async def test_health_checks_report_ok(client: Client) -> None:
    live, ready = [await client.http.get(f"/health/{name}") for name in ("live", "ready")]
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "database": "ok"})


async def test_graphiql_loads_all_its_files_from_this_server(client: Client) -> None:
    home = await client.http.get("/")
    assert (home.status_code, home.headers["location"]) == (307, "/graphql")
    page = await client.http.get("/graphql", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in page.text
    loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(loaded) == 3
    for path in loaded:
        found = await client.http.get(path)
        assert found.status_code == 200, path
        assert found.content
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/nothing"])
async def test_other_paths_get_404(client: Client, path: str) -> None:
    assert (await client.http.get(path)).status_code == 404
