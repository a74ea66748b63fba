"""The example page of docs/examples/admin, built and served by Vite under a strict CSP."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.chromium import browsing
from tests.support.node import install_packages, run_program
from tests.support.process import free_port, http_client, serving_process

pytestmark = pytest.mark.chromium
_FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "admin"
_VITE = _FOLDER / "node_modules" / "vite" / "bin" / "vite.js"
CREATE = """mutation ($operations: [UserOperation!]!) {
  bulkUsers(input: {operations: $operations}) { succeeded } }"""


@dataclass
class Site:
    url: str
    api: httpx.AsyncClient
    browser: Browser
    problems: list[str] = field(default_factory=list)

    async def open(self) -> Page:
        context = await self.browser.new_context(viewport={"width": 1200, "height": 800})
        page = await context.new_page()
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        await page.goto(self.url)
        await expect(page.get_by_role("tab", name="Active", exact=False).first).to_be_visible()
        return page

    async def send(self, query: str, **variables: object) -> None:
        body = {"query": query, "variables": variables}
        answer = (await self.api.post("/graphql", json=body)).json()
        assert "errors" not in answer


@asynccontextmanager
async def served_page(port: int, url: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/env", "node", _VITE, "preview", "--host", "127.0.0.1"),
        *("--port", str(port), "--strictPort"),
        cwd=_FOLDER,
        env=os.environ | {"ROSTER_URL": url, "PATH": _node_path()},
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        async with http_client() as http, asyncio.timeout(60):
            while True:
                try:
                    await http.get(address)
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the wheel's `node` starts another process
        await process.wait()


def _node_path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    install_packages(_FOLDER)
    if not (_FOLDER / "dist").exists():
        await run_program("npm", "run", "build", cwd=_FOLDER)
    async with (
        serving_process(tmp_path) as (_, url),
        served_page(free_port(), url) as address,
        browsing() as browser,
        http_client(url) as api,
    ):
        site = Site(address, api, browser)
        names = [f"user-{number:03}" for number in range(130)]
        await site.send(
            CREATE,
            operations=[
                {"create": {"username": name, "email": f"{name}@example.com"}} for name in names
            ],
        )
        yield site
    assert site.problems == []


async def test_list_is_searched_counted_and_scrolled_without_duplicates(site: Site) -> None:
    page = await site.open()
    rows = page.locator("tbody tr")
    await expect(page.get_by_role("tab").first).to_have_text("Active 130")
    for number in (49, 99, 129):
        await rows.nth(number).scroll_into_view_if_needed()
    await expect(rows).to_have_count(130)
    emails = await rows.locator("td:nth-child(3)").all_inner_texts()
    assert emails == [f"user-{number:03}@example.com" for number in reversed(range(130))]
    await page.get_by_label("Search users").press_sequentially("user-007")
    await expect(rows).to_have_count(1)
    await expect(page.get_by_role("tab").first).to_have_text("Active 1")


async def test_form_shows_errors_at_their_fields(site: Site) -> None:
    page = await site.open()
    await page.get_by_role("button", name="New user").click()
    await page.get_by_label("Username").fill("USER-001")
    await page.get_by_label("E-mail").fill("user-002@example.com")
    await page.get_by_role("button", name="Create").click()
    for label in ("Username", "E-mail"):
        await expect(page.get_by_label(label)).to_have_accessible_description(
            re.compile("^Another user has this ")
        )
    await page.get_by_label("Username").fill("grace")
    await page.get_by_label("E-mail").fill("grace@example.com")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.locator("tbody tr").first).to_contain_text("grace@example.com")


async def test_conflict_names_the_author_and_keeps_the_form(site: Site) -> None:
    first, second = await site.open(), await site.open()
    for page in (first, second):
        await page.get_by_role("button", name="Edit user-129", exact=True).click()
    await second.get_by_label("Display name").fill("Theirs")
    await second.get_by_role("button", name="Save", exact=True).click()
    await expect(second.get_by_role("dialog")).to_have_count(0)
    await first.get_by_label("Display name").fill("Mine")
    await first.get_by_role("button", name="Save", exact=True).click()
    dialog = first.get_by_role("dialog", name="user-129 was changed meanwhile")
    await expect(dialog).to_contain_text("development changed this user on ")
    await expect(dialog).to_contain_text("Theirs")
    if shots := os.environ.get("SCREENSHOTS"):
        await first.screenshot(path=f"{shots}/conflict.png")
    await dialog.get_by_role("button", name="Save mine").click()
    await expect(first.get_by_role("dialog")).to_have_count(0)
    for page in (first, second):
        await expect(page.locator("tbody tr").first).to_contain_text("Mine")


async def test_row_leaves_its_tab_when_another_page_changes_the_user(site: Site) -> None:
    first, second = await site.open(), await site.open()
    mine = second.locator("tr", has_text="user-129@example.com")
    await expect(mine).to_have_count(1)
    await first.get_by_role("button", name="Deactivate user-129", exact=True).click()
    for page in (first, second):
        await expect(page.locator("tr", has_text="user-129@example.com")).to_have_count(0)
        await expect(page.get_by_role("tab").nth(1)).to_have_text("Deactivated 1")
    await second.get_by_role("tab").nth(1).click()
    await expect(mine).to_have_count(1)
    if shots := os.environ.get("SCREENSHOTS"):
        await second.screenshot(path=f"{shots}/deactivated.png")
