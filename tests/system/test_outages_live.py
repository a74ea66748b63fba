"""Database outages: their effect on sockets, streams, re-checks, the feed and commands."""

import asyncio
import json
from typing import NamedTuple

import asyncpg
import pytest
from sqlalchemy import make_url
from websockets.asyncio.client import ClientConnection

from db.errors import Verdict
from graph.settings import Settings
from tests.conftest import run_in
from tests.db.test_errors import SQLSTATES
from tests.graph.execution.test_crashes import CRASHED
from tests.graph.execution.test_outages import AGAIN, AWAY, COUNT
from tests.support.client import serving
from tests.support.faults import Faults, in_reads
from tests.support.process import run, serving_process
from tests.support.sockets import receive_message, socket, stream, subscribe
from tests.system.test_production import Server, bearer, closed, production

on_postgres = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
UNAVAILABLE = f"{AWAY} {AGAIN}"


class ExpectedError(NamedTuple):
    """How an error of the database is reported to clients."""

    close_code: int
    status: int
    code: str
    message: str


def expected_error(sqlstate: str) -> ExpectedError:
    if SQLSTATES[sqlstate] is Verdict.BUG:
        return ExpectedError(1011, 500, "INTERNAL_ERROR", CRASHED)
    return ExpectedError(1013, 503, "DATABASE_UNAVAILABLE", UNAVAILABLE)


async def assert_new_client_gets(
    expected: ExpectedError, server: Server, authorization: str
) -> None:
    """Connects over each transport with a token that the server has not seen."""
    async with server.socket({"authorization": authorization}) as rejected:
        assert await closed(rejected) == (expected.close_code, expected.message)
    answer = await server.send(authorization, COUNT)
    [error] = answer.json()["errors"]
    assert answer.status_code == expected.status
    assert (error["message"], error["extensions"]["code"]) == (expected.message, expected.code)
    async with server.stream(authorization) as streamed:
        assert streamed.status_code == expected.status
        assert streamed.headers["content-type"] == "application/json; charset=utf-8"


async def assert_operation_gets(code: str, live: ClientConnection, id_: str) -> None:
    """Runs an operation on an open socket: its error ends the operation, not the connection."""
    await subscribe(live, id_, COUNT)
    received = await receive_message(live)
    if received["type"] == "next":
        errors = received["payload"]["errors"]
        assert (await receive_message(live))["type"] == "complete"
    else:
        errors = received["payload"]
    assert [e["extensions"]["code"] for e in errors] == [code]


@on_postgres
async def test_outage_keeps_open_sockets_and_is_reported_to_new_clients(
    database_url: str,
) -> None:
    async with serving(Settings(database_url=database_url)) as client:
        await client.create("ada")
    faults = Faults(database_url)
    await faults.prepare(in_reads("users"))
    known = bearer()
    async with (
        production(database_url, ROSTER_AUTH_RECHECK_INTERVAL="0.05") as server,
        server.socket({"authorization": known}) as live,
    ):
        assert await receive_message(live) == {"type": "connection_ack"}
        for n, sqlstate in enumerate(
            ("53100", "57014", "55P03", "58030", "25P02", "40001", "P0001")
        ):
            expected = expected_error(sqlstate)
            await faults.choose(sqlstate)
            await assert_new_client_gets(expected, server, bearer(jti=str(n)))
            await assert_operation_gets(expected.code, live, f"q{n}")
        await faults.choose("")
        await subscribe(live, "last", COUNT)
        assert (await receive_message(live))["payload"] == {"data": {"users": {"totalCount": 1}}}


@on_postgres
async def test_subscriptions_resume_without_a_gap_after_an_outage(
    database_url: str,
) -> None:
    """Over a WebSocket and as an event stream, after several kinds of errors."""
    async with serving(Settings(database_url=database_url)) as client:
        first = await client.create("first")
        events = await client.ask("{ userEvents(first: 1) { pageInfo { endCursor } } }")
    after_first = events["pageInfo"]["endCursor"]  # a subscription can begin later than it is sent
    faults = Faults(database_url)
    await faults.prepare(in_reads("user_events"))
    async with (
        serving_process(ROSTER_DATABASE_URL=database_url) as (_, url),
        socket(url) as live,
        stream(url, after=after_first) as lines,
    ):
        await subscribe(live, after=after_first)
        after = await asyncio.wait_for(_add(database_url, "before"), 60)
        assert (await receive_message(live))["payload"]["data"]["userEvents"]["userId"] == after
        for sqlstate in ("53100", "57014", "P0001", "cut"):
            await faults.choose(sqlstate)
        ids = [await _add(database_url, name) for name in ("one", "two")]
        await faults.choose("")
        received_ids = [
            (await receive_message(live))["payload"]["data"]["userEvents"]["userId"] for _ in ids
        ]
        assert received_ids == ids
        seen = []
        async for line in lines:
            if line.startswith("data: {"):
                seen.append(json.loads(line.removeprefix("data: "))["data"]["userEvents"]["userId"])
            if len(seen) == 3:
                break
        assert seen == [after, *ids]
    assert first["id"] not in seen


async def _add(database_url: str, name: str) -> str:
    """Add a user past the faults: their event is written to the table behind the view."""
    async with serving(Settings(database_url=database_url)) as client:
        return str((await client.create(name))["id"])


COMMANDS = (
    ("migrate",),
    ("demo", "--users", "10"),
    ("erase-due",),
    ("key", "create", "x", "--scope", "users:read"),
    ("key", "list"),
    ("key", "revoke", "1"),
    ("external-id", "show", "x"),
    ("serve",),
)


@on_postgres
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_command_reports_a_database_error_in_one_line(
    database_url: str, command: tuple[str, ...]
) -> None:
    name = make_url(database_url).database
    await run_in(
        database_url,
        f"ALTER DATABASE {name} SET statement_timeout = '50ms'",
        "CREATE TABLE IF NOT EXISTS holder (a int)",
    )

    holder = await asyncpg.connect(database_url)
    await holder.execute("SET statement_timeout = 0")
    async with holder.transaction():
        tables = "users, user_events, idempotency_keys, api_keys, alembic_version"
        await holder.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        code, output = await run(*command, ROSTER_DATABASE_URL=database_url)
    await holder.close()
    assert code == 1
    assert "Traceback" not in output
    assert output.strip().splitlines()[-1].endswith("canceling statement due to statement timeout")
    assert output.count("\n") == 1, output
