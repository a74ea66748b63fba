"""The page of docs/examples/live-list in Chromium, while others write."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.clients.conftest import Workspace
from tests.support.chromium import browsing
from tests.support.client import CREATE
from tests.support.process import http_client, serving_process

pytestmark = pytest.mark.chromium
_ROWS = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
_TABLE = """{ users(first: 100) { nodes { username displayName status version } } }"""


@dataclass
class Directory:
    http: httpx.AsyncClient

    async def send(self, query: str, **variables: object) -> Any:
        answer = (
            await self.http.post("/graphql", json={"query": query, "variables": variables})
        ).json()
        assert "errors" not in answer
        return answer["data"]

    async def create(self, name: str) -> str:
        values = {"username": name, "email": f"{name}@example.com"}
        created = await self.send(CREATE, input=values)
        return str(created["createUser"]["user"]["id"])

    async def change(self, verb: str, user_id: str, **fields: object) -> None:
        kind = {"updateUser": "UpdateUserInput", "deleteUser": "DeleteUserInput"}
        query = f"""mutation ($input: {kind.get(verb, "UserTransitionInput")}!) {{
          {verb}(input: $input) {{ changed }} }}"""
        assert (await self.send(query, input={"id": user_id} | fields))[verb] == {"changed": True}

    async def rows(self) -> list[list[str]]:
        nodes: Any = (await self.send(_TABLE))["users"]["nodes"]
        return [
            [u["username"], u["displayName"] or "", u["status"].lower(), str(u["version"])]
            for u in nodes
        ]


@asynccontextmanager
async def opened(
    workspace: Workspace, origin: str, folder: Path
) -> AsyncIterator[tuple[Directory, BrowserContext, str]]:
    """Yields a directory, a browser, and the address of the page."""
    (workspace.folder / "live-list" / "node_modules").symlink_to(workspace.folder / "node_modules")
    async with (
        serving_process(folder, ROSTER_CORS_ORIGINS=origin) as (_, url),
        browsing() as browser,
        http_client(url) as http,
    ):
        context = await browser.new_context(viewport={"width": 900, "height": 620})
        yield Directory(http), context, f"{origin}/live-list/?url={url}"


async def rows_of(page: Page) -> list[list[str]]:
    found: list[list[str]] = await page.locator("tbody tr").evaluate_all(_ROWS)
    return found


async def test_page_shows_the_table_while_others_write(
    workspace: Workspace, origin: str, tmp_path: Path
) -> None:
    async with opened(workspace, origin, tmp_path) as (directory, context, address):
        ids = [await directory.create(f"user-{number:02}") for number in range(12)]
        page = await context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(address)
        count = page.locator("#count")
        await expect(count).to_have_text("12 users")
        await directory.change("updateUser", ids[3], displayName="Ada King")
        await directory.change("deactivateUser", ids[5])
        await directory.change("deleteUser", ids[6])
        await directory.change("deleteUser", ids[7])
        await directory.change("restoreUser", ids[7])
        await directory.create("grace")
        await expect(page.locator("tbody tr").first).to_contain_text("grace")
        await expect(count).to_have_text("12 users")
        if shots := os.environ.get("SCREENSHOTS"):
            await page.screenshot(path=f"{shots}/live-list.png")
        assert await rows_of(page) == await directory.rows()
        assert problems == []


async def test_page_continues_after_a_reload_and_in_another_tab(
    workspace: Workspace, origin: str, tmp_path: Path
) -> None:
    async with opened(workspace, origin, tmp_path) as (directory, context, address):
        ids = [await directory.create(name) for name in ("ada", "mia")]
        first, second = await context.new_page(), await context.new_page()
        asked: list[str] = []
        for page in (first, second):
            page.on(
                "websocket",
                lambda socket: socket.on("framesent", lambda text: asked.append(str(text))),
            )
            await page.goto(address)
            await expect(page.locator("#count")).to_have_text("2 users")
        await directory.change("updateUser", ids[0], displayName="Ada")
        for page in (first, second):
            await expect(page.locator("tbody tr").nth(1)).to_contain_text("Ada")
        assert sum("subscription" in text for text in asked) == 1  # one tab follows
        await first.reload()
        await directory.change("deleteUser", ids[1])
        for page in (first, second):
            await expect(page.locator("#count")).to_have_text("1 user")
        await first.close()
        await directory.create("eve")
        await expect(second.locator("#count")).to_have_text("2 users")
        assert await rows_of(second) == await directory.rows()
        assert sum("LiveListPage" in text for text in asked) == 1  # the list was read once
