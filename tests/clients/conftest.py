"""A folder with a copy of the clients' scripts for each test, and servers for them."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from graph.cli.cache_types import cache_types
from tests.support import admin_page
from tests.support.admin_page import Site
from tests.support.chromium import browser
from tests.support.node import install_packages, run_program
from tests.support.process import free_port, serving_process
from tests.support.schema import CORE
from tests.support.signing import ISS, RSA, pem, token
from users.policy import Scope

__all__ = ["browser"]  # a fixture

_FOLDER = Path(__file__).parent
_SCHEMA = _FOLDER.parents[1] / "schema.graphql"
_LIVE_LIST = _FOLDER.parents[1] / "docs" / "examples" / "live-list"
_CASE = re.compile(r"^export async function (\w+)\(url\)", re.MULTILINE)


def cases(script: str, *, without: Collection[str] = ()) -> list[str]:
    """Return the names of the functions that a script exports, without those of other tests."""
    names = _CASE.findall((_FOLDER / script).read_text())
    assert set(without) <= set(names)
    return [name for name in names if name not in without]


@dataclass(frozen=True)
class Workspace:
    """A project of a frontend team: scripts, node_modules, schema.graphql, possible-types.json."""

    folder: Path

    async def run(self, *command: str, status: int = 0, seconds: float = 120) -> str:
        return await run_program(*command, cwd=self.folder, status=status, seconds=seconds)

    async def run_case(self, script: str, case: str, **settings: str) -> None:
        """Runs a function of a script against a server with an empty directory."""
        async with serving_process(self.folder, **settings) as (_, url):
            await self.run("node", "run.mjs", script, case, url)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return install_packages(_FOLDER)


@pytest.fixture
def workspace(tmp_path: Path, node_modules: Path) -> Workspace:
    ignored = shutil.ignore_patterns(
        "node_modules", "packages", "*.py", "package-lock.json", "__pycache__"
    )
    shutil.copytree(_FOLDER, tmp_path, dirs_exist_ok=True, ignore=ignored)
    shutil.copytree(_LIVE_LIST, tmp_path / _LIVE_LIST.name, ignore=ignored)
    (tmp_path / "node_modules").symlink_to(node_modules)
    shutil.copy(_SCHEMA, tmp_path)
    (tmp_path / "possible-types.json").write_text(json.dumps(cache_types(CORE)))
    return Workspace(tmp_path)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def origin(workspace: Workspace) -> Iterator[str]:
    """The origin of a web server for the page and the packages of the clients."""
    handler = partial(_Handler, directory=str(workspace.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of production mode. Scripts have the tokens of a service and of the user Ada."""
    monkeypatch.setenv("TOKEN", token(sub="1", scope=" ".join(Scope)))
    monkeypatch.setenv("USER_TOKEN", token(sub="ada", scope=Scope.READ))
    return {
        "ROSTER_MODE": "production",
        "ROSTER_AUTH_ISSUER": ISS,
        "ROSTER_AUTH_AUDIENCE": "roster",
        "ROSTER_AUTH_PUBLIC_KEY": pem(RSA),
    }


@pytest.fixture(scope="session")
def built_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example page, built from the present sources."""
    folder = tmp_path_factory.mktemp("admin") / "dist"
    asyncio.run(admin_page.build(folder))
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def previewed(built_page: Path) -> AsyncIterator[tuple[str, str]]:
    """The address of the example page, and the port where it expects the API."""
    port = free_port(to_keep=True)
    api = f"http://127.0.0.1:{port}"
    async with admin_page.preview(built_page, free_port(), api) as address:
        yield address, str(port)


@pytest_asyncio.fixture(loop_scope="session")
async def site(previewed: tuple[str, str], browser: Browser, tmp_path: Path) -> AsyncIterator[Site]:
    async with admin_page.serving_page(*previewed, browser, tmp_path) as site:
        yield site
