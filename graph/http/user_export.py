"""`GET /users.ndjson`: the users that match a filter, one JSON object in each line."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends
from graphql import GraphQLError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from db.filters import UserFilter
from db.session import Session
from db.time_slices import current_operation
from graph.api.context import Context
from graph.api.errors import server_error
from graph.api.inputs.user_filter import read_filter, read_search
from graph.auth.guard import Guard
from graph.exchange.exporting import export_users
from graph.exchange.rows import ExportedUser, as_ndjson
from graph.execution.errors import OperationRejected
from graph.execution.field_arguments import FieldArguments
from graph.http import headers
from graph.http.dependencies import get_session
from graph.http.negotiation import best
from graph.http.origins import Origins
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.json import read_json
from graph.shutdown import Shutdown
from users import policy

PATH: Final = "/users.ndjson"
PARAMETERS: Final = ("filter", "search")
_MEDIA_TYPES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_HEADERS: Final = {
    "content-disposition": 'attachment; filename="users.ndjson"',
    "x-accel-buffering": "no",  # so that nginx does not store the export in a file
}

Portions = AsyncGenerator[Sequence[ExportedUser], None]


@dataclass(frozen=True, slots=True)
class UserExport:
    """Streams users with constant memory, in the order of their ids.

    The caller sees the same users as in the query `users`. If the export fails, the connection is
    closed without the end of the body, so that the client notices that it is incomplete.
    """

    guard: Guard
    origins: Origins
    rate_limiter: RateLimiter
    arguments: FieldArguments
    shutdown: Shutdown

    async def respond(
        self, request: Request, session: Annotated[Session, Depends(get_session)]
    ) -> Response:
        given = headers.read(request.scope)
        media = best(given.get("accept") or "*/*", _MEDIA_TYPES)
        if media is None:
            message = f"Not acceptable. Supported media types: {', '.join(_MEDIA_TYPES)}."
            raise RequestError("NOT_ACCEPTABLE", message, 406)
        self.origins.check_origin(given)
        context = await self.guard.authenticate(request.scope, given.get("authorization"))
        quota = await self.rate_limiter.acquire(context.throttled_as)
        current_operation.set(context)
        try:
            portions = export_users(session, await self._filter(request.scope, context))
            if request.method == "HEAD":
                return StreamingResponse(iter(()), headers=_HEADERS | quota, media_type=media)
            with self.rate_limiter.connection_slot(context.throttled_as):
                first = await self._first(portions)
        except GraphQLError as error:
            raise _with(quota, OperationRejected([error], context)) from None
        except RequestError as refused:
            raise _with(quota, refused) from None
        return _ExportResponse(
            self._lines(request.scope, context, first, portions),
            self.rate_limiter.connection_slot(context.throttled_as),
            headers=_HEADERS | quota,
            media_type=media,
        )

    async def _filter(self, scope: Scope, context: Context) -> UserFilter:
        arguments = self.arguments.read(_parameters(scope), context)
        keys = context.keys if policy.can_read_any(context.caller) else None
        readable = policy.readable_users(context.caller)
        searched = await read_search(arguments.get("search"), keys)
        return await read_filter(arguments.get("filter"), searched, keys, readable)

    async def _first(self, portions: Portions) -> Sequence[ExportedUser] | None:
        # A failure up to here is answered with its own status.
        self.shutdown.check()
        self.rate_limiter.begin_operation()
        try:
            return await anext(portions, None)
        finally:
            self.rate_limiter.end_operation()

    async def _lines(
        self,
        scope: Scope,
        context: Context,
        first: Sequence[ExportedUser] | None,
        portions: Portions,
    ) -> AsyncGenerator[bytes, None]:
        rejection = asyncio.ensure_future(self.guard.wait_until_rejected(scope, context))
        try:
            async for users in self._until_rejected(first, portions, rejection):
                yield as_ndjson(users)
        except Exception as error:  # noqa: BLE001 - raised again: the server cuts the connection
            raise server_error(error, context.request_id) from None
        finally:
            rejection.cancel()
            await portions.aclose()

    async def _until_rejected(
        self,
        users: Sequence[ExportedUser] | None,
        portions: Portions,
        rejection: "asyncio.Future[RequestError]",
    ) -> Portions:
        while users is not None:
            yield users
            if rejection.done():
                raise rejection.result()
            with self.shutdown.interruptible():
                users = await anext(portions, None)


class _ExportResponse(StreamingResponse):
    """Ends the stream, and frees its connection slot, when the client has disconnected."""

    def __init__(
        self,
        lines: AsyncGenerator[bytes, None],
        slot: AbstractContextManager[None],
        **options: Any,
    ) -> None:
        super().__init__(lines, **options)
        self._lines = lines
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slot:
            async with aclosing(self._lines):
                await super().__call__(scope, receive, send)


def _parameters(scope: Scope) -> dict[str, Any]:
    try:
        pairs = QueryParams(scope["query_string"]).multi_items()
    except ValueError:  # for example, too many parameters
        raise InvalidRequest("The query string is not valid.") from None
    found: dict[str, Any] = {}
    for name, text in pairs:
        # An export with a misspelt filter would contain more than was asked for.
        if name not in PARAMETERS:
            raise InvalidRequest("Unknown parameter. Supported parameters: filter, search.")
        if name in found:
            raise InvalidRequest(f"The parameter `{name}` is given twice.")
        if text != "":
            found[name] = _json(text) if name == "filter" else text
    return found


def _json(text: str) -> Any:
    try:
        return read_json(text.encode("utf-8", "surrogatepass"))
    except InvalidRequest as error:
        if error.code != "BAD_REQUEST":
            raise
        raise InvalidRequest("`filter` is not valid JSON.") from None


def _with(quota: Mapping[str, str], refused: RequestError) -> RequestError:
    refused.headers = {**quota, **refused.headers}
    return refused
