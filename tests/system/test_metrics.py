"""The management port: with one and several workers, while the server waits, and while it stops."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.metrics import OPERATIONS, REQUESTS, Scrape, scrape, scraped_until
from tests.support.process import free_port, http_client, run, serving_process, start
from tests.support.prometheus import check_metrics

# The workers' values do not depend on the database.
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
QUERY = {"query": "{ users { totalCount } }"}
PROCESS = (
    *("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes"),
    *("start_time_seconds", "open_fds", "max_fds"),
)
# OpenTelemetry's name of this gauge ends like the count of a histogram.
LINT = (
    'db_client_connection_count non-histogram and non-summary metrics should not have "_count" '
    "suffix"
)


async def post(url: str, body: Any = QUERY) -> int:
    async with http_client(url) as http:  # a connection of its own, which any worker accepts
        return (await http.post("/graphql", json=body)).status_code


def settings(url: str, **others: str) -> dict[str, str]:
    port = str(free_port())
    return {"ROSTER_DATABASE_URL": url, "ROSTER_MANAGEMENT_PORT": port, **others}


@pytest.mark.parametrize("workers", [1, 3])
async def test_requests_of_all_workers_are_counted(database_url: str, workers: int) -> None:
    given = settings(database_url, ROSTER_WORKERS=str(workers))
    port = int(given["ROSTER_MANAGEMENT_PORT"])
    async with serving_process(None, **given) as (_, url):
        for _ in range(30):
            assert await post(url) == 200
        await post(url, {"query": "{"})
        found = await scraped_until(
            port, lambda found: is_idle(found, workers) and found.total(REQUESTS) >= 31
        )
        assert found.total(OPERATIONS) == found.total(REQUESTS) == 31
        assert found.total("roster_rejections_total", code="GRAPHQL_PARSE_FAILED") == 1
        assert found.total("roster_workers") == workers
        named = {"main"} | {f"worker-{n + 1}" for n in range(workers) if workers > 1}
        for name in PROCESS:
            assert found.labels(f"process_{name}", "process") == named, name
        assert "pid" not in {label for sample in found.samples for label in sample.labels}
        assert await check_metrics(found.text) == [LINT]
        async with http_client(f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/")).status_code == 404
            assert (await http.get("/graphql")).status_code == 404
            assert (await http.post("/metrics")).status_code == 405
            selected = await http.get("/metrics", params={"name[]": OPERATIONS})
            assert Scrape(selected.text).total(OPERATIONS) == 31
        async with http_client(url) as http:
            assert (await http.get("/metrics")).status_code == 404


def is_idle(found: Scrape, workers: int) -> bool:
    return has_sampled(found, workers) and found.total("http_server_active_requests") == 0


def has_sampled(found: Scrape, workers: int) -> bool:
    return found.total("db_client_connection_max") == 10 * workers


async def test_counts_of_a_killed_worker_stay_and_its_gauges_go(database_url: str) -> None:
    given = settings(database_url, ROSTER_WORKERS="2")
    port = int(given["ROSTER_MANAGEMENT_PORT"])
    async with serving_process(None, **given) as (process, url):
        await scraped_until(port, lambda found: has_sampled(found, 2))
        for _ in range(20):
            await post(url)
        await scraped_until(port, lambda found: found.total(OPERATIONS) == 20)
        os.kill(max(children(process.pid)), signal.SIGKILL)
        found = await scraped_until(
            port, lambda found: found.total("roster_worker_restarts_total") == 1
        )
        assert found.total(OPERATIONS) == 20
        assert found.total("db_client_connection_max") in {10, 20}
        found = await scraped_until(port, lambda found: has_sampled(found, 2))
        assert found.total("roster_workers") == 2
        for _ in range(10):
            await post(url)
        await scraped_until(port, lambda found: found.total(OPERATIONS) == 30)
        killed = set(children(process.pid))
        process.send_signal(signal.SIGHUP)  # replaces one worker after the other
        await scraped_until(port, lambda _: len(killed & set(children(process.pid))) == 1)
        found = await scraped_until(port, lambda found: has_sampled(found, 2))
        assert found.total(OPERATIONS) == 30
        assert found.total("roster_worker_restarts_total") == 1


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def files(parent: Path) -> list[Path]:
    return list(parent.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_files_of_workers_are_in_a_new_folder_that_is_removed_at_the_end(
    database_url: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    given = settings(database_url, ROSTER_WORKERS="2", PROMETHEUS_MULTIPROC_DIR=str(kept))
    port = int(given["ROSTER_MANAGEMENT_PORT"])
    async with serving_process(None, **given) as (_, url):
        await post(url)
        await scraped_until(port, lambda found: found.total(OPERATIONS) == 1)
        [folder] = files(kept)
        assert folder.name.startswith("roster-metrics-")
        assert mode(folder) == 0o700
    assert files(kept) == []


async def test_unusable_folder_or_port_stops_the_start(database_url: str, tmp_path: Path) -> None:
    given = settings(database_url, ROSTER_WORKERS="2")
    nowhere = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "none")}
    told = "roster: PROMETHEUS_MULTIPROC_DIR: no files can be created in this folder\n"
    assert await run("serve", cwd=None, **given, **nowhere) == (1, told)
    told = "roster: ROSTER_MANAGEMENT_PORT: must be another port than ROSTER_PORT\n"
    same = {"ROSTER_PORT": given["ROSTER_MANAGEMENT_PORT"]}
    assert await run("serve", cwd=None, **given, **same) == (1, told)


async def test_only_process_keeps_its_values_in_memory(database_url: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    given = settings(database_url, PROMETHEUS_MULTIPROC_DIR=str(kept))
    async with serving_process(None, **given) as (_, url):
        await post(url)
        port = int(given["ROSTER_MANAGEMENT_PORT"])
        await scraped_until(port, lambda found: found.total(OPERATIONS) == 1)
        assert files(kept) == []


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_port_answers_while_the_server_waits_for_its_database(
    dialect: str, workers: str
) -> None:
    assert dialect  # of the mark; PostgreSQL is what is waited for
    given = settings(
        f"postgresql://roster@127.0.0.1:{free_port()}/roster",
        ROSTER_WORKERS=workers,
        ROSTER_PORT=str(free_port()),
    )
    process = await start("serve", cwd=None, **given)
    try:
        port = int(given["ROSTER_MANAGEMENT_PORT"])
        async with asyncio.timeout(60):
            while b"Waiting" not in await process.stdout.readline():  # type: ignore[union-attr]
                pass
        found = await scrape(port)
        assert found.total("roster_waiting_for_database") == 1
        assert found.total("roster_workers") == 0
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_port_answers_during_the_drain_period(database_url: str, workers: str) -> None:
    given = settings(database_url, ROSTER_WORKERS=workers, ROSTER_DRAIN_PERIOD="60")
    port = int(given["ROSTER_MANAGEMENT_PORT"])
    async with serving_process(None, **given) as (process, url):
        await post(url)
        process.send_signal(signal.SIGTERM)
        await scraped_until(port, lambda found: found.total(OPERATIONS) == 1)
        for pid in [process.pid] if workers == "1" else children(process.pid):
            os.kill(pid, signal.SIGTERM)  # the second one ends the drain period
        await asyncio.wait_for(process.communicate(), 60)


async def test_port_that_is_in_use_is_reported(database_url: str) -> None:
    given = settings(database_url)
    port = given["ROSTER_MANAGEMENT_PORT"]
    async with serving_process(None, **given):
        code, output = await run("serve", cwd=None, **given)
    told = f"cannot listen on 127.0.0.1:{port}: Address already in use. ROSTER_MANAGEMENT_PORT"
    assert (code, output) == (1, f"roster: {told} chooses another port\n")
