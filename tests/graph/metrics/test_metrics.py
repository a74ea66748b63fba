"""Metrics of operations, requests, statements and the feed, as they are published."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from db.filters import EventFilter
from graph.app import PATH
from graph.metrics.observer import Metrics
from graph.settings import Settings
from tests.support.client import Client, serving
from tests.support.metrics import OPERATIONS, REQUESTS, STATEMENTS, Scrape

USED = {"db_client_connection_state": "used"}
IDLE = {"db_client_connection_state": "idle"}
QUERY = {"query": "query Count { users { totalCount } }"}
CREATE = "mutation Add($input: CreateUserInput!) { createUser(input: $input) { user { id } } }"


@asynccontextmanager
async def measured(settings: Settings) -> AsyncIterator[tuple[Client, CollectorRegistry]]:
    registry = CollectorRegistry()
    async with serving(settings, [Metrics(registry, PATH)]) as client:
        yield client, registry


def published(registry: CollectorRegistry) -> Scrape:
    return Scrape(generate_latest(registry).decode())


async def post(client: Client, body: Any, **headers: str) -> Any:
    return await client.http.post("/graphql", json=body, headers=headers)


def creating(username: str, **fields: Any) -> dict[str, Any]:
    values = {"username": username, "email": f"{username}@example.com", **fields}
    return {"query": CREATE, "variables": {"input": values}}


async def test_operations_are_counted_by_type_and_error(database_url: str) -> None:
    async with measured(Settings(database_url=database_url)) as (client, registry):
        await post(client, QUERY)
        await post(client, creating("mia", idempotencyKey="1"))
        await post(client, creating("mia", idempotencyKey="1"))
        await post(client, creating("mia"))
        await post(client, {"query": "query { users(first: 101) { totalCount } }"})
        await post(client, {"query": "{"})
        found = published(registry)
    counted = {
        tuple(sample.labels.values()): sample.value
        for sample in found.samples
        if sample.name == OPERATIONS
    }
    assert counted == {
        ("", "", "query"): 1,
        ("", "", "mutation"): 2,
        ("TAKEN", "", "mutation"): 1,
        ("INVALID_ARGUMENT", "", "query"): 1,
        ("GRAPHQL_PARSE_FAILED", "", ""): 1,
    }
    assert found.total("roster_graphql_errors_total", code="TAKEN") == 2
    assert found.total("roster_rejections_total") == 1
    assert found.total("roster_idempotent_replays_total") == 1
    assert found.total("roster_retries_total", kind="transaction") == 1
    assert found.total(REQUESTS, http_route="/graphql", http_response_status_code="200") == 6


async def test_statements_of_both_paths_are_counted(database_url: str) -> None:
    async with measured(Settings(database_url=database_url)) as (client, registry):
        await post(client, creating("mia"))
        await post(client, QUERY)
        found = published(registry)
    kinds = found.labels(STATEMENTS, "db_operation_name")
    assert {"INSERT", "SELECT"} <= kinds
    system = "sqlite" if client.database.is_sqlite else "postgresql"
    assert found.labels(STATEMENTS, "db_system_name") == {system}
    assert found.labels(STATEMENTS, "error_type") == {""}


async def test_names_are_labels_only_of_persisted_documents(
    database_url: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "documents.json"
    manifest.write_text(json.dumps({"1": QUERY["query"]}))
    settings = Settings(
        database_url=database_url, persisted_documents="log", persisted_documents_file=manifest
    )
    async with measured(settings) as (client, registry):
        await post(client, {"documentId": "1"})
        await post(client, {"query": "query Other { users { totalCount } }"})
        found = published(registry)
    assert found.labels(OPERATIONS, "graphql_operation_name") == {"Count", ""}


async def test_throttled_requests_are_counted(database_url: str) -> None:
    settings = Settings(database_url=database_url, rate_limit="2/hour")
    async with measured(settings) as (client, registry):
        for _ in range(5):
            await post(client, QUERY)
        found = published(registry)
    assert found.total("roster_throttled_total", limit="rate") == 3
    assert found.total("roster_rejections_total", code="RATE_LIMITED", transport="http") == 3
    assert found.total(OPERATIONS, error_type="RATE_LIMITED", graphql_operation_type="") == 3


async def test_rejections_outside_of_operations_are_counted(database_url: str) -> None:
    settings = Settings(database_url=database_url, rate_limit="2/hour", allowed_hosts=["ours"])
    async with measured(settings) as (client, registry):
        answers = [
            await client.http.get("/users.ndjson", headers=given, params=params)
            for given, params in (
                ({}, {"filter": "{"}),
                ({}, {}),
                ({}, {}),
                ({"host": "theirs"}, {}),
            )
        ]
        assert [answer.status_code for answer in answers] == [400, 200, 429, 421]
        found = published(registry)
    codes = {"BAD_REQUEST", "RATE_LIMITED", answers[3].json()["errors"][0]["extensions"]["code"]}
    for code in codes:
        assert found.total("roster_rejections_total", code=code, transport="http") == 1
        assert found.total("roster_graphql_errors_total", code=code) == 1
    assert found.total("roster_rejections_total") == len(codes) == 3
    assert found.total("roster_throttled_total", limit="rate") == 1
    assert found.total(OPERATIONS) == 0
    assert found.total(REQUESTS) == 4


async def test_what_clients_choose_creates_no_series(database_url: str) -> None:
    async with measured(Settings(database_url=database_url)) as (client, registry):
        await post(client, QUERY)
        await client.http.request("CHOSEN", "/chosen")
        before = series(published(registry))
        for n in range(30):
            await post(client, {"query": f"query Chosen{n} {{ users {{ totalCount }} }}"})
            await client.http.request(f"CHOSEN{n}", f"/chosen/{n}")
        found = published(registry)
    assert series(found) == before
    assert "chosen" not in found.text.lower()


def series(found: Scrape) -> set[tuple[str, ...]]:
    """The series of `found`, without the gauges that appear a second later, at the next sample."""
    return {
        (sample.name, *sample.labels.values())
        for sample in found.samples
        if "_active" not in sample.name
    }


async def test_pool_and_its_waits_are_measured(database_url: str) -> None:
    settings = Settings(database_url=database_url, pool_size=1, pool_timeout=0.01)
    async with measured(settings) as (client, registry):
        async with client.database.engine.connect():
            await post(client, QUERY)
            found = await until(registry, "db_client_connection_count", 1, **USED)
        assert found.total("db_client_connection_timeouts_total") == 1
        assert found.total("db_client_connection_wait_time_seconds_count") == 1
        assert found.total("db_client_connection_max") == 1
        found = await until(registry, "db_client_connection_count", 1, **IDLE)
    assert found.total("db_client_connection_pending_requests") == 0
    assert found.total("roster_graphql_errors_total", code="DATABASE_UNAVAILABLE") == 1


async def until(
    registry: CollectorRegistry, name: str, value: float | None, **labels: str
) -> Scrape:
    """Waits until a sampled gauge has this value, or any but 0."""
    async with asyncio.timeout(60):
        while True:
            found = published(registry)
            total = found.total(name, **labels)
            if total == value or (value is None and total):
                return found
            await asyncio.sleep(0.05)


async def test_followers_and_lag_are_measured(database_url: str) -> None:
    async with measured(Settings(database_url=database_url)) as (client, registry):
        async with client.app.state.feed.subscribe(None, EventFilter()):
            found = await until(registry, "roster_feed_followers", 1)
        assert 0 <= found.total("roster_feed_lag_seconds") < 60
        found = await until(registry, "roster_feed_followers", 0)
    assert found.total("roster_feed_lag_seconds") == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [("psql", "psql"), ("DBeaver 23 - Mia's laptop", "DBeaver"), ("Mia", "_OTHER")],
)
@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_program_that_holds_back_the_feed_is_named(
    database_url: str, name: str, shown: str
) -> None:
    async with measured(Settings(database_url=database_url)) as (client, registry):
        feed = client.app.state.feed
        other = await asyncpg.connect(
            database_url.replace("+asyncpg", ""), server_settings={"application_name": name}
        )
        async with feed.subscribe(None, EventFilter()):
            transaction = other.transaction()
            await transaction.start()
            await other.execute("SELECT nextval(pg_get_serial_sequence('user_events', 'id'))")
            await other.execute("LOCK user_events IN ROW EXCLUSIVE MODE")
            await client.create("mia")
            found = await until(registry, "roster_feed_held_back_seconds", None)
            assert found.labels("roster_feed_held_back_seconds", "application") == {shown}
            assert found.labels("roster_feed_held_back_seconds", "state") == {"idle in transaction"}
            await transaction.rollback()
            await until(registry, "roster_feed_held_back_seconds", 0)
        await other.close()
    assert "Mia" not in published(registry).text
