"""A standby is promoted while the former primary stays up, and takes writes."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from db.engine import Database
from db.timelines import FormerPrimaryError
from graph.settings import Settings
from tests.conftest import opened, run_in
from tests.support.client import serving
from tests.support.postgres import Server
from tests.system.test_switchover import Writing, has_caught_up, pair


@pytest.fixture(scope="module")
def promoted() -> Iterator[tuple[Server, Server]]:
    """A former primary and its successor, which are both up."""
    with pair() as (one, two):
        # Only what was flushed is waited for.
        asyncio.run(run_in(one.url, "SET synchronous_commit = local", "CREATE ROLE reader LOGIN"))
        asyncio.run(has_caught_up(one, two))
        two.promote()
        yield one, two


def hosts(*servers: Server, user: str = "postgres") -> str:
    return f"postgresql://{user}@/postgres?host={','.join(str(server.home) for server in servers)}"


async def folder_of(database: Database) -> str:
    """Returns the folder of the server that a new connection leads to."""
    connection = await database._connect()  # noqa: SLF001 - makes the connections outside the pool
    await connection.close()
    return str(connection.host[0])


async def look_around(database: Database) -> None:
    """Does what each server process does every few seconds, until it notices the promotion."""
    async with asyncio.timeout(60):
        while database.promotions == 0:
            await database._primary_watch.look()  # noqa: SLF001 - it is a background task


@pytest.mark.parametrize("user", ["postgres", "reader"])
async def test_former_primary_is_passed_over_once_its_successor_was_seen(
    promoted: tuple[Server, Server], user: str
) -> None:
    one, two = promoted
    async with opened(hosts(one, two, user=user)) as database:
        assert await folder_of(database) == str(one.home)
        assert database.promotions == 0
        await look_around(database)
        assert database.promotions == 1
        assert await folder_of(database) == str(two.home)


async def test_former_primary_alone_is_refused(promoted: tuple[Server, Server]) -> None:
    one, two = promoted
    async with opened(hosts(one)) as before, opened(hosts(two)) as after:
        after._connector._timelines = before._timelines  # noqa: SLF001 - as of one process
        await folder_of(after)
        with pytest.raises(FormerPrimaryError):
            await folder_of(before)


async def test_statement_on_a_former_primary_is_ended(promoted: tuple[Server, Server]) -> None:
    """Its answer would be void."""
    one, two = promoted
    async with opened(hosts(one, two)) as database, database.engine.connect() as connection:
        lent = await connection.get_raw_connection()
        assert lent.driver_connection
        waiting = asyncio.ensure_future(lent.driver_connection.fetch("SELECT pg_sleep(3600)"))
        await look_around(database)
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await waiting


def test_writes_move_to_a_standby_that_is_promoted_beside_the_primary() -> None:
    with pair() as (one, two):
        asyncio.run(move(one, two))


async def move(one: Server, two: Server) -> None:
    async with serving(Settings(database_url=hosts(one, two), pool_size=5)) as client:
        writing = Writing(client)
        assert await writing.write()
        async with opened(two.url) as successor, asyncio.timeout(60):
            while await stored(successor) == 0:
                pass
            await asyncio.to_thread(two.promote)
            while await stored(successor) == 1:
                await writing.write()
            before = await stored(successor)
            for _ in range(20):
                assert await writing.write()
            assert await stored(successor) == before + 20


async def stored(database: Database) -> int:
    async with database.engine.connect() as connection:
        found = await connection.exec_driver_sql("SELECT count(*) FROM users")
        return int(found.scalar_one())
