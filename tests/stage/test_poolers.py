"""Everything that clients do, through PgBouncer in session mode and in transaction mode."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import opened, run_in
from tests.stage.pooler_modes import KEYED, SESSION, TRANSACTION, modes, settings_of, two_servers
from tests.support.client import CREATE, count
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import committed_ids
from tests.support.pgbouncer import pgbouncer, version
from tests.support.process import http_client, run
from tests.support.sockets import event, socket, subscribe

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)

CLIENTS, ROUNDS = 20, 5
EVENTS_A_ROUND = 7

CHANGE = """mutation ($id: ID!, $name: String!) {
  updateUser(input: {id: $id, displayName: $name}) { changed errors { code } }
  deactivateUser(input: {id: $id}) { changed errors { code } }
  deleteUser(input: {id: $id}) { changed errors { code } } }"""
BULK = """mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) { succeeded failed } }"""
ERASE = """mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"""
READ = """query ($id: ID!) { user(id: $id) { erasedAt history(first: 10) { nodes { type } } }
  users(first: 20, search: "client") { totalCount nodes { id username } } }"""


async def send(http: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    answer = await http.post("/graphql", json={"query": query, "variables": variables})
    found = answer.json()
    assert set(found) == {"data"}, found
    return found["data"]


async def use_everything(http: httpx.AsyncClient, name: str) -> None:
    """Creates three users, of which the first is erased: seven events."""
    values = {"username": name, "email": f"{name}@example.com", "idempotencyKey": name}
    first = (await send(http, KEYED, input=values))["createUser"]
    assert (first["replayed"], first["errors"]) == (False, [])
    again = (await send(http, KEYED, input=values))["createUser"]
    assert again == first | {"replayed": True}
    user_id = first["user"]["id"]
    done = {"changed": True, "errors": []}
    assert await send(http, CHANGE, id=user_id, name="New") == {
        "updateUser": done,
        "deactivateUser": done,
        "deleteUser": done,
    }
    creations = [
        {"create": {"username": f"{name}-{n}", "email": f"{name}-{n}@example.com"}}
        for n in range(2)
    ]
    bulk = await send(http, BULK, input={"operations": creations})
    assert bulk == {"bulkUsers": {"succeeded": 2, "failed": 0}}
    erasure = {"id": user_id, "confirmUsername": name, "reason": "asked"}
    assert await send(http, ERASE, input=erasure) == {"eraseUser": {"errors": []}}
    read = await send(http, READ, id=user_id)
    assert read["user"]["erasedAt"] is not None
    types = ["CREATED", "UPDATED", "DEACTIVATED", "DELETED", "ERASED"]
    # A history ends at the watermark, which open transactions of other clients can hold back.
    found = [node["type"] for node in read["user"]["history"]["nodes"]]
    assert found == types[: len(found)]
    assert len(read["users"]["nodes"]) == min(20, read["users"]["totalCount"])


async def follow(url: str, after: str, expected: int) -> list[str]:
    async with socket(url) as live:
        await subscribe(live, after=after)
        return [(await event(live))["cursor"] for _ in range(expected)]


async def begin(urls: list[str], database_url: str) -> str:
    """Creates a user and returns the cursor of that event."""
    async with http_client(urls[0]) as http:
        await send(http, CREATE, input={"username": "zero", "email": "zero@example.com"})
    return await cursor_at(database_url, 1)


async def check(settings: dict[str, Any]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Returns the exit code of `roster check`, and its findings by name."""
    code, output = await run("check", "--json", **settings)
    return code, {found["name"]: found for found in json.loads(output)["checks"]}


@modes
async def test_clients_of_two_servers_work_through_pgbouncer(
    database_url: str, tmp_path: Path, mode: dict[str, Any]
) -> None:
    events = CLIENTS * ROUNDS * EVENTS_A_ROUND
    async with pgbouncer(tmp_path, database_url, **mode) as bouncer, asyncio.timeout(600):
        settings = settings_of(bouncer, database_url, mode)
        async with two_servers(settings) as urls:
            after = await begin(urls, database_url)
            following = [asyncio.create_task(follow(url, after, events)) for url in urls]

            async def client(number: int) -> None:
                async with http_client(urls[number % 2]) as http:
                    for round_ in range(ROUNDS):
                        await use_everything(http, f"client{number}x{round_}")

            await asyncio.gather(*map(client, range(CLIENTS)))
            received = await asyncio.gather(*following)
        assert (await run("erase-due", **settings))[0] == 0
        assert (await run("key", "create", "k", "--scope", "users:read", **settings))[0] == 0
    assert received[0] == received[1]
    async with opened(database_url) as database:
        ids = await committed_ids(database)
        assert [id_at(cursor) for cursor in received[0]] == ids[1:]
        assert await count(database) == (1 + CLIENTS * ROUNDS * 3, 1 + events)


