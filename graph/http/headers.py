"""Reads the request headers that Roster uses, in one pass over all headers."""

from typing import Final

from starlette.types import Scope

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
        "sec-fetch-site",
        "x-apollo-operation-name",
        "x-request-id",
    )
}


def read(scope: Scope) -> dict[str, str]:
    """Return headers by name. Of a repeated header the first counts, as in `Headers.get`.

    Repeated `Accept` headers are joined to one list (RFC 9110, section 5.2).
    """
    # ASGI requires names in lower case.
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = _READ.get(raw)
        if name is None:
            continue
        if name not in found:
            found[name] = value.decode("latin-1")
        elif name == "accept":
            found[name] += f", {value.decode('latin-1')}"
    return found
