"""The HTTP around GraphQL: request ids, health, and GraphiQL's files."""

import os
import re
from contextlib import suppress
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.errors import is_read_only, is_unreachable
from graph.api.errors import fault
from graph.protocol.errors import RequestError
from graph.shutdown import Shutdown

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The package holds GraphiQL's published bundles and nothing that runs here; ADR 1.
GRAPHIQL_FILES = files("graphene_django_graphiql_static") / (
    "static/graphene_django_graphiql_static"
)


def name(scope: Scope, given: str) -> str:
    """Name a request: by its `X-Request-Id` where that is a plain one, else by a new one."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        state["request_id"] = (
            given if given and _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        )
    request_id: str = state["request_id"]
    return request_id


_HTTP_ERRORS: Final = {
    HTTPStatus.NOT_FOUND: ("NOT_FOUND", "There is nothing at this path."),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "METHOD_NOT_ALLOWED",
        "This path does not take this method. `Allow` has those that it takes.",
    ),
}


def http_error(_: Request, error: Exception) -> Response:
    """Answer what Starlette's router refuses, in the form of all other errors."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code, message = _HTTP_ERRORS.get(status, (status.name, f"{status.phrase}."))
    refused = RequestError(code, message, status)
    return JSONResponse({"errors": refused.errors}, status, error.headers)


class RequestId:
    """Names each request, and its answer after it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        request_id = name(scope, Headers(scope=scope).get("x-request-id", ""))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


class Interruption:
    """Answers 503 to requests that outlive the grace period of a server that stops."""

    def __init__(self, app: ASGIApp, shutdown: Shutdown) -> None:
        self.app = app
        self.shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            with self.shutdown.interruptible():
                await self.app(scope, receive, send_and_note)
        except RequestError as refused:
            if not is_answered:
                answer = JSONResponse({"errors": refused.errors}, refused.status, refused.headers)
                await answer(scope, receive, send)


class Faults:
    """Answers what fails in a way that nobody has thought of: by JSON, or by closing the socket."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        is_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            refused = fault(error, scope.get("state", {}).get("request_id"))
            if scope["type"] == "websocket":
                with suppress(OSError, RuntimeError):  # it is closed already
                    await send({"type": "websocket.close", "code": 1011, "reason": refused.message})
            elif is_begun:
                raise  # so that the server cuts the connection: the client sees that it has no end
            else:
                answer = {"errors": refused.errors}
                response = JSONResponse(answer, refused.status, headers=refused.headers)
                await response(scope, receive, send)


health = APIRouter(prefix="/health")


@health.api_route("/live", methods=["GET", "HEAD"])
async def live() -> dict[str, str]:
    """Tell that the process runs."""
    return {"status": "ok"}


@health.api_route("/ready", methods=["GET", "HEAD"])
async def ready(request: Request, response: Response) -> dict[str, Any]:
    """Return whether the database answers and takes writes: 200, or 503."""
    try:
        await request.app.state.database.ping()
    except Exception as error:
        if not is_unreachable(error):
            raise
        response.status_code = 503
        reason = "read-only" if is_read_only(error) else "unreachable"
        return {"status": "unavailable", "database": reason}
    return {"status": "ok", "database": "ok"}
