"""Protection against pages of other sites: Host and Origin checks, CORS, security headers."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from graph.http.responses import plain_error_response
from graph.protocol.errors import RequestError

RawHeader = tuple[bytes, bytes]
# Source of the names and values: https://owasp.org/www-project-secure-headers/
SECURITY_HEADERS: Final = {
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
# A cross-site request with one of these headers requires a CORS preflight. The names are those of
# Apollo Router.
_PREFLIGHT: Final = ("apollo-require-preflight", "x-apollo-operation-name")


class SecurityHeaders:
    """Adds the security headers and the request id to responses."""

    def __init__(self, *, https_only: bool) -> None:
        given = SECURITY_HEADERS | ({"strict-transport-security": _HSTS} if https_only else {})
        self._headers = [(name.encode(), value.encode()) for name, value in given.items()]
        self._names = frozenset([*(name for name, _ in self._headers), b"x-request-id"])

    def added_to(self, own: Iterable[RawHeader], request_id: str) -> list[RawHeader]:
        """Return all headers of a response. Its own security headers take precedence."""
        own, named = list(own), (b"x-request-id", request_id.encode())
        names = {name.lower() for name, _ in own}
        if names.isdisjoint(self._names):
            return [*own, named, *self._headers]
        kept = [header for header in own if header[0].lower() != b"x-request-id"]
        return [*kept, named, *(header for header in self._headers if header[0] not in names)]


class Origins:
    """The allowed Host headers, and the origins whose pages may send requests.

    Without `hosts`, any Host is allowed. `*.example.com` allows all subdomains. Pages of the
    server's own origin are always allowed.
    """

    def __init__(self, hosts: frozenset[str] | None, origins: frozenset[str]) -> None:
        self._hosts = hosts and frozenset(_name(host) for host in hosts)
        self._domains = tuple(host[1:] for host in self._hosts or () if host.startswith("*."))
        self._origins = origins

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raise RequestError (421) for a Host that is not allowed."""
        # Prevents DNS rebinding: a page resolves its own host name to 127.0.0.1, to reach a server
        # on the machine of its visitor.
        if self._hosts is None:
            return
        name = _name(headers.get("host", ""))
        if name not in self._hosts and not name.endswith(self._domains):
            raise RequestError(
                "WRONG_HOST",
                "This host name is not allowed. ROSTER_ALLOWED_HOSTS lists the allowed ones.",
                421,
            )

    def check(self, headers: Mapping[str, str]) -> None:
        self.check_host(headers)
        self.check_origin(headers)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and origin not in self._origins and not _same(origin, host):
            message = (
                "Pages of this origin are not allowed. ROSTER_CORS_ORIGINS lists those that are."
            )
            raise RequestError("CROSS_ORIGIN", message, 403)
        # Browsers send no Origin with a simple cross-site GET, but they mark it by Sec-Fetch-Site.
        elsewhere = headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
        if elsewhere and origin is None and not any(headers.get(name) for name in _PREFLIGHT):
            names = " or ".join(_PREFLIGHT)
            message = f"A request from another site needs the header {names}."
            raise RequestError("CSRF_PREVENTION", message, 403)


class CrossOrigin(CORSMiddleware):
    """Starlette's CORS middleware. A rejected preflight has the form of all other errors."""

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
        refused.headers = kept
        return plain_error_response(refused)


@lru_cache(maxsize=16)  # nearly all requests have the same Host
def _name(host: str) -> str:
    """Return a host in lower case, without its port and the trailing dot of a DNS name."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.lower().removesuffix(".")


def _same(origin: str, host: str) -> bool:
    # The Host header can omit the default port of the scheme.
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(parts.scheme, "")
    own, asked = (name.lower().removesuffix(port) for name in (parts.netloc, host))
    return own == asked != ""
