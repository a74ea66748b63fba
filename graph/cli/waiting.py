"""Answers on the port of `roster serve` while it waits for its database.

An orchestrator sees a process that lives, and has neither started nor is ready. Clients are asked
to try again.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from starlette.responses import JSONResponse

from graph.api.errors import RETRY, TRY_AGAIN, UNAVAILABLE, UNREACHABLE
from graph.http.health import live
from graph.http.middleware import CommonMiddleware
from graph.http.origins import Origins, SecurityHeaders
from graph.http.responses import plain_error_response
from graph.protocol.errors import RequestError
from graph.shutdown import Shutdown
from graph.websocket.close_codes import CloseCode

_METHODS: Final = ["GET", "HEAD", "POST", "OPTIONS"]
_REASON: Final = f"{UNREACHABLE} {TRY_AGAIN}"


def waiting_app() -> FastAPI:
    app = FastAPI(
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.add_api_route("/health/live", live, methods=["GET", "HEAD"])
    app.add_api_route("/health/started", _not_ready, methods=["GET", "HEAD"])
    app.add_api_route("/health/ready", _not_ready, methods=["GET", "HEAD"])
    app.add_api_route("/{path:path}", _unavailable, methods=_METHODS)
    app.add_api_websocket_route("/{path:path}", _close)
    app.add_middleware(
        CommonMiddleware,
        origins=Origins(None, frozenset()),
        security=SecurityHeaders(https_only=False),
        shutdown=Shutdown(0),
    )
    return app


async def _not_ready() -> Response:
    status = {"status": "waiting", "database": "unreachable"}
    return JSONResponse(status, HTTPStatus.SERVICE_UNAVAILABLE)


async def _unavailable(_: Request) -> Response:
    return plain_error_response(RequestError(UNAVAILABLE, _REASON, 503, RETRY))


async def _close(websocket: WebSocket) -> None:
    await websocket.accept(next(iter(websocket.scope["subprotocols"]), None))
    await websocket.close(CloseCode.TRY_AGAIN_LATER, _REASON)


@asynccontextmanager
async def answering(
    config: uvicorn.Config, listening: Callable[[], socket.socket]
) -> AsyncIterator[None]:
    """Answer on a listening socket, which stays open afterwards.

    A signal ends the process, as it does without a server.
    """
    server = uvicorn.Server(config)
    # uvicorn closes its sockets. Connections that nobody has accepted wait for the next server.
    serving = asyncio.create_task(server.serve(sockets=[listening().dup()]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
