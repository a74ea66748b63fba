"""ariadne-codegen: a typed client is generated from the schema, and used."""

import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Workspace
from tests.support.process import http_client, serving_process

_LOCK = Path(__file__).parent / "python" / "requirements.lock"
_PACKAGES = Path(__file__).parents[2] / ".ariadne-codegen"
_INSTALLED = _PACKAGES / ".installed"


@pytest.fixture(scope="session")
def packages() -> Path:
    """The generator, in a folder of its own: it needs an older graphql-core than Roster."""
    with _LOCK.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)  # one test process installs it, and the others wait
        if not _INSTALLED.exists() or _INSTALLED.stat().st_mtime < _LOCK.stat().st_mtime:
            flags = ("--quiet", "--upgrade", "--require-hashes", "--no-deps", "--target", _PACKAGES)
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install")
            subprocess.run([*pip, *flags, "--requirement", _LOCK], check=True)  # noqa: S603
            _INSTALLED.touch()
    return _PACKAGES


@pytest.fixture
async def generated(workspace: Workspace, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The generated package, imported."""
    monkeypatch.setenv("PYTHONPATH", str(packages))
    await workspace.run("python", "-m", "ariadne_codegen", "--config", "python/ariadne.toml")
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.syspath_prepend(workspace.folder)
    yield import_module("roster_client")
    for name in [name for name in sys.modules if name.startswith("roster_client")]:
        del sys.modules[name]


@asynccontextmanager
async def connected(generated: Any, folder: Path) -> AsyncIterator[Any]:
    """The generated client of a server with an empty directory."""
    async with serving_process(folder) as (_, url):
        address = f"{url}/graphql"
        ws_url = address.replace("http", "ws")
        http = http_client()  # the client closes it
        async with generated.Client(url=address, ws_url=ws_url, http_client=http) as client:
            yield client


async def test_ariadne_client_reads_and_writes_typed_users(generated: Any, tmp_path: Path) -> None:
    async with connected(generated, tmp_path) as client:
        created = await client.create_user(
            generated.CreateUserInput(
                username="ada", email="ada@example.com", displayName="Ada King"
            )
        )
        assert created.create_user.errors == []
        [user] = (await client.users(first=1)).users.nodes
        assert (user.id, user.username) == (created.create_user.user.id, "ada")
        assert user.status is generated.UserStatus.ACTIVE
        assert user.created_at.tzinfo == UTC
        assert isinstance(user.database_id, int)


async def test_ariadne_client_leaves_out_unset_fields_and_sends_null(
    generated: Any, tmp_path: Path
) -> None:
    async with connected(generated, tmp_path) as client:
        values = generated.CreateUserInput(
            username="ada", email="ada@example.com", displayName="Ada King"
        )
        user = (await client.create_user(values)).create_user.user
        change = generated.UpdateUserInput
        kept = (await client.update_user(change(id=user.id, email="b@example.com"))).update_user
        assert (kept.user.display_name, kept.user.version) == ("Ada King", 2)
        cleared = (await client.update_user(change(id=user.id, displayName=None))).update_user
        assert (cleared.user.display_name, cleared.user.version) == (None, 3)


async def test_ariadne_client_distinguishes_errors_by_type(generated: Any, tmp_path: Path) -> None:
    async with connected(generated, tmp_path) as client:
        values = generated.CreateUserInput(username="ada", email="ada@example.com")
        user = (await client.create_user(values)).create_user.user
        change = generated.UpdateUserInput(id=user.id, displayName="Ada", expectedVersion=7)
        [conflict] = (await client.update_user(change)).update_user.errors
        assert conflict.typename__ == "VersionConflictError"
        assert conflict.code is generated.UserErrorCode.VERSION_CONFLICT
        assert conflict.path == ["input", "expectedVersion"]
        assert conflict.current.display_name is None


async def test_ariadne_client_follows_events(generated: Any, tmp_path: Path) -> None:
    async with connected(generated, tmp_path) as client:
        for username in ("ada", "mia"):
            email = f"{username}@example.com"
            await client.create_user(generated.CreateUserInput(username=username, email=email))
        [oldest] = (await client.oldest_event()).user_events.nodes
        followed = client.events(after=oldest.cursor)
        event = (await anext(followed)).user_events
        assert (event.type_, event.user.username) == (generated.UserEventType.CREATED, "mia")
        await followed.aclose()
