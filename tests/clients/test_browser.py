"""Clients in Chromium, in a page of another origin than the server's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.clients.conftest import Workspace
from tests.support.chromium import browsing
from tests.support.process import http_client, serving_process
from tests.support.signing import token
from users.policy import Scope

pytestmark = pytest.mark.chromium
TOKEN = token(sub="1", scope=" ".join(Scope))
FAILED = {"error": "[Network] Failed to fetch"}


@asynccontextmanager
async def opened(folder: Path, origin: str, **settings: str) -> AsyncIterator[tuple[Page, str]]:
    """Yields the page of this origin, and the base URL of a server on another one."""
    async with serving_process(folder, **settings) as (_, url), browsing() as browser:
        page = await browser.new_page()
        await page.goto(f"{origin}/browser/")
        yield page, url


@pytest.mark.parametrize("get", [False, True], ids=["post", "get"])
async def test_urql_query_of_an_allowed_origin_is_answered(
    workspace: Workspace, origin: str, production: dict[str, str], *, get: bool
) -> None:
    settings = production | {"ROSTER_CORS_ORIGINS": origin}
    async with opened(workspace.folder, origin, **settings) as (page, url):
        answer = await page.evaluate("(given) => query(...given)", [url, TOKEN, get])
    assert answer == {"data": {"users": {"totalCount": 0}}}


@pytest.mark.parametrize("client", ["graphql-sse", "graphql-ws"])
async def test_subscription_of_an_allowed_origin_receives_events(
    workspace: Workspace, origin: str, production: dict[str, str], client: str
) -> None:
    settings = production | {"ROSTER_CORS_ORIGINS": origin}
    async with opened(workspace.folder, origin, **settings) as (page, url):
        received = await page.evaluate("(given) => follow(...given)", [client, url, TOKEN])
    assert received == ["mia", "eve"]


async def test_clients_of_an_origin_that_is_not_allowed_are_refused(
    workspace: Workspace, origin: str, production: dict[str, str]
) -> None:
    async with opened(workspace.folder, origin, **production) as (page, url):
        for get in (False, True):
            answer = await page.evaluate("(given) => query(...given)", [url, TOKEN, get])
            assert answer == FAILED
        assert await page.evaluate("(given) => create(...given)", [url, TOKEN, "ada"]) == FAILED
        for client in ("graphql-sse", "graphql-ws"):
            assert await page.evaluate("(given) => isRefused(...given)", [client, url, TOKEN])
        async with http_client(url) as http:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            body = {"query": "{ users { totalCount } }"}
            counted = await http.post("/graphql", json=body, headers=headers)
    assert counted.json() == {"data": {"users": {"totalCount": 0}}}  # nothing was created
