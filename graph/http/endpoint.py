"""GraphQL over HTTP: one path, GET and POST, with JSON or Server-Sent Events as response.

Specification: https://graphql.github.io/graphql-over-http/draft/. The audits of the package
graphql-http test it.
"""

from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from graphql import OperationType
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from graph.api.context import Context
from graph.api.errors import server_error
from graph.auth.guard import Guard
from graph.execution.schema import Schema
from graph.http import headers, negotiation
from graph.http.batching import BatchExecutor
from graph.http.body import BodyLimits, read_get, read_post
from graph.http.negotiation import EVENTS, GRAPHQL, HTML, JSON
from graph.http.origins import Origins
from graph.http.responses import error_response, from_http_exception, result_response
from graph.http.sse import events
from graph.limits.throttle import RateLimiter
from graph.observation import ObservedOperation, Operations
from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.request import Request
from graph.shutdown import Shutdown
from graph.streaming.streams import ResultStreams

POSITION_HEADER: Final = "roster-position"  # of requests and responses


@dataclass(frozen=True, slots=True)
class GraphQLEndpoint:
    """Responds to GET and POST. Browsers that open the address get a page, and execute nothing.

    `page` returns it for a scope. With `needs_token`, a request with credentials gets no page.
    """

    guard: Guard
    origins: Origins
    rate_limiter: RateLimiter
    schema: Schema
    live: ResultStreams
    batches: BatchExecutor
    limits: BodyLimits
    shutdown: Shutdown
    page: Callable[[Scope], Response]
    needs_token: bool
    operations: Operations

    async def respond(self, request: HTTPRequest) -> Response:
        given = headers.read(request.scope)
        media = JSON
        observed = None
        try:
            page = request.method == "GET" and not (self.needs_token and "authorization" in given)
            media = _negotiated(given.get("accept") or "*/*", page=page)
            if media == HTML:
                return self.page(request.scope)
            observed = self.operations.begin("sse" if media == EVENTS else "http")
            self.origins.check_origin(given)
            return await self._respond(request, given, media, observed)
        except HTTPException as error:  # from a middleware's `receive`
            refused = from_http_exception(error)
        except Exception as error:  # noqa: BLE001 - each error becomes a GraphQL response
            refused = server_error(error, request.scope["state"]["request_id"])
        except CancelledError:
            if observed:
                observed.end()
            raise
        self.operations.reject(observed or self.operations.begin("http"), refused)
        return error_response(refused, media)

    async def _respond(
        self,
        http: HTTPRequest,
        given: Mapping[str, str],
        media: str,
        observed: ObservedOperation | None,
    ) -> Response:
        context = await self.guard.authenticate(http.scope, given.get("authorization"))
        context.observed = observed
        context.asked_position = given.get(POSITION_HEADER)
        if media == EVENTS:
            context.last_event_id = given.get("last-event-id") or None
        quota = await self.rate_limiter.acquire(context.throttled_as)
        try:
            if http.method == "GET":
                request = read_get(http.scope)
            else:
                sent = await read_post(given, http.receive, self.limits)
                if batch := self.batches.of(sent):
                    return await self._batch(http, batch, media, context, quota)
                request = Request.of(sent)
            return await self._admitted(http, request, media, context, quota)
        except RequestError as refused:
            refused.headers = {**quota, **refused.headers}
            raise

    async def _admitted(
        self,
        http: HTTPRequest,
        request: Request,
        media: str,
        context: Context,
        quota: Mapping[str, str],
    ) -> Response:
        operation = await self.schema.prepare(request, context)
        if http.method == "GET" and operation.type is OperationType.MUTATION:
            message = "A mutation must be sent by POST."
            raise RequestError("METHOD_NOT_ALLOWED", message, 405, {"allow": "POST"})
        if media == EVENTS:
            ended = partial(self.guard.wait_until_rejected, http.scope, context)
            counted = self.rate_limiter.connection_slot(context.throttled_as)
            stream = events(self.live, operation, ended, counted, self.shutdown)
            headers = {"x-accel-buffering": "no", **quota}
            return StreamingResponse(stream, media_type=EVENTS, headers=headers)
        if operation.type is OperationType.SUBSCRIPTION:
            message = f"A subscription needs WebSocket, or Accept: {EVENTS}."
            raise InvalidRequest(message, "SUBSCRIPTION_NOT_STREAMED")
        parts = await operation.run()
        if context.observed:
            context.observed.end()
        if context.position is not None:
            quota = {**quota, POSITION_HEADER: context.position}
        return result_response(parts, media, quota)

    async def _batch(
        self,
        http: HTTPRequest,
        batch: Sequence[object],
        media: str,
        context: Context,
        quota: Mapping[str, str],
    ) -> Response:
        if media == EVENTS:
            raise InvalidRequest(f"A batch is answered as {JSON}, not as a stream.")
        parts, left = await self.batches.answer(http.scope, context, batch, quota)
        if context.position is not None:
            left = {**left, POSITION_HEADER: context.position}
        return result_response(parts, JSON, left)


def _negotiated(accept: str, *, page: bool) -> str:
    media = negotiation.offered(accept, page=page)
    if media is None:
        message = f"Not acceptable. Supported media types: {JSON}, {GRAPHQL}, {EVENTS}."
        raise RequestError("NOT_ACCEPTABLE", message, 406)
    return media
