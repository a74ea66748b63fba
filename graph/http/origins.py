"""Protection against pages of other sites: Host and Origin checks, security headers."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from graph.http.hints import OriginHints
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
    server's own origin are always allowed. `hints` are the messages of development mode.
    """

    def __init__(
        self,
        hosts: frozenset[str] | None,
        origins: frozenset[str],
        hints: OriginHints | None = None,
    ) -> None:
        self._hosts = hosts and frozenset(_name(host) for host in hosts)
        self._domains = tuple(host[1:] for host in self._hosts or () if host.startswith("*."))
        self._origins = origins
        self._hints = hints

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raise RequestError (421) for a Host that is not allowed."""
        # Prevents DNS rebinding: a page resolves its own host name to 127.0.0.1, to reach a server
        # on the machine of its visitor.
        if self._hosts is None:
            return
        name = _name(headers.get("host", ""))
        if name not in self._hosts and not name.endswith(self._domains):
            message = "This host name is not allowed. ROSTER_ALLOWED_HOSTS lists the allowed ones."
            raise RequestError(
                "WRONG_HOST", self._hints.of_host(name) if self._hints else message, 421
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
            raise RequestError("CROSS_ORIGIN", self.explanation(headers) or message, 403)
        # Browsers send no Origin with a simple cross-site GET, but they mark it by Sec-Fetch-Site.
        elsewhere = headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
        if elsewhere and origin is None and not any(headers.get(name) for name in _PREFLIGHT):
            names = " or ".join(_PREFLIGHT)
            message = f"A request from another site needs the header {names}."
            raise RequestError("CSRF_PREVENTION", message, 403)

    def explanation(self, headers: Mapping[str, str]) -> str | None:
        """Return how to allow the origin of a request that is rejected; None in production."""
        if self._hints is None:
            return None
        return self._hints.of_origin(headers["origin"], headers.get("host", ""))


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
