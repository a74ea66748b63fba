"""gql, the Python client: over HTTP and WebSocket, with types from the served schema."""

from pathlib import Path
from typing import Any

import pytest
from gql import Client, GraphQLRequest, gql
from gql.client import AsyncClientSession
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport
from graphql import GraphQLError

from tests.support.process import serving_process

CREATE = """mutation ($input: CreateUserInput!) {
  createUser(input: $input) { user { id username status } errors { code path } }
}"""
EVENTS = """subscription ($after: String) {
  userEvents(after: $after) { type user { username } }
}"""
_SECONDS = 60
LIST = gql("{ users { nodes { username status } } }")


async def create(session: AsyncClientSession, username: str) -> dict[str, Any]:
    values = {"username": username, "email": f"{username}@example.com"}
    created = await session.execute(GraphQLRequest(CREATE, variable_values={"input": values}))
    return dict(created["createUser"])


async def test_gql_checks_documents_against_the_introspected_schema(tmp_path: Path) -> None:
    async with serving_process(tmp_path) as (_, url):
        transport = HTTPXAsyncTransport(url=f"{url}/graphql", timeout=_SECONDS)
        client = Client(
            transport=transport, fetch_schema_from_transport=True, execute_timeout=_SECONDS
        )
        async with client as session:
            user = {"username": "ada", "status": "ACTIVE"}
            created = await create(session, "ada")
            assert created["errors"] == []
            assert {name: created["user"][name] for name in user} == user
            assert await session.execute(LIST) == {"users": {"nodes": [user]}}
            with pytest.raises(GraphQLError, match="Cannot query field 'password'"):
                await session.execute(gql("{ users { nodes { password } } }"))


async def test_gql_raises_top_level_errors_with_their_code_and_data(tmp_path: Path) -> None:
    query = gql('{ user(id: "x") { id } users { nodes { username } } }')
    async with serving_process(tmp_path) as (_, url):
        transport = HTTPXAsyncTransport(url=f"{url}/graphql", timeout=_SECONDS)
        client = Client(transport=transport, execute_timeout=_SECONDS)
        async with client as session:
            with pytest.raises(TransportQueryError) as raised:
                await session.execute(query)
    assert raised.value.errors
    assert raised.value.errors[0]["extensions"] == {"code": "INVALID_ID"}
    assert raised.value.data == {"user": None, "users": {"nodes": []}}


async def test_gql_follows_events_over_a_websocket(tmp_path: Path) -> None:
    async with serving_process(tmp_path) as (_, url):
        address = f"{url.replace('http', 'ws')}/graphql"
        transport = WebsocketsTransport(url=address, connect_timeout=_SECONDS, ack_timeout=_SECONDS)
        async with Client(transport=transport, execute_timeout=_SECONDS) as session:
            await create(session, "ada")
            newest = await session.execute(gql("{ userEvents(last: 1) { nodes { cursor } } }"))
            [node] = newest["userEvents"]["nodes"]
            after = {"after": node["cursor"]}
            followed = session.subscribe(GraphQLRequest(EVENTS, variable_values=after))
            await create(session, "mia")
            assert await anext(followed) == {
                "userEvents": {"type": "CREATED", "user": {"username": "mia"}}
            }
            await followed.aclose()
