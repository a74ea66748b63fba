"""CORS: allows pages of other origins to read responses."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.http import headers
from graph.http.origins import RawHeader
from graph.http.responses import plain_error_response
from graph.protocol.errors import RequestError

# Of a request that is rejected. Returns how to allow its origin; None in production.
Explain = Callable[[Headers], str | None]

_PREFLIGHTS: Final = {
    "allow_methods": ["GET", "POST"],
    # Any header is allowed. Roster uses no cookies, so a header grants a page no extra rights,
    # and tracing and client libraries add headers of their own.
    "allow_headers": ["*"],
    "max_age": 7200,
}
_ALLOWED: Final = b"access-control-allow-origin"
_EXPOSED: Final = (
    b"access-control-expose-headers",
    b"ratelimit, ratelimit-policy, retry-after, roster-position, x-request-id",
)
_GRANTS: Final = frozenset({_ALLOWED, _EXPOSED[0]})
_VARIES: Final = (b"vary", b"Origin")


class CrossOrigin:
    """Adds the CORS headers to responses. Starlette's middleware responds to preflights."""

    # Starlette's middleware parses the headers of each request and response, which increases the
    # CPU time of a lookup by id by a tenth. So it only gets the preflights.

    def __init__(self, app: ASGIApp, /, origins: Sequence[str], explain: Explain) -> None:
        self._app = app
        self._preflights = _Preflights(app, explain, allow_origins=origins, **_PREFLIGHTS)
        self._grants = {o: [(_ALLOWED, o.encode()), _EXPOSED, _VARIES] for o in origins}

    # Not a coroutine function: each one around a request is resumed whenever the request is.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        if scope["method"] == "OPTIONS" and "origin" in headers.read(scope):
            return self._preflights(scope, receive, send)
        if not self._grants:
            return self._app(scope, receive, send)
        # A response to a request without an origin varies too: a cache must not send it to a page.
        granted = self._grants.get(headers.read(scope).get("origin", ""), [_VARIES])

        def send_granted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = _granted(message.get("headers", ()), granted)
            return send(message)

        return self._app(scope, receive, send_granted)


def _granted(own: Sequence[RawHeader], granted: Sequence[RawHeader]) -> list[RawHeader]:
    return [*(header for header in own if header[0].lower() not in _GRANTS), *granted]


class _Preflights(CORSMiddleware):
    """A rejected preflight has the form of all other errors."""

    def __init__(self, app: ASGIApp, explain: Explain, **options: Any) -> None:
        super().__init__(app, **options)
        self._explain = explain

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        kept = {n: v for n, v in response.headers.items() if not n.startswith("content-")}
        message = (
            "ROSTER_CORS_ORIGINS does not list this origin, or its pages may not send a request "
            "with this method and these headers."
        )
        if not self.is_allowed_origin(request_headers["origin"]):
            message = self._explain(request_headers) or message
        refused = RequestError("CROSS_ORIGIN", message, response.status_code)
        refused.headers = kept
        return plain_error_response(refused)
