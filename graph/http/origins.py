"""What stands between this server and the pages of other sites."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.protocol.errors import RequestError

RawHeader = tuple[bytes, bytes]
# https://owasp.org/www-project-secure-headers/ has the list and the values.
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-dns-prefetch-control": "off",
    "x-frame-options": "deny",
    "x-permitted-cross-domain-policies": "none",
}
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_HSTS: Final = "max-age=31536000; includeSubDomains"
_HEALTH: Final = frozenset({"/health/live", "/health/ready"})
# Either makes a browser ask before it sends a request from another site; Apollo Router's names.
_PREFLIGHT: Final = ("apollo-require-preflight", "x-apollo-operation-name")


class Security:
    """The headers themselves; with `transport` also that it is to be asked by HTTPS alone."""

    def __init__(self, *, transport: bool) -> None:
        given = dict(SECURITY_HEADERS) | ({"strict-transport-security": _HSTS} if transport else {})
        self._headers = [(name.encode(), value.encode()) for name, value in given.items()]
        self.lines = b"".join(b"%b: %b\r\n" % header for header in self._headers)

    def added_to(self, own: Iterable[RawHeader]) -> list[RawHeader]:
        """Give an answer's own headers, and those that it has not."""
        own = list(own)
        names = {name.lower() for name, _ in own}
        return own + [header for header in self._headers if header[0] not in names]


class SecurityHeaders:
    """Adds them to every answer."""

    def __init__(self, app: ASGIApp, security: Security) -> None:
        self.app = app
        self.security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self.security.added_to(message["headers"])
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class Origins:
    """Who may ask: hosts by which the server is known, and origins whose pages may read it.

    Without `hosts` any Host is right; `*.example.com` stands for all names below that. A page of
    this server's own is always welcome.
    """

    def __init__(self, hosts: frozenset[str] | None, origins: frozenset[str]) -> None:
        self._hosts = hosts and frozenset(_name(host) for host in hosts)
        self._domains = tuple(host[1:] for host in self._hosts or () if host.startswith("*."))
        self._origins = origins

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raise RequestError for a wrong Host.

        That is how a page reaches a server of its reader's own machine: by pointing its own name
        there.
        """
        if self._hosts is None:
            return
        name = _name(headers.get("host", ""))
        if name not in self._hosts and not name.endswith(self._domains):
            raise RequestError("WRONG_HOST", "This server is not known by that name.", 421)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise RequestError for a wrong Host, and for what another site's page has sent."""
        self.check_host(headers)
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and origin not in self._origins and not _same(origin, host):
            message = (
                "Pages of this origin are not allowed. ROSTER_CORS_ORIGINS lists those that are."
            )
            raise RequestError("CROSS_ORIGIN", message, 403)
        # A browser says so itself where a page elsewhere has made it ask without a preflight.
        elsewhere = headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
        if elsewhere and origin is None and not any(headers.get(name) for name in _PREFLIGHT):
            names = " or ".join(_PREFLIGHT)
            message = f"A request from another site needs the header {names}."
            raise RequestError("CSRF_PREVENTION", message, 403)


class CrossOrigin(CORSMiddleware):
    """Starlette's answers to preflights, with a refusal in the form of all other errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        kept = {n: v for n, v in response.headers.items() if not n.startswith("content-")}
        message = (
            "ROSTER_CORS_ORIGINS does not list this origin, or its pages may not send a request "
            "with this method and these headers."
        )
        refused = RequestError("CROSS_ORIGIN", message, response.status_code)
        return JSONResponse({"errors": refused.errors}, refused.status, kept)


class KnownHosts:
    """Refuses a wrong Host on every path but health, which a balancer asks for by any address."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self.app = app
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _HEALTH:
            try:
                self.origins.check_host(Headers(scope=scope))
            except RequestError as refused:
                answer = JSONResponse({"errors": refused.errors}, refused.status)
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)


@lru_cache(maxsize=16)  # nearly all requests have the same
def _name(host: str) -> str:
    """Give a host without its port, and without the dot that names may end with."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.lower().removesuffix(".")


def _same(origin: str, host: str) -> bool:
    """Compare an origin with a Host, which may leave out the port that the scheme implies."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(parts.scheme, "")
    own, asked = (name.lower().removesuffix(port) for name in (parts.netloc, host))
    return own == asked != ""
