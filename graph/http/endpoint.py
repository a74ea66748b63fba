"""GraphQL over HTTP: one path, by GET and POST, as JSON or as Server-Sent Events.

https://graphql.github.io/graphql-over-http/draft/ has the rules; graphql-http's audits try them.
"""

import re
from asyncio import CancelledError
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from graphql import OperationType
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from db.time_slices import pause_if_due
from graph.api.context import Context
from graph.api.errors import fault
from graph.auth.guard import Guard
from graph.execution.schema import Schema
from graph.http import headers, middleware, negotiation
from graph.http.batching import BatchExecutor
from graph.http.body import BodyLimits, read_get, read_post
from graph.http.negotiation import EVENTS, GRAPHQL, HTML, JSON
from graph.http.origins import Origins, Security
from graph.http.sse import events, refusal
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.json import dumps
from graph.protocol.request import Request
from graph.shutdown import MAY_BE_DONE, Shutdown, shutting_down
from graph.streaming.streams import ResultStreams
from graph.uvicorn_adapter.http import WHOLE, Whole

_PAGE: Final = (files("graph.http") / "graphiql.html").read_text("utf-8")
_SCRIPTS: Final = " ".join(
    f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
    for script in re.findall(r"(?s)<script>(.*?)</script>", _PAGE)
)
# GraphiQL's editor sets styles as it goes, and has its icons and fonts in its own files.
_PAGE_POLICY: Final = (
    f"default-src 'none'; script-src 'self' {_SCRIPTS}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


_WHOLE: Final = 1024 * 1024  # bytes that are written at once


def _utf_8(media: str) -> str:
    return f"{media}; charset=utf-8"


class Answer(Response):
    """A body that is there. Starlette makes the headers of each anew, out of text."""

    def __init__(self, body: bytes, status: int, media: str, headers: Mapping[str, str]) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [
            (b"content-type", _utf_8(media).encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        for name, value in headers.items():
            self.raw_headers.append((name.encode(), value.encode()))

    def written(self, scope: Scope, send: Send, more: bytes) -> bool:
        """Tell whether it could be written at once, with `more` lines of headers.

        What is refused can be the end of the connection, of which these know nothing.
        """
        whole: Whole | None = scope.get("extensions", {}).get(WHOLE)
        if whole is None or self.status_code != HTTPStatus.OK:
            return False
        return whole.write(send, self.raw_headers, more, bytes(self.body))


@dataclass(frozen=True, slots=True)
class GraphQLEndpoint:
    """An ASGI application. `graphiql` gives browsers a page instead of an answer."""

    guard: Guard
    origins: Origins
    rate_limiter: RateLimiter
    schema: Schema
    live: ResultStreams
    batches: BatchExecutor
    limits: BodyLimits
    security: Security
    shutdown: Shutdown
    graphiql: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = headers.read(scope)
        request_id = middleware.name(scope, given.get("x-request-id", ""))
        try:
            response = await self._answer(scope, receive, given)
        except CancelledError:  # the server does not wait for the end of the grace period
            await self._send(
                _rejection(shutting_down(MAY_BE_DONE), JSON), scope, receive, send, request_id
            )
            raise
        await self._send(response, scope, receive, send, request_id)

    async def _send(
        self, response: Response, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> None:
        response.raw_headers.append((b"x-request-id", request_id.encode()))
        if isinstance(response, Answer) and response.written(scope, send, self.security.lines):
            return
        response.raw_headers = self.security.added_to(response.raw_headers)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, given: Mapping[str, str]) -> Response:
        media = JSON
        try:
            page = self.graphiql and scope["method"] == "GET"
            media = _negotiated(given.get("accept") or "*/*", page=page)
            if media == HTML:
                self.origins.check_host(given)
                policy = {"content-security-policy": _PAGE_POLICY}
                return Response(_PAGE, media_type=HTML, headers=policy)
            self.origins.check(given)
            with self.shutdown.interruptible():
                return await self._respond(scope, receive, given, media)
        except Exception as error:  # noqa: BLE001 - each request has an answer that can be read
            return _rejection(fault(error, scope["state"]["request_id"]), media)

    async def _respond(
        self, scope: Scope, receive: Receive, given: Mapping[str, str], media: str
    ) -> Response:
        if scope["method"] not in {"GET", "POST"}:
            raise _not_allowed("GET, POST", "Requests are sent by GET or POST.")
        context = await self.guard.authenticate(scope, given.get("authorization"))
        if media == EVENTS:
            context.last_event_id = given.get("last-event-id") or None
        quota = self.rate_limiter.acquire(context.throttled_as)
        try:
            if scope["method"] == "GET":
                request = read_get(scope)
            else:
                sent = await read_post(given, receive, self.limits)
                if batch := self.batches.of(sent):
                    return await self._batch(scope, batch, media, context, quota)
                request = Request.of(sent)
            return await self._admitted(scope, request, media, context, quota)
        except RequestError as refused:
            refused.headers = {**quota, **refused.headers}
            raise

    async def _admitted(
        self,
        scope: Scope,
        request: Request,
        media: str,
        context: Context,
        quota: Mapping[str, str],
    ) -> Response:
        operation = await self.schema.prepare(request, context)
        if scope["method"] == "GET" and operation.type is OperationType.MUTATION:
            raise _not_allowed("POST", "A mutation has to be sent by POST.")
        if media == EVENTS:
            ended = partial(self.guard.wait_until_rejected, scope, context)
            counted = self.rate_limiter.connection_slot(context.throttled_as)
            stream = events(self.live, operation, ended, counted, self.shutdown)
            headers = {"x-accel-buffering": "no", **quota}
            return StreamingResponse(stream, media_type=EVENTS, headers=headers)
        if operation.type is OperationType.SUBSCRIPTION:
            message = f"A subscription goes over WebSocket, or by Accept: {EVENTS}."
            raise InvalidRequest(message, "SUBSCRIPTION_NOT_STREAMED")
        return _answer(await operation.run(), media, quota)

    async def _batch(
        self,
        scope: Scope,
        batch: Sequence[object],
        media: str,
        context: Context,
        quota: Mapping[str, str],
    ) -> Response:
        if media == EVENTS:
            raise InvalidRequest(f"A batch is answered as {JSON}, and not by a stream.")
        parts, left = await self.batches.answer(scope, context, batch, quota)
        return _answer(parts, JSON, left)


def _answer(parts: Sequence[bytes], media: str, quota: Mapping[str, str]) -> Response:
    if sum(map(len, parts)) <= _WHOLE:
        return Answer(b"".join(parts) if len(parts) > 1 else parts[0], 200, media, quota)
    length = {"content-length": str(sum(map(len, parts))), "content-type": _utf_8(media)}
    return StreamingResponse(_in_turn(parts), headers={**length, **quota})


async def _in_turn(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        await pause_if_due()
        yield part


def _negotiated(accept: str, *, page: bool) -> str:
    media = negotiation.offered(accept, page=page)
    if media is None:
        message = f"There are {GRAPHQL}, {JSON} and {EVENTS}."
        raise RequestError("NOT_ACCEPTABLE", message, 406)
    return media


def _rejection(refused: RequestError, media: str) -> Response:
    """Tell why not. Old clients take `application/json` to come from GraphQL only with 200.

    A stream's client reads nothing but streams: there the errors of GraphQL are its one result, as
    in graphql-sse.
    """
    if media == EVENTS and refused.is_about_graphql:
        return Response(refusal(refused), media_type=EVENTS, headers=refused.headers)
    media = GRAPHQL if media == GRAPHQL else JSON
    status = HTTPStatus.OK if media == JSON and refused.is_about_graphql else refused.status
    return Answer(dumps({"errors": refused.errors}), status, media, refused.headers)


def _not_allowed(methods: str, message: str) -> RequestError:
    return RequestError("METHOD_NOT_ALLOWED", message, 405, {"allow": methods})
