"""The ASGI middleware around every request."""

import os
import re
from asyncio import CancelledError
from collections.abc import Awaitable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.api.errors import server_error
from graph.http import headers, health
from graph.http.origins import Origins, SecurityHeaders
from graph.http.responses import from_http_exception, plain_error_response
from graph.observation import RequestObserver
from graph.protocol.errors import RequestError
from graph.shutdown import MAY_BE_DONE, Shutdown, shutting_down

log = structlog.get_logger("roster")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CLOSE: Final = (b"connection", b"close")
_INTERNAL_ERROR: Final = 1011  # RFC 6455, section 7.4.1


class CommonMiddleware:
    """Handles concerns that all paths share.

    - assigns a request id (from `X-Request-Id`, or a new one) and returns it as a header
    - responds 421 to a Host that is not allowed, except for health checks: probes use any address
    - adds the security headers to each response
    - closes connections during the drain period, so that the next request reaches another server
    - responds 503 if the grace period of a shutdown ends before the response has started
    - responds to unhandled errors, unless the application has a handler for `Exception` or 500
    - logs an error of the lifespan

    Middleware that users add is outside of this one, so it sees these responses too.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Origins,
        security: SecurityHeaders,
        shutdown: Shutdown,
        observer: RequestObserver | None = None,
    ) -> None:
        self.app = app
        self.origins = origins
        self.security = security
        self.shutdown = shutdown
        self.observer = observer

    # Not a coroutine function: each one around a request is resumed whenever the request is.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            return self._http(scope, receive, send)
        if scope["type"] == "websocket":
            return self._websocket(scope, receive, send)
        return self._lifespan(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            # uvicorn gets the traceback as a text, whose values cannot be removed.
            log.exception("the application cannot start or end")
            raise

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = headers.read(scope)
        request_id = _set_request_id(scope, given)
        until_begun = self.shutdown.interruptible()
        status: int | None = None  # of the response, if it has begun
        code: str | None = None  # of the error that ends the request
        end = self.observer.begin(scope) if self.observer else None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                until_begun.leave()
                message["headers"] = self.security.added_to(message["headers"], request_id)
                if self.shutdown.is_draining:
                    message["headers"].append(_CLOSE)
            await send(message)

        try:
            with until_begun:
                if not _is_health_check(scope):
                    self.origins.check_host(given)
                await self.app(scope, receive, send_with_headers)
        except CancelledError:  # the server does not wait for the end of the grace period
            if status is None:
                response = plain_error_response(shutting_down(MAY_BE_DONE))
                await response(scope, receive, send_with_headers)
            raise
        except Exception as error:
            # If the response has started, the server closes the connection, so that the client
            # notices that the response is incomplete.
            code = error.code if isinstance(error, RequestError) else None
            if status is not None or _is_for_the_application(scope, error):
                raise
            refused = server_error(error, request_id)
            code = refused.code
            await plain_error_response(refused)(scope, receive, send_with_headers)
        finally:
            if end:
                end(status, code)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _set_request_id(scope, headers.read(scope))
        try:
            await self.app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - `server_error` logs it
            reason = server_error(error, request_id).message
            with suppress(OSError, RuntimeError):  # already closed
                await send({"type": "websocket.close", "code": _INTERNAL_ERROR, "reason": reason})


def _set_request_id(scope: Scope, given: dict[str, str]) -> str:
    asked = given.get("x-request-id", "")
    request_id = asked if asked and _REQUEST_ID.fullmatch(asked) else os.urandom(16).hex()
    scope.setdefault("state", {})["request_id"] = request_id
    return request_id


def _is_health_check(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) in health.PATHS


def _is_for_the_application(scope: Scope, error: Exception) -> bool:
    if isinstance(error, RequestError):
        return False
    handlers = scope["app"].exception_handlers
    return Exception in handlers or HTTPStatus.INTERNAL_SERVER_ERROR in handlers


def http_error(_: Request, error: Exception) -> Response:
    """Convert an HTTPException, such as the router's 404, to a response in GraphQL's form."""
    assert isinstance(error, HTTPException)
    return plain_error_response(from_http_exception(error))
