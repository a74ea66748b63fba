"""Both databases for every test that touches one: a SQLite file, and a real PostgreSQL server."""

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import hypothesis
import pytest
import structlog
from sqlalchemy import event, make_url, text

from db import migrations
from db.engine import Database
from graph.settings import Settings
from tests.support import forks
from tests.support.administrator import Administrator
from tests.support.callers import DirectoryClient, directory_client
from tests.support.chromium import CHROMIUM, MISSING
from tests.support.client import Client, serving
from tests.support.postgres import server
from tests.support.shared_types import shared_types

# No timing decides a test: neither a slow example nor slow generation is a failure.
hypothesis.settings.register_profile(
    "roster", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "fast", hypothesis.settings.get_profile("roster"), max_examples=20
)
hypothesis.settings.load_profile("roster")

_POSTGRES = "ROSTER_TEST_POSTGRES_URL"
_MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own is made in it
_MIN_FREE_BYTES = 4 * 2**30  # bytes
_TESTS = Path(__file__).parent
# The markers of all tests in a folder.
_MARKED = {"system": "system", "clients": "clients", "federation": "clients", "stage": "stage"}
# Coverage doubles the CPU time of a test. Most code is measured on SQLite only: that which depends
# on the database is tested in these folders.
_COVERED_ON_BOTH = {"db", "feed"}
_administrator = Administrator()
_running = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL once, before the worker processes, unless a server is named."""
    config.stash[_running] = running = ExitStack()
    running.enter_context(shared_types())
    for name in [name for name in os.environ if name.startswith("ROSTER_") and name != _POSTGRES]:
        del os.environ[name]  # tests ignore the settings of the environment
    os.environ.pop("DATABASE_URL", None)
    # structlog's default prints the variables of each frame, which takes seconds.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
    forks.are_allowed = config.option.markexpr != "stage"
    if _POSTGRES not in os.environ and "not postgresql" not in config.option.markexpr:
        folder = _MEMORY if _has_space(_MEMORY) else tempfile.gettempdir()
        os.environ[_POSTGRES] = running.enter_context(server(folder))
        running.callback(os.environ.pop, _POSTGRES)


def _has_space(folder: str) -> bool:
    """Returns whether a folder has space for a database and its log per running test."""
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _MIN_FREE_BYTES


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        if marker := _MARKED.get(folder):
            item.add_marker(marker)
        if "postgresql" in item.nodeid:
            item.add_marker(pytest.mark.postgresql)
            if folder not in _COVERED_ON_BOTH:
                item.add_marker(pytest.mark.no_cover)
    # The longest tests start first, so that the other workers do not wait for them at the end.
    items.sort(key=lambda item: item.path.name != "test_make_targets.py")
    without = [item for item in items if CHROMIUM is None and item.get_closest_marker("chromium")]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


def pytest_xdist_auto_num_workers() -> int:
    """Return three workers for two cores: tests of servers often wait."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CHROMIUM is None:
        terminalreporter.write_line(MISSING, yellow=True)


def pytest_collection_finish() -> None:
    """Excludes permanent objects from garbage collection: some tests collect often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # as in a server process: graph/app.py


def pytest_unconfigure(config: pytest.Config) -> None:
    _administrator.close()
    if running := config.stash.get(_running, None):
        running.close()


def postgres(database: str) -> str:
    """Returns the URL of a database on the test server."""
    url = make_url(os.environ[_POSTGRES]).set(database=database)
    return url.render_as_string(hide_password=False)


def administer(*statements: str) -> None:
    """Runs statements on the test server."""
    _administrator.run(os.environ[_POSTGRES], *statements)


async def run_in(url: str, *statements: str) -> None:
    """Runs statements in a PostgreSQL database without Roster's code."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def temporary_role(options: str = "") -> Iterator[str]:
    """Creates a role that owns nothing; yields its name."""
    name = f"role_{uuid4().hex}"
    administer(f"CREATE ROLE {name} LOGIN {options}")
    yield name
    administer(f"DROP ROLE {name}")


def migrated(url: str) -> None:
    async def run() -> None:
        async with opened(url) as database:
            await migrations.upgrade(database)

    asyncio.run(run())


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """Migrate once; every test gets a copy."""
    name = f"template_{uuid4().hex}"
    administer(f"CREATE DATABASE {name}")
    migrated(postgres(name))
    yield name
    administer(f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "roster.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(dialect: str, tmp_path: Path) -> Iterator[str]:
    """A database with nothing in it, not even tables."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    name = f"empty_{uuid4().hex}"
    administer(f"CREATE DATABASE {name}")
    yield postgres(name)
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _new_database(dialect: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    if dialect == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / f"{name}.db")
        yield f"sqlite:///{folder}/{name}.db"
        return
    template = request.getfixturevalue("postgres_template")
    administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield postgres(name)
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database for one test, without users."""
    with _new_database(dialect, request, tmp_path) as url:
        yield url


@pytest.fixture(params=["file-ledger", "postgresql-ledger"])
def erasure_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A value of ROSTER_ERASURE_LEDGER: a new file, or an empty PostgreSQL database."""
    if request.param == "file-ledger":
        yield str(tmp_path / "erasures.ledger")
        return
    name = f"ledger_{uuid4().hex}"
    administer(f"CREATE DATABASE {name}")
    yield postgres(name)
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def opened(url: str, **pool: Any) -> AsyncIterator[Database]:
    database = Database(url, **pool)
    try:
        yield database
    finally:
        await database.close()  # else aiosqlite's threads outlive the test, and the whole run


async def select_one(database: Database) -> None:
    """Executes a statement on a pooled connection."""
    async with database.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with serving(Settings(database_url=database_url)) as client:
        yield client


@pytest.fixture
def twin_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with _new_database(dialect, request, tmp_path) as url:
        yield url


@pytest.fixture
async def twin(twin_url: str) -> AsyncIterator[Client]:
    """A second directory like `client`, to compare results."""
    async with serving(Settings(database_url=twin_url)) as client:
        yield client


@pytest.fixture
async def directory(client: Client) -> AsyncIterator[DirectoryClient]:
    """A directory with Mia, Ada and a deleted user, for operations of any caller."""
    for name in ("mia", "ada", "gone"):
        user = await client.create(name)
    await client.mutate("deleteUser", user["id"])
    async with directory_client(client.database) as asks:
        yield asks


@pytest.fixture
def statements(client: Client) -> list[str]:
    """Records every later statement of the served application, in order."""
    recorded: list[str] = []

    @event.listens_for(client.database.engine.sync_engine, "before_cursor_execute")
    def record(_c: object, _cursor: object, statement: str, *_: object) -> None:
        recorded.append(statement)

    return recorded
