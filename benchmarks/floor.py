"""The floor: the same answers by bare ASGI, asyncpg and orjson, without GraphQL, rules or guards.

It shows the minimum cost of a Python service on this driver and this server. Connections are
released without a RESET, which would take another round trip for each request.
"""

import os
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import asyncpg
import orjson

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ONE = "SELECT id, username, email, status, created_at FROM users WHERE id = $1"
_SOME = "SELECT id, username, email, status, created_at FROM users WHERE id = ANY($1::bigint[])"
_PAGE = """SELECT id, username, email, status, created_at FROM users WHERE status != 'DELETED'
  ORDER BY created_at DESC, id DESC LIMIT $1"""
_ADD_USER = """INSERT INTO users (username, username_key, email, email_key, display_name,
  display_name_key, external_id, external_id_key, is_active, status, status_reason,
  status_changed_at, version, created_at, updated_at, deleted_at, erase_after, erased_at)
  VALUES ($1, $2, $3, $4, $5, $6, NULL, NULL, true, 'ACTIVE', NULL, $7, 1, $7, $7, NULL, NULL, NULL)
  RETURNING id"""
_ADD_EVENT = """INSERT INTO user_events (user_id, type, at, actor_kind, actor_id, actor_label,
  reason, request_id, changes, version_after)
  VALUES ($1, 'CREATED', $2, 'system', NULL, 'floor', NULL, $3, $4, 1)"""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is untyped
    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        """Do nothing."""


class Floor:
    pool: Any

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        answer = orjson.dumps({"data": await self._answer(scope, receive)})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.pool = await asyncpg.create_pool(
            os.environ["BENCH_DATABASE_URL"],
            min_size=10,
            max_size=10,
            connection_class=_Connection,
            server_settings={"timezone": "UTC", "jit": "off"},
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, receive: Receive) -> Message:
        if scope["method"] == "POST":
            return await self._create(orjson.loads(await _body(receive)))
        match scope["path"], parse_qs(scope["query_string"].decode()):
            case "/users", {"first": [first]}:
                return {"users": await self._page(int(first))}
            case "/users", {"ids": [ids]}:
                return await self._some([int(key) for key in ids.split(",")])
            case path, _:
                row = await self.pool.fetchrow(_ONE, int(path.removeprefix("/users/")))
                return {"user": row and _user(row)}

    async def _some(self, ids: list[int]) -> Message:
        found = {row["id"]: _user(row) for row in await self.pool.fetch(_SOME, ids)}
        return {f"u{n}": found.get(key) for n, key in enumerate(ids)}

    async def _page(self, first: int) -> Message:
        rows = await self.pool.fetch(_PAGE, first + 1)
        edges = [{"cursor": _cursor(row), "node": _user(row)} for row in rows[:first]]
        return {"edges": edges, "pageInfo": _page_info(edges, more=len(rows) > first)}

    async def _create(self, given: Message) -> Message:
        now = datetime.now(UTC)
        name, email, shown = given["username"], given["email"], given["displayName"]
        changes = _changes(
            {"username": name, "email": email, "displayName": shown, "status": "ACTIVE"}.items()
        )
        async with self.pool.acquire() as connection, connection.transaction():
            key = await connection.fetchval(
                _ADD_USER, name, name.lower(), email, email.lower(), shown, shown.lower(), now
            )
            await connection.execute(_ADD_EVENT, key, now, uuid4().hex, changes)
        return {"createUser": {"user": {"id": str(key), "username": name, "version": 1}}}


def _user(row: Any) -> Message:
    key, username, email, status, created_at = row
    return {
        "id": str(key),
        "username": username,
        "email": email,
        "status": status,
        "createdAt": created_at,
    }


def _cursor(row: Any) -> str:
    place = orjson.dumps([row["created_at"], row["id"]])
    return urlsafe_b64encode(place).decode().rstrip("=")


def _page_info(edges: list[Message], *, more: bool) -> Message:
    return {
        "hasNextPage": more,
        "hasPreviousPage": False,
        "startCursor": edges[0]["cursor"] if edges else None,
        "endCursor": edges[-1]["cursor"] if edges else None,
    }


def _changes(fields: Iterable[tuple[str, str]]) -> str:
    return orjson.dumps([{"field": f, "before": None, "after": v} for f, v in fields]).decode()


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message["body"])
        if not message.get("more_body"):
            return body


app = Floor()
