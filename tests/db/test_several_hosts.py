"""Several hosts in the URL, of which one answers nothing."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import make_url

from db.timing import Timing
from tests.conftest import opened
from tests.db.test_postgres import Silence, serving
from tests.db.test_silence import QUICK_WATCHDOG, Way, recovers, ways
from tests.support.feed import wait_until
from tests.support.proxy import proxied

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


def url_of(database_url: str, *ports: int) -> str:
    hosts = [f"127.0.0.1:{port}" for port in ports]
    url = make_url(database_url).set(host=None, port=None, query={"host": hosts})
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("avoided_seconds", "attempts"), [(3600.0, 1), (0.0, 3)], ids=["avoided", "afterwards"]
)
async def test_silent_host_delays_one_connection_while_it_is_avoided(
    database_url: str, avoided_seconds: float, attempts: int
) -> None:
    timing = Timing(connect=0.2, skip_silent_host=0.0, avoid_silent_host=avoided_seconds)
    silence = Silence()
    async with (
        serving(silence) as port,
        proxied(database_url) as (proxy, _),
        opened(url_of(database_url, port, proxy.port), timing=timing) as database,
    ):
        for _ in range(3):
            await (await database._connect()).close()  # noqa: SLF001 - one outside the pool
    assert (silence.accepted, proxy.accepted) == (attempts, 3)


@ways
async def test_watchdog_gives_up_a_silent_host_although_another_answers(
    database_url: str, way: Way
) -> None:
    """The other can be the new primary. Statements that wait for the old one must end."""
    timing = replace(QUICK_WATCHDOG, avoid_silent_host=3600.0)
    async with proxied(database_url) as (one, _), proxied(database_url) as (other, _):
        url = url_of(database_url, one.port, other.port)
        async with opened(url, timing=timing, pool_pre_ping=False) as database:
            await way(database)
            assert (one.accepted, other.accepted) == (1, 0)
            one.silence()
            database.watch()
            async with asyncio.timeout(60):
                await asyncio.gather(way(database), return_exceptions=True)  # a read is retried
            await recovers(lambda: way(database))
            assert other.accepted > 0


async def test_refused_connection_is_an_answer_of_its_host(database_url: str) -> None:
    """The server may have too many connections. It still executes the statements of the others."""
    refusing = 1  # nothing listens there
    async with opened(url_of(database_url, refusing)) as database:
        _, options = database.engine.dialect.create_connect_args(database.url)
        await database._connector.knock({("127.0.0.1", refusing)}, **options)  # noqa: SLF001 - called by the watchdog


async def test_visit_of_a_host_ends_although_another_host_is_silent(database_url: str) -> None:
    """Otherwise its connection would be lost if the visitor is cancelled while it waits."""
    async with (
        serving(Silence()) as port,
        proxied(database_url) as (proxy, _),
        opened(url_of(database_url, port, proxy.port), timing=Timing(connect=3600.0)) as database,
    ):
        _, options = database.engine.dialect.create_connect_args(database.url)
        looking = asyncio.create_task(database._connector.look_around(set(), **options))  # noqa: SLF001 - called by a background task
        await wait_until(lambda: proxy.accepted == 1 and not proxy.is_carrying)
        assert not looking.done()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
