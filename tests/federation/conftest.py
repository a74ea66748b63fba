"""Packages from npm, and a federated graph: Roster, three other subgraphs and two gateways."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.node import NODE, install_packages
from tests.support.process import http_client, serving_process
from tests.support.signing import ISS, RSA, pem, token
from users.policy import Scope

FOLDER = Path(__file__).parent
ADMIN = token(sub="1", scope=" ".join(Scope))
READER = token(sub="2", scope=Scope.READ)
NO_SCOPES = token(sub="3")
_CREATE = """mutation ($input: CreateUserInput!) {
  createUser(input: $input) { user { id } errors { code } } }"""


@pytest.fixture(scope="session", autouse=True)
def node_modules() -> Path:
    return install_packages(FOLDER)


@dataclass(frozen=True)
class Graph:
    """The URLs of a federated graph, and a client."""

    roster: str
    gateways: dict[str, str]
    tokens: str
    http: httpx.AsyncClient

    async def send(self, gateway: str, query: str, bearer: str | None = ADMIN, **given: Any) -> Any:
        """Returns the whole answer of a gateway, or of Roster itself."""
        url = self.roster if gateway == "roster" else self.gateways[gateway]
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        body = {"query": query, "variables": given}
        return (await self.http.post(url, json=body, headers=headers)).json()

    async def create(self, gateway: str, username: str, **fields: str) -> None:
        values = {"username": username, "email": f"{username}@example.com"} | fields
        answer = await self.send(gateway, _CREATE, input=values)
        assert answer["data"]["createUser"]["errors"] == []

    async def tokens_of_others(self) -> list[str | None]:
        """Returns the credentials of each request to another subgraph since the last call."""
        found: list[str | None] = (await self.http.get(self.tokens)).json()
        return found


@asynccontextmanager
async def _gateways(roster: str) -> AsyncIterator[dict[str, str]]:
    # The token of a gateway needs no scopes: it reads the schema.
    process = await asyncio.create_subprocess_exec(
        *(NODE, "gateways.mjs", roster),
        cwd=FOLDER,
        env=os.environ | {"TOKEN": NO_SCOPES},
        stdin=PIPE,
        stdout=PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        urls: dict[str, str] = json.loads(line)
        yield urls
    finally:
        process.stdin.close()  # `node` is a wrapper: its process is not the server's
        await asyncio.wait_for(process.wait(), 30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def graph(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Graph]:
    """Serves Roster in production with Ada and Bob, and the gateways."""
    settings = {
        "ROSTER_MODE": "production",
        "ROSTER_AUTH_ISSUER": ISS,
        "ROSTER_AUTH_AUDIENCE": "roster",
        "ROSTER_AUTH_PUBLIC_KEY": pem(RSA),
        "ROSTER_FEDERATION": "on",
    }
    async with (
        serving_process(tmp_path_factory.mktemp("roster"), **settings) as (_, url),
        _gateways(url) as urls,
        http_client() as http,
    ):
        tokens = urls.pop("tokens")
        graph = Graph(f"{url}/graphql", urls, tokens, http)
        await graph.create("apollo", "ada", externalId="hr-1")
        await graph.create("hive", "bob")
        await graph.tokens_of_others()
        yield graph
