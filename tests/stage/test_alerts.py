"""Each alert of docs/prometheus/alerts.yml fires when its fault is induced, and ends with it.

Prometheus scrapes a server once a second. The rules are those in docs, with waits and ranges of
seconds: `make stage STAGE="-k alerts"`.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.stage.alert_faults import FAULTS, Fault, Running, load
from tests.stage.figures import record
from tests.support.dashboards import alert_expressions, dashboard_expressions, shortened_alerts
from tests.support.postgres import Server, programs
from tests.support.process import free_port, run, serving_process, start
from tests.support.prometheus import Prometheus, prometheus

EMPTY = frozenset(  # panels without data while nothing is wrong and nothing is configured
    {
        *("Slowest persisted operations", "Most frequent persisted operations"),
        *("Errors by code", "Rejected requests", "Operations by their first error"),
        *("Storage of shared rate limits", "Failed statements", "Wait for a connection"),
        *("Held back by open transactions", "Lag of replicas", "Used replicas"),
        *("Age of keys", "Failed fetches of keys"),
    }
)


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[Server]:
    with programs() as installed:
        server = Server(installed, "alerts")
        server.init()
        server.start()
        yield server
        server.end()


@asynccontextmanager
async def started(fault: Fault, server: Server) -> AsyncIterator[Running]:
    port = free_port()
    settings = {"ROSTER_DATABASE_URL": server.url, "ROSTER_MANAGEMENT_PORT": str(port)}
    settings |= fault.settings
    if fault.name == "RosterWaitsForDatabase":
        settings["ROSTER_DATABASE_URL"] = f"postgresql://roster@127.0.0.1:{free_port()}/roster"
        process = await start("serve", cwd=None, **settings, ROSTER_PORT=str(free_port()))
        try:
            yield Running("", process, port, server)
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), 60)
        return
    assert (await run("migrate", cwd=None, ROSTER_DATABASE_URL=server.url))[0] == 0
    async with serving_process(None, **settings) as (process, url):
        yield Running(url, process, port, server)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_alert_fires_during_its_fault_and_not_before_or_after(
    fault: Fault, postgres_server: Server, tmp_path: Path
) -> None:
    async with (
        started(fault, postgres_server) as running,
        prometheus(tmp_path, running.port, shortened_alerts()) as watching,
    ):
        if not fault.is_lasting:
            async with load(running.url, 1):
                await observed(watching, 10)
                assert await watching.firing() == set()
        begun = time.monotonic()
        async with fault.inject(running):
            firing = await watching.until(lambda firing: fault.name in firing)
            seconds = time.monotonic() - begun
        assert firing <= {fault.name} | fault.also
        if not fault.is_lasting:
            await watching.until(lambda firing: not firing)
    record(
        "alerts", alert=fault.name, fault=fault.inject.__name__, seconds_with_waits_of_2_s=seconds
    )


async def observed(watching: Prometheus, scrapes: int) -> None:
    async with asyncio.timeout(60):
        while (await watching.value(f"count_over_time(up[{scrapes + 5}s])") or 0) < scrapes:  # noqa: ASYNC110 - Prometheus has no event to wait for
            await asyncio.sleep(0.2)


def test_every_alert_has_a_fault() -> None:
    assert [fault.name for fault in FAULTS] == list(alert_expressions())


async def test_panels_of_the_dashboard_have_data(postgres_server: Server, tmp_path: Path) -> None:
    fault = Fault("none", load)  # type: ignore[arg-type]  # nothing is injected
    async with (
        started(fault, postgres_server) as running,
        prometheus(tmp_path, running.port, shortened_alerts()) as watching,
        load(running.url),
    ):
        await observed(watching, 12)
        empty = set()
        for title, expression in dashboard_expressions():
            query = expression.replace("$__rate_interval", "10s").replace("$instance", ".*")
            if not await watching.query(query):
                empty.add(title)
    assert empty <= EMPTY
