"""GraphQL over HTTP: one path, by GET and POST, as JSON or as Server-Sent Events.

https://graphql.github.io/graphql-over-http/draft/ has the rules; graphql-http's audits try them.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from graphql import OperationType
from starlette.datastructures import Headers
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from graph import negotiation
from graph.batches import Batches
from graph.browsers import Origins
from graph.context import Context
from graph.event_stream import events, refusal
from graph.execution import Execution, dump
from graph.gate import Gate
from graph.live import Live
from graph.negotiation import EVENTS, GRAPHQL, HTML, JSON
from graph.requests import BadRequest, BodyLimits, Refused, Request, read_get, read_post
from graph.throttle import Throttle

_PAGE: Final = (files("graph") / "graphiql.html").read_text("utf-8")
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


@dataclass(frozen=True, slots=True)
class Door:
    """An ASGI application. `graphiql` gives browsers a page instead of an answer."""

    gate: Gate
    origins: Origins
    throttle: Throttle
    execution: Execution
    live: Live
    batches: Batches
    limits: BodyLimits
    graphiql: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = Headers(scope=scope)
        accept = ", ".join(headers.getlist("accept")) or "*/*"
        media = self._media(scope, accept)
        if media is None:
            message = f"There are {GRAPHQL}, {JSON} and {EVENTS}."
            return _refusal(Refused("NOT_ACCEPTABLE", message, 406), JSON)
        try:
            if media == HTML:
                self.origins.check_host(headers)
                policy = {"content-security-policy": _PAGE_POLICY}
                return Response(_PAGE, media_type=HTML, headers=policy)
            self.origins.check(headers)
            return await self._respond(scope, receive, media)
        except Refused as refused:
            return _refusal(refused, media)

    def _media(self, scope: Scope, accept: str) -> str | None:
        offered = [JSON, GRAPHQL, EVENTS]
        if self.graphiql and scope["method"] == "GET" and negotiation.names(accept, HTML):
            offered.append(HTML)
        return negotiation.best(accept, offered)

    async def _respond(self, scope: Scope, receive: Receive, media: str) -> Response:
        if scope["method"] not in {"GET", "POST"}:
            raise _not_allowed("GET, POST", "Requests are sent by GET or POST.")
        context = await self.gate.context(HTTPRequest(scope))
        quota = await self.throttle.admit(context.throttled_as)
        try:
            return await self._admitted(scope, receive, media, context, quota)
        except Refused as refused:
            refused.headers = {**quota, **refused.headers}
            raise

    async def _admitted(
        self,
        scope: Scope,
        receive: Receive,
        media: str,
        context: Context,
        quota: Mapping[str, str],
    ) -> Response:
        request = await self._request(scope, receive)
        if not isinstance(request, Request):
            return await self._batch(HTTPRequest(scope), media, context, request, quota)
        operation = await self.execution.prepare(request, context)
        if scope["method"] == "GET" and operation.type is OperationType.MUTATION:
            raise _not_allowed("POST", "A mutation has to be sent by POST.")
        if media == EVENTS:
            ended = partial(self.gate.ended, HTTPRequest(scope), context)
            counted = self.throttle.connected(context.throttled_as)
            stream = events(self.live, operation, ended, counted)
            headers = {"x-accel-buffering": "no", **quota}
            return StreamingResponse(stream, media_type=EVENTS, headers=headers)
        if operation.type is OperationType.SUBSCRIPTION:
            message = f"A subscription goes over WebSocket, or by Accept: {EVENTS}."
            raise BadRequest(message, "SUBSCRIPTION_NOT_STREAMED")
        return _response(await self.execution.run(operation), 200, media, quota)

    async def _request(self, scope: Scope, receive: Receive) -> Request | Sequence[object]:
        if scope["method"] == "GET":
            return read_get(scope)
        given = await read_post(scope, receive, self.limits)
        return self.batches.of(given) or Request.of(given)

    async def _batch(
        self,
        sent: HTTPRequest,
        media: str,
        context: Context,
        batch: Sequence[object],
        quota: Mapping[str, str],
    ) -> Response:
        if media == EVENTS:
            raise BadRequest(f"A batch is answered as {JSON}, and not by a stream.")
        body, left = await self.batches.answer(sent, context, batch, quota)
        return _response(body, 200, JSON, left)


def _response(body: bytes, status: int, media: str, headers: Mapping[str, str]) -> Response:
    kind = {"content-type": f"{media}; charset=utf-8"}
    return Response(body, status, headers={**headers, **kind})


def _refusal(refused: Refused, media: str) -> Response:
    """Tell why not. Old clients take `application/json` to come from GraphQL only with 200.

    A stream's client reads nothing but streams: there the errors of GraphQL are its one result, as
    in graphql-sse.
    """
    if media == EVENTS and refused.is_about_graphql:
        return Response(refusal(refused), media_type=EVENTS, headers=refused.headers)
    media = GRAPHQL if media == GRAPHQL else JSON
    status = HTTPStatus.OK if media == JSON and refused.is_about_graphql else refused.status
    return _response(dump({"errors": refused.errors}), status, media, refused.headers)


def _not_allowed(methods: str, message: str) -> Refused:
    return Refused("METHOD_NOT_ALLOWED", message, 405, {"allow": methods})
