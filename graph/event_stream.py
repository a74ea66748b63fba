"""GraphQL over Server-Sent Events: one operation a request, by graphql-sse's distinct connections.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md has the events.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from starlette import requests
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from graph.context import Context
from graph.live import BadRequest, Live, Rejected, Request, dump

KEEP_ALIVE_SECONDS: Final = 12
_COMPLETE: Final = b"event: complete\ndata:\n\n"
_COME_BACK: Final = b"retry: 1000\n: service restart, come back with your last cursor\n\n"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventStream:
    """Answers requests that accept nothing but `text/event-stream`; passes on all others."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str,
        live: Live,
        context: Callable[[requests.Request], Awaitable[Context]],
    ) -> None:
        self.app = app
        self.path = path
        self.live = live
        self.context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != self.path
            or scope["method"] not in {"GET", "POST"}
            or not Headers(scope=scope).get("accept", "").startswith("text/event-stream")
        ):
            await self.app(scope, receive, send)
            return
        http = requests.Request(scope, receive)
        try:
            request = await _request(http)
        except BadRequest as error:
            answer = {"errors": [{"message": str(error), "extensions": {"code": "BAD_REQUEST"}}]}
            await JSONResponse(answer, status_code=400)(scope, receive, send)
            return
        events = self._events(request, await self.context(http))
        response = StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)
        await response(scope, receive, send)

    async def _events(self, request: Request, context: Context) -> AsyncGenerator[bytes, None]:
        coming = self.live.results(request, context)
        upcoming = asyncio.ensure_future(anext(coming, None))
        try:
            yield b":\n\n"  # so that the headers go out before anything happens
            while True:
                await asyncio.wait({upcoming}, timeout=KEEP_ALIVE_SECONDS)
                if not upcoming.done():
                    yield b":\n\n"
                    continue
                results = upcoming.result()
                if results is None:
                    break
                yield b"".join(_event(text) for text in results.texts)
                upcoming = asyncio.ensure_future(anext(coming, None))
            yield _COME_BACK if context.feed.stopping else _COMPLETE
        except Rejected as rejected:
            yield _event(dump({"errors": rejected.errors}))
            yield _COMPLETE
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
            await coming.aclose()


def _event(result: bytes) -> bytes:
    return b"event: next\ndata: %b\n\n" % result


async def _request(http: requests.Request) -> Request:
    if http.method == "GET":
        given = dict(http.query_params)
        if "variables" in given:
            return Request.of(given | {"variables": _json(given["variables"].encode())})
        return Request.of(given)
    if not http.headers.get("content-type", "").startswith("application/json"):
        raise BadRequest("The Content-Type has to be application/json.")
    return Request.of(_json(await http.body()))


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("The request is not JSON that can be read.") from None
