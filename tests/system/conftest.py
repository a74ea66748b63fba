"""Server processes that the tests of a module share."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import forks
from tests.support.process import serving_process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server_url(
    request: pytest.FixtureRequest,
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[str]:
    """The URL of a server with the module's SETTINGS and FILES, on SQLite."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(sqlite_template, folder / "roster.db")
    for name, text in getattr(request.module, "FILES", {}).items():
        (folder / name).write_text(text)
    async with serving_process(folder, **request.module.SETTINGS) as (_, url):
        yield url


@pytest.fixture
def installed_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts the installed program, which imports all modules, instead of forks."""
    monkeypatch.setattr(forks, "are_allowed", False)
