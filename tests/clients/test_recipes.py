"""The programs that docs/clients.md shows, as a frontend team would copy them."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.clients.conftest import Workspace
from tests.support.admin_page import FOLDER, preview
from tests.support.chromium import browsing
from tests.support.node import install_packages, run_program
from tests.support.process import free_port, http_client, serving_process

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "clients.md").read_text()
_CREATE = """mutation ($operations: [UserOperation!]!) {
  bulkUsers(input: {operations: $operations}) { succeeded } }"""
_MAIN = """import { StrictMode } from "react"
import { createRoot } from "react-dom/client"
import { Users } from "./Users"
createRoot(document.getElementById("root")!).render(<StrictMode><Users /></StrictMode>)
"""
_INDEX = """<!doctype html><link rel="icon" href="data:,"><div id="root"></div>
<script type="module" src="/src/main.tsx"></script>"""


def _block(language: str, beginning: str) -> str:
    """Return the fenced block with this language and this beginning."""
    found = re.findall(rf"^```{language}\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)
    [block] = [text for text in found if text.startswith(beginning)]
    return str(block)


async def test_apollo_configuration_compiles_as_typescript(workspace: Workspace) -> None:
    folder = workspace.folder
    (folder / "cache.ts").write_text(
        'import { InMemoryCache } from "@apollo/client"\n'
        'import { relayStylePagination } from "@apollo/client/utilities"\n'
        + _block("ts", "import types")
        + _block("js", "// Apollo Client")
        + "export { cache }\n"
    )
    options = json.loads((folder / "tada" / "tsconfig.json").read_text())["compilerOptions"]
    del options["plugins"]
    options["resolveJsonModule"] = True
    config = folder / "cache.json"
    config.write_text(json.dumps({"compilerOptions": options, "files": ["cache.ts"]}))
    await workspace.run("tsc", "--project", str(config))


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Page]:
    """The page of a Vite app with the React recipe, in front of 120 users."""
    async with serving_process(tmp_path) as (_, url), http_client(url) as api:
        names = [f"user-{number:03}" for number in range(120)]
        operations = [{"create": {"username": n, "email": f"{n}@example.com"}} for n in names]
        created = await api.post(
            "/graphql", json={"query": _CREATE, "variables": {"operations": operations}}
        )
        assert "errors" not in created.json()
        await _build(tmp_path, url)
        async with (
            preview(tmp_path / "dist", free_port(), url, tmp_path) as address,
            browsing() as browser,
        ):
            page = await browser.new_page()
            problems: list[str] = []
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            await page.goto(address)
            yield page
            assert [text for text in problems if "React DevTools" not in text] == []


async def _build(folder: Path, url: str) -> None:
    """Compiles the recipe and builds it for development, in which effects run twice."""
    (folder / "node_modules").symlink_to(install_packages(FOLDER))
    (folder / "src").mkdir()
    (folder / "src" / "Users.tsx").write_text(_block("tsx", "import"))
    (folder / "src" / "main.tsx").write_text(_MAIN)
    (folder / "index.html").write_text(_INDEX)
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(FOLDER / "tsconfig.json", folder)
    config = _block("js", "// vite.config.js")
    assert "http://127.0.0.1:8000" in config
    (folder / "vite.config.js").write_text(config.replace("http://127.0.0.1:8000", url))
    await run_program("tsc", cwd=folder)
    await run_program("env", "NODE_ENV=development", "vite", "build", cwd=folder)


@pytest.mark.chromium
async def test_react_list_loads_each_page_once_in_strict_mode(app: Page) -> None:
    rows, more = app.locator("li"), app.get_by_role("button", name="Load more")
    await expect(rows).to_have_count(50)
    await more.click()
    await expect(rows).to_have_count(100)
    await more.click()
    await expect(rows).to_have_count(120)
    await expect(more).to_have_count(0)
    wanted = [f"user-{number:03}" for number in reversed(range(120))]
    assert await rows.all_inner_texts() == wanted


@pytest.mark.chromium
async def test_react_list_continues_after_a_failed_page(app: Page) -> None:
    rows, more = app.locator("li"), app.get_by_role("button", name="Load more")
    await expect(rows).to_have_count(50)
    await app.route(
        "**/graphql",
        lambda route: route.fulfill(json={"errors": [{"message": "Too many requests."}]}),
    )
    await more.click()
    await expect(app.get_by_role("alert")).to_contain_text("Too many requests.")
    await app.unroute("**/graphql")
    await app.get_by_role("button", name="Try again").click()
    await expect(rows).to_have_count(100)
    await expect(app.get_by_role("alert")).to_have_count(0)