@modes
async def test_migrate_and_check_succeed_through_pgbouncer(
    empty_url: str, tmp_path: Path, mode: dict[str, Any]
) -> None:
    async with pgbouncer(tmp_path, empty_url, **mode) as bouncer:
        settings = settings_of(bouncer, empty_url, mode)
        code, found = await check(settings)
        assert code == 1
        failed = {name for name, finding in found.items() if finding["status"] == "failed"}
        assert failed == {"revision", "pg-trgm"}
        code, output = await run("migrate", **settings)
        assert code == 0, output
        code, found = await check(settings)
        assert code == 0, found
        kind = mode["pool_mode"]
        assert found["pooler"]["detail"] == f"a pooler in {kind} mode"
        for name in ("listen", "advisory-lock", "prepared-statements", "session-reset", "pg-trgm"):
            assert found[name]["status"] == "ok", found[name]


async def test_transaction_mode_without_the_setting_is_reported(
    database_url: str, tmp_path: Path
) -> None:
    said = (
        "ROSTER_DATABASE_URL leads to a pooler in transaction mode: set ROSTER_DATABASE_POOLER="
        "transaction, and ROSTER_DATABASE_DIRECT_URL to a URL of the same database without the "
        "pooler"
    )
    async with pgbouncer(tmp_path, database_url, **TRANSACTION) as bouncer:
        settings: dict[str, Any] = {"ROSTER_DATABASE_URL": bouncer.url}
        for command in ("serve", "migrate", "erase-due"):
            assert await run(command, **settings) == (1, f"roster: {said}\n")
        code, found = await check(settings)
        assert code == 1
        assert f"{found['pooler']['detail']}: {found['pooler']['fix']}" == said
        for name in ("listen", "advisory-lock", "prepared-statements", "session-reset"):
            assert found[name]["status"] == "not checked"


async def test_direct_url_through_transaction_mode_or_to_another_database_is_reported(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    async with pgbouncer(tmp_path, database_url, **TRANSACTION) as bouncer:
        settings = settings_of(bouncer, database_url, TRANSACTION)
        for direct, said in (
            (bouncer.url, "leads to a pooler in transaction mode: it has to lead to PostgreSQL"),
            (empty_url, "leads to another database than ROSTER_DATABASE_URL: both have to name"),
        ):
            wrong = settings | {"ROSTER_DATABASE_DIRECT_URL": direct}
            code, output = await run("serve", **wrong)
            assert (code, output.startswith(f"roster: ROSTER_DATABASE_DIRECT_URL {said}")) == (
                1,
                True,
            )
            code, found = await check(wrong)
            assert (code, found["pooler"]["status"]) == (1, "failed")


async def test_session_mode_without_a_reset_is_reported(database_url: str, tmp_path: Path) -> None:
    mode = SESSION | {"server_reset_query": "", "default_pool_size": "3"}
    async with pgbouncer(tmp_path, database_url, **mode) as bouncer:
        await run_in(bouncer.url, "PREPARE left_behind AS SELECT 1")
        code, found = await check({"ROSTER_DATABASE_URL": bouncer.url})
        assert (code, found["session-reset"]["status"]) == (1, "failed")
        assert "server_reset_query = DISCARD ALL" in found["session-reset"]["fix"]


@pytest.mark.parametrize(
    ("mode", "pooler", "fix"),
    [
        (TRANSACTION | {"max_prepared_statements": "0"}, "transaction-named", "or max_prepared"),
        (TRANSACTION | {"pool_mode": "statement"}, "transaction", "pool_mode = transaction"),
    ],
)
async def test_pooler_that_cannot_run_the_statements_is_reported(
    database_url: str, tmp_path: Path, mode: dict[str, Any], pooler: str, fix: str
) -> None:
    if version() < (1, 21):
        mode = {name: mode[name] for name in mode if name != "max_prepared_statements"}
    async with pgbouncer(tmp_path, database_url, **mode) as bouncer:
        settings = settings_of(bouncer, database_url, mode) | {"ROSTER_DATABASE_POOLER": pooler}
        code, found = await check(settings)
    assert (code, found["prepared-statements"]["status"]) == (1, "failed")
    assert fix in found["prepared-statements"]["fix"]


async def test_pooler_without_enough_connections_is_reported(
    database_url: str, tmp_path: Path
) -> None:
    async with pgbouncer(tmp_path, database_url, default_pool_size="1") as bouncer:
        code, found = await check({"ROSTER_DATABASE_URL": bouncer.url})
    assert (code, found["pooler"]["status"]) == (1, "failed")
    assert "default_pool_size" in found["pooler"]["fix"]
