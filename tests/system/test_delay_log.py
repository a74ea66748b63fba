"""Open transactions hold back the feed until they end."""

import asyncio
from typing import Any

import pytest

from tests.support.open_transactions import left_open
from tests.support.process import http_client, run, serving_process
from tests.support.sockets import stream

on_postgres = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
ADD = "mutation ($n: String!) { createUser(input: {username: $n, email: $n}) { user { id } } }"


@on_postgres
async def test_idle_transaction_limit_bounds_the_delay_of_subscribers(
    database_url: str,
) -> None:
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url}
    # That of other programs. The server's transactions can be idle for longer.
    code, output = await run("migrate", **settings, ROSTER_IDLE_TRANSACTION_TIMEOUT="1")
    assert code == 0, output
    async with serving_process(**settings) as (_, url), http_client(url) as http:

        async def ask(query: str, **variables: Any) -> Any:
            answer = await http.post("/graphql", json={"query": query, "variables": variables})
            return answer.json()["data"]

        await ask(ADD, n="ada@example.com")
        page = await ask("{ userEvents(last: 1) { pageInfo { endCursor } } }")
        last = page["userEvents"]["pageInfo"]["endCursor"]
        async with stream(url, after=last) as lines, left_open(database_url):
            assert (await ask(ADD, n="bob@example.com"))["createUser"]["user"]
            async with asyncio.timeout(60):
                while "CREATED" not in await anext(lines):
                    pass
