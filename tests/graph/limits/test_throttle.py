"""Rate limits, and the limit of concurrent operations."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from db.engine import Database
from db.session import Session
from db.timing import Timing
from graph.api import global_ids
from graph.documents.queue import FairQueue
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import RequestError
from graph.settings import Settings
from tests.support.client import Client, count, serving
from tests.support.loop_time import pass_time

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ENDLESS = {
    "sqlite": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
    "SELECT max(n) FROM c",
    "postgresql": "SELECT pg_sleep(600)",
}
USERS = "{ users { totalCount } }"
CREATE = 'mutation { createUser(input: {username: "ada", email: "a@b.example"}) { user { id } } }'
EVENTS = {"accept": "text/event-stream"}


def code(answer: Any) -> str:
    [error] = answer["errors"]
    return str(error["extensions"]["code"])


async def post(client: Client, query: str, **headers: str) -> httpx.Response:
    return await client.http.post("/graphql", json={"query": query}, headers=headers)


@sqlite
async def test_responses_have_rate_limit_headers_and_excess_requests_get_429(
    database_url: str,
) -> None:
    async with serving(Settings(database_url=database_url, rate_limit="5/hour")) as client:
        answers = [
            await post(client, USERS),
            await post(client, "{", accept="application/graphql-response+json"),
            await client.http.post("/graphql", content="x"),
            await client.http.get("/graphql", params={"query": "mutation { __typename }"}),
            await post(client, USERS, **EVENTS),
            *[await post(client, USERS, **accept) for accept in ({}, EVENTS)],
        ]
        assert [each.status_code for each in answers] == [200, 400, 415, 405, 200, 429, 429]
        for n, answer in enumerate(answers):
            assert answer.headers["ratelimit-policy"] == '"caller";q=5;w=3600'
            left, _, wait = answer.headers["ratelimit"].removeprefix('"caller";r=').partition(";t=")
            assert (int(left), int(wait) > 0) == (max(0, 4 - n), True)
            assert ("retry-after" in answer.headers) is (n > 4)
            if n > 4:
                assert code(answer.json()) == "RATE_LIMITED"
                assert answer.headers["retry-after"] == wait


async def test_callers_have_separate_rate_limits() -> None:
    rate_limiter = RateLimiter("1/hour", 1, 1)
    await rate_limiter.acquire("ada")
    await rate_limiter.acquire("bob")
    with pytest.raises(RequestError):
        await rate_limiter.acquire("ada")


async def start_query(client: Client) -> asyncio.Task[httpx.Response]:
    """Starts a query that waits for the database."""
    return asyncio.create_task(post(client, USERS))


def make_reads_endless(
    client: Client, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> asyncio.Event:
    """Makes every read endless. Returns an event that is set when one has started."""
    started = asyncio.Event()
    reader, endless = client.database.reader, text(ENDLESS[dialect])
    execute, fetch = Session.execute, reader.driver_fetch

    async def execute_endlessly(session: Session, *_: object) -> Any:
        started.set()
        return await execute(session, endless)

    async def fetch_endlessly(driver: Any, *_: object) -> Any:
        started.set()
        return await fetch(driver, ENDLESS[dialect], [])

    monkeypatch.setattr(Session, "scalar", execute_endlessly)
    monkeypatch.setattr(reader, "driver_fetch", fetch_endlessly)
    return started


async def until_running(database: Database, statement: str, *, times: int) -> None:
    """Waits until PostgreSQL runs a statement this many times."""
    running = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query = :query AND state = 'active'"
    )
    found = -1
    async with asyncio.timeout(60):
        while found != times:
            async with database.engine.connect() as connection:  # one transaction sees one moment
                found = (await connection.execute(running, {"query": statement})).scalar_one()


@pytest.fixture
def silent_hosts_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A health check may be connecting when a test lets all time limits pass."""
    defaults = Database.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "timing", Timing(skip_silent_host=0.0))


@pytest.mark.usefixtures("silent_hosts_are_tried")
@pytest.mark.parametrize(
    "query",
    [
        USERS,
        f'{{ user(id: "{global_ids.encode("User", 1)}") {{ id }} }}',
        '{ a: userBy(by: {username: "ada"}) { id } }',
    ],
    ids=["list", "loader", "key"],
)
async def test_query_beyond_the_timeout_is_cancelled_and_frees_its_connection(
    database_url: str, dialect: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        database_url=database_url,
        query_timeout=60,
        statement_timeout=3600,  # must not expire together with the time limit of the query
        max_concurrent_operations=1,
    )
    async with serving(settings) as client:
        await client.ask(USERS)
        with monkeypatch.context() as patch:
            started = make_reads_endless(client, dialect, patch)
            for headers, status in (({}, 504), (EVENTS, 200)):
                started.clear()
                posting = asyncio.create_task(post(client, query, **headers))
                await started.wait()
                if dialect == "postgresql":
                    await until_running(client.database, ENDLESS[dialect], times=1)
                pass_time(60)
                answer = await posting
                assert answer.status_code == status, answer.text
                assert '"TIMEOUT"' in answer.text
                assert '"data"' not in answer.text
                if dialect == "postgresql":
                    await until_running(client.database, ENDLESS[dialect], times=0)
        pool: Any = client.database.engine.sync_engine.pool
        assert pool.checkedout() == 0
        assert await client.ask(USERS) == {"totalCount": 0}


@sqlite
async def test_operations_beyond_the_concurrency_limit_get_503(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=database_url, max_concurrent_operations=1, query_timeout=60)
    async with serving(settings) as client:
        for _ in range(2):  # the count decreases however an operation ends
            with monkeypatch.context() as patch:
                started = make_reads_endless(client, "sqlite", patch)
                first = await start_query(client)
                await started.wait()
                for query in (USERS, CREATE):
                    response = await post(client, query)
                    assert (response.status_code, code(response.json())) == (503, "OVERLOADED")
                    assert response.headers["retry-after"] == "1"
                streamed = await post(client, USERS, **EVENTS)
                [sent_to_third] = [
                    line for line in streamed.text.splitlines() if line.startswith("data: ")
                ]
                assert code(json.loads(sent_to_third.removeprefix("data: "))) == "OVERLOADED"
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
            assert await client.ask(USERS) == {"totalCount": 0}
            await client.send("{ users(first: -1) { totalCount } }")
        assert await count(client.database) == (0, 0)


@sqlite
async def test_invalid_tokens_are_rate_limited_before_verification(database_url: str) -> None:
    settings = Settings(database_url=database_url, rate_limit="3/hour")
    wrong = {"authorization": "Bearer roster_wrong"}
    async with serving(settings) as client:
        answers = [await post(client, USERS, **wrong) for _ in range(5)]
        assert [each.status_code for each in answers] == [401, 401, 401, 429, 429]
        assert code(answers[-1].json()) == "RATE_LIMITED"
        assert answers[-1].headers["retry-after"] == "60"
        # Requests without a token have their own limit.
        assert (await post(client, USERS)).status_code == 200


async def test_fair_queue_runs_one_turn_at_a_time_and_alternates_callers() -> None:
    turns = FairQueue()
    order: list[str] = []
    together = most = 0

    async def read(caller: str) -> None:
        nonlocal together, most
        async with turns.turn(caller):
            together += 1
            most = max(most, together)
            order.append(caller)
            await asyncio.sleep(0)
            together -= 1

    many = [asyncio.create_task(read("many")) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(*many, *(asyncio.create_task(read(name)) for name in ("ada", "bob")))
    assert most == 1
    assert max(order.index("ada"), order.index("bob")) <= 4
