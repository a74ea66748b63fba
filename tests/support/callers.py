"""Executes operations for any caller without HTTP; authentication is tested elsewhere."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

from sqlalchemy import select

from db.engine import Database
from db.models import ActorKind, IdempotencyKey, User, UserEvent
from feed.feed import Feed
from feed.options import FeedOptions
from graph.api import global_ids
from graph.api.context import Context
from graph.execution.schema import Schema
from graph.protocol.errors import RequestError
from graph.protocol.request import Request
from graph.streaming.chunks import ResultBatch
from graph.streaming.streams import ResultStreams
from tests.support.schema import SCHEMA
from users.policy import Caller, Scope
from users.recorder import Actor

SCOPE_SETS = [frozenset(some) for n in range(len(Scope) + 1) for some in combinations(Scope, n)]


def service(*scopes: Scope) -> Caller:
    return Caller(Actor(ActorKind.SERVICE, id="sync", label="Sync"), frozenset(scopes))


def linked(user_id: int, *scopes: Scope, expires_at: datetime | None = None) -> Caller:
    actor = Actor(ActorKind.USER, id=str(user_id), label="Me")
    return Caller(actor, frozenset(scopes), user_id, expires_at)


@dataclass(frozen=True)
class DirectoryClient:
    """Executes operations on one directory for any caller."""

    database: Database
    feed: Feed
    live: ResultStreams  # one for all callers, as in a server: it shares results
    schema: Schema = SCHEMA

    def context(self, caller: Caller) -> Context:
        return Context(self.database.session(), self.feed, caller, "test")

    async def send(self, caller: Caller, query: str, **variables: Any) -> dict[str, Any]:
        """Returns the data and, of each error, its code and path."""
        context = self.context(caller)
        try:
            operation = await self.schema.prepare(Request(query, variables), context)
            answer: dict[str, Any] = json.loads(b"".join(await operation.run()))
        except RequestError as error:
            answer = {"data": None, "errors": error.errors}
        errors = [(e["extensions"]["code"], e.get("path")) for e in answer.get("errors", ())]
        return {"data": answer["data"]} | ({"errors": errors} if errors else {})

    async def follow(
        self, caller: Caller, query: str, **variables: Any
    ) -> AsyncGenerator[ResultBatch, None]:
        operation = await self.schema.prepare(Request(query, variables), self.context(caller))
        async with aclosing(self.live.results(operation)) as results:
            async for batch in results:
                yield batch

    async def ask(self, caller: Caller, query: str, **variables: Any) -> Any:
        """Returns the only field of an operation that must succeed."""
        answer = await self.send(caller, query, **variables)
        assert set(answer) == {"data"}, answer
        [value] = answer["data"].values()
        return value

    async def ask_all(self, caller: Caller, query: str, **variables: Any) -> Any:
        """Returns all fields of an operation that must succeed."""
        answer = await self.send(caller, query, **variables)
        assert set(answer) == {"data"}, answer
        return answer["data"]

    async def all_rows(self) -> list[Sequence[Any]]:
        """Returns all rows, to check that a rejected request changed none."""
        async with self.database.engine.connect() as connection:
            return [
                (await connection.execute(select(table).order_by(*table.primary_key))).all()
                for table in (User.__table__, UserEvent.__table__, IdempotencyKey.__table__)
            ]


@asynccontextmanager
async def directory_client(
    database: Database, schema: Schema = SCHEMA, **options: Any
) -> AsyncIterator[DirectoryClient]:
    feed = Feed(database, FeedOptions(**options))
    try:
        yield DirectoryClient(database, feed, ResultStreams(), schema)
    finally:
        await feed.close()


def id_of(key: int) -> str:
    return global_ids.encode("User", key)
