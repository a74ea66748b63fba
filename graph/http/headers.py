"""The headers of a request that something here reads, in one pass over all that there are."""

from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

_KEPT: Final = "roster_headers"
_READ: Final = {
    name.encode(): name
    for name in (
        "accept",
        "apollo-require-preflight",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "last-event-id",
        "origin",
        "roster-position",
        "sec-fetch-site",
        "x-apollo-operation-name",
        "x-request-id",
    )
}


def read(scope: Scope) -> dict[str, str]:
    """Return the headers by name: the first of several, as Starlette's `Headers.get` does.

    Several `Accept` are one list (RFC 9110, section 5.2). Names are in lower case by ASGI. The
    result is kept in the scope, because the middleware and the endpoint read the same headers.
    """
    raw_headers = scope["headers"]
    kept = scope.setdefault("state", {}).get(_KEPT)
    if kept is not None and kept[0] is raw_headers:
        headers: dict[str, str] = kept[1]
        return headers
    found = _parse(raw_headers)
    scope["state"][_KEPT] = (raw_headers, found)
    return found


def _parse(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw, value in raw_headers:
        name = _READ.get(raw)
        if name is None:
            continue
        if name not in found:
            found[name] = value.decode("latin-1")
        elif name == "accept":
            found[name] += f", {value.decode('latin-1')}"
    return found
