"""A client that sends operations to the application as HTTP requests, in this process."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import func, select

from db.engine import Database
from db.models import User, UserEvent
from graph.app import create_app
from graph.observation import Observer
from graph.settings import Settings
from graph.tracing.traces import Traces

# The fields that a test can predict: none depends on time or chance.
USER = "id username email displayName isActive status statusReason externalId version deletedAt"
ERRORS = "errors { __typename code message path ... on FieldError { min max } }"

CREATE = f"""mutation ($input: CreateUserInput!) {{
  createUser(input: $input) {{ user {{ {USER} }} {ERRORS} }} }}"""
HISTORY = """query ($id: ID!) { user(id: $id) { history(first: 100) { nodes {
  type reason versionAfter changes { field before after } actor { kind id label } } } } }"""


@dataclass(frozen=True)
class Client:
    """Sends operations to a served application."""

    http: httpx.AsyncClient
    database: Database
    app: FastAPI

    async def send(self, query: str, **variables: Any) -> dict[str, Any]:
        """Returns the whole answer, including errors."""
        # Python's encoder writes a lone surrogate as an escape.
        body = json.dumps({"query": query, "variables": variables})
        response = await self.http.post(
            "/graphql", content=body, headers={"content-type": "application/json"}
        )
        answer: dict[str, Any] = response.json()
        return answer

    async def ask(self, query: str, **variables: Any) -> Any:
        """Returns the data of an operation that must succeed; of a single field, its value."""
        answer = await self.send(query, **variables)
        assert set(answer) == {"data"}, answer
        data = answer["data"]
        return next(iter(data.values())) if len(data) == 1 else data

    async def create(self, username: str, **fields: Any) -> dict[str, Any]:
        """Creates and returns a user, by default with an address of the same name."""
        values = {"username": username, "email": f"{username}@example.com"} | fields
        payload = await self.ask(CREATE, input=values)
        assert payload["errors"] == []
        user: dict[str, Any] = payload["user"]
        return user

    async def mutate(self, verb: str, user_id: str, **fields: Any) -> dict[str, Any]:
        """Sends a mutation that takes an id and returns its payload."""
        kind = {"updateUser": "UpdateUserInput", "deleteUser": "DeleteUserInput"}
        query = f"""mutation ($input: {kind.get(verb, "UserTransitionInput")}!) {{
          {verb}(input: $input) {{ user {{ {USER} }} changed {ERRORS} }} }}"""
        payload: dict[str, Any] = await self.ask(query, input={"id": user_id} | fields)
        return payload

    async def events(self, user_id: str) -> list[dict[str, Any]]:
        """Returns the history of a user, the earliest event first."""
        user = await self.ask(HISTORY, id=user_id)
        events: list[dict[str, Any]] = user["history"]["nodes"]
        return events


@asynccontextmanager
async def serving(
    settings: Settings, observers: Sequence[Observer] = (), traces: Traces | None = None
) -> AsyncIterator[Client]:
    app = create_app(settings, observers, traces)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000", timeout=120
        ) as http,
    ):
        yield Client(http, app.state.database, app)


async def count(database: Database) -> tuple[int, int]:
    """Returns the numbers of users and events, to check that a rejected request added none."""
    async with database.engine.connect() as connection:
        users, events = [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (User, UserEvent)
        ]
    return users, events
