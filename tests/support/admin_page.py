"""The example page of docs/examples/admin, built and served by Vite under a strict CSP."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.support.chromium import closing_contexts
from tests.support.node import install_packages, run_program
from tests.support.process import http_client, run, serving_process

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "admin"
PEOPLE = 130
_AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
_VITE = FOLDER / "node_modules" / "vite" / "bin" / "vite.js"
_CREATE = """mutation ($operations: [UserOperation!]!) {
  bulkUsers(input: {operations: $operations}) { succeeded errors { message } } }"""
_UPSERT = """mutation ($input: UpsertUserInput!) {
  upsertUser(input: $input) { errors { message } } }"""


async def build(folder: Path) -> None:
    """Builds the page into a folder, which cannot be older than the sources."""
    install_packages(FOLDER)
    await run_program("npm", "run", "build", "--", "--outDir", str(folder), cwd=FOLDER)


@dataclass
class Site:
    """The page, its API with the users user-000 to user-129, and what its consoles have printed."""

    url: str
    api: httpx.AsyncClient
    browser: Browser
    database: Path  # the folder of it
    problems: list[str] = field(default_factory=list)
    writes: list[dict[str, Any]] = field(default_factory=list)  # the inputs of mutations

    async def open(self, token: str = "", **options: Any) -> Page:
        """Opens the page in a context of its own."""
        view = {"viewport": {"width": 1200, "height": 800}} | options
        page = await (await self.browser.new_context(**view)).new_page()
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._record)
        if token:
            await page.add_init_script(f"sessionStorage.token ??= '{token}'")
        await page.goto(self.url)
        await expect(page.get_by_role("heading", name="Users")).to_be_visible()
        return page

    def _record(self, request: Request) -> None:
        if "mutation" in (request.post_data or ""):
            given = variables(request)["input"]
            if not given.get("validateOnly"):
                self.writes.append(given)

    async def send(self, query: str, **variables: object) -> Any:
        body = {"query": query, "variables": variables}
        answer = (await self.api.post("/graphql", json=body)).json()
        assert "errors" not in answer, answer
        return answer["data"]

    async def create(self, *names: str) -> None:
        users = [{"username": name, "email": f"{name}@example.com"} for name in names]
        done = await self.send(_CREATE, operations=[{"create": user} for user in users])
        assert done == {"bulkUsers": {"succeeded": len(names), "errors": []}}

    async def update(self, name: str, **fields: object) -> None:
        """Changes a user as another client does."""
        done = await self.send(_UPSERT, input={"by": {"username": name}} | fields)
        assert done == {"upsertUser": {"errors": []}}

    async def user(self, name: str, fields: str) -> Any:
        query = f"query ($name: String!) {{ userBy(by: {{username: $name}}) {{ {fields} }} }}"
        return (await self.send(query, name=name))["userBy"]

    async def token(self, name: str, *scopes: str) -> str:
        """Returns a token of a user, made by `roster token`."""
        options = [option for scope in scopes for option in ("--scope", scope)]
        status, output = await run("token", "--as", name, *options, cwd=self.database)
        assert status == 0, output
        return output.splitlines()[-1]


def variables(request: Request) -> dict[str, Any]:
    """Returns the variables of a GraphQL request."""
    given: dict[str, Any] = (request.post_data_json or {}).get("variables", {})
    return given


class HeldAnswers:
    """Answers that reach the page late: after `release`. `ready` is set when one has arrived."""

    def __init__(self, page: Page, is_held: Callable[[dict[str, Any]], bool]) -> None:
        self.ready, self._released = asyncio.Event(), asyncio.Event()
        self._page = page
        self._is_held = is_held

    async def begin(self) -> None:
        """Hold the answers to requests whose variables `is_held` selects."""
        await self._page.route("**/graphql", self._hold)

    async def release(self) -> None:
        """Deliver the answers, and wait until the page has rendered them."""
        self._released.set()
        await self._page.unroute_all(behavior="wait")
        await self._page.evaluate("new Promise(requestAnimationFrame)")

    async def _hold(self, route: Route) -> None:
        if self._is_held(variables(route.request)):
            answer = await route.fetch()
            self.ready.set()
            await self._released.wait()
            await route.fulfill(response=answer)
        else:
            await route.continue_()


def row(page: Page, name: str) -> Any:
    """Returns the rows of the list that have the user's address: one or none."""
    return page.locator("#list tbody tr", has_text=f"{name}@example.com")


async def accessibility_problems(page: Page) -> list[str]:
    """Returns the rules of axe-core that the page violates, critical and serious ones."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE.read_text())
    found = await page.evaluate("axe.run()")
    return [
        f"{rule['id']}: {node['html']}"
        for rule in found["violations"]
        if rule["impact"] in {"critical", "serious"}
        for node in rule["nodes"]
    ]


async def screenshot(page: Page, name: str) -> None:
    """Saves a picture for people to look at, if SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=f"{folder}/{name}.png")


@asynccontextmanager
async def preview(built: Path, port: int, api: str, project: Path = FOLDER) -> AsyncIterator[str]:
    """Serves the built page of a project."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/env", "node", _VITE, "preview", "--host", "127.0.0.1"),
        *("--outDir", built, "--port", str(port), "--strictPort"),
        cwd=project,
        env=os.environ | {"ROSTER_URL": api, "PATH": path},
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
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the wheel's `node` starts another process
        await process.wait()


@asynccontextmanager
async def serving_page(
    address: str, port: str, browser: Browser, database: Path
) -> AsyncIterator[Site]:
    """Serve the API of the page at an address."""
    async with (
        serving_process(database, ROSTER_PORT=port) as (_, url),
        http_client(url) as api,
        closing_contexts(browser),
    ):
        site = Site(address, api, browser, database)
        await site.create(*(f"user-{number:03}" for number in range(PEOPLE)))
        yield site
    assert site.problems == []
