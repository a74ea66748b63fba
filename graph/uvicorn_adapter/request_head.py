"""Validates the head of a request (RFC 9112) before the application sees it.

Exception
└── MalformedRequest  the request is rejected with 400
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

Headers = list[tuple[bytes, bytes]]

# uri-host [ ":" port ] of RFC 3986, without IPvFuture. An empty host is valid.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)
_VERSIONS: Final = ("1.1", "1.0")
_UPGRADE_HEADERS: Final = frozenset({b"upgrade", b"http2-settings"})


class MalformedRequest(Exception):
    """The request is rejected with 400. The client receives the message."""


def checked_target(method: bytes, version: str, target: bytes, headers: Headers) -> bytes:
    """Return the target in origin form. Raises MalformedRequest.

    The host of an absolute target replaces the Host header in `headers` (RFC 9112, section 3.2.2).
    """
    if version not in _VERSIONS:
        raise MalformedRequest("The HTTP version must be 1.1 or 1.0.")
    if method == b"CONNECT":
        raise MalformedRequest("CONNECT is not supported.")
    _check_fields(version, headers)
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _is_host(absolute[1]):
        raise MalformedRequest("The request target must be a path or an http URL.")
    headers[:] = [header for header in headers if header[0] != b"host"]
    headers.append((b"host", absolute[1]))
    return absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]


def _check_fields(version: str, headers: Headers) -> None:
    host: bytes | None = None
    for name, value in headers:
        if name == b"host":
            if host is not None:
                raise MalformedRequest("A request must have exactly one Host header.")
            host = value
        elif name == b"transfer-encoding" and (version == "1.0" or value.lower() != b"chunked"):
            # llhttp rejects a second `chunked`. A proxy and this server could interpret any other
            # coding differently, which allows request smuggling.
            raise MalformedRequest("Transfer-Encoding must be `chunked`, in HTTP/1.1.")
    if host is None:
        if version == "1.1":  # RFC 9112, section 3.2
            raise MalformedRequest("A request must have a Host header.")
    elif not _is_host(host):
        raise MalformedRequest("The Host header must be a host name with an optional port.")


@lru_cache(maxsize=16)  # nearly all requests have the same Host
def _is_host(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


def is_websocket_handshake(method: bytes, version: str, headers: Headers) -> bool:
    """Return whether a request is a WebSocket handshake: HTTP/1.1, GET, without a body.

    A server may ignore any other upgrade (RFC 9110, section 7.8).
    """
    return (
        method == b"GET"
        and version == "1.1"
        and [value.lower() for value in _values(headers, b"upgrade")] == [b"websocket"]
        and bool(_values(headers, b"sec-websocket-key"))
        and not _values(headers, b"transfer-encoding")
        and set(_values(headers, b"content-length")) <= {b"0"}
    )


def without_upgrade(method: bytes, version: str, target: bytes, headers: Headers) -> bytes:
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"%b: %b" % header for header in _without_upgrade(headers)]
    return b"\r\n".join([*lines, b"", b""])


def _without_upgrade(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        if name in _UPGRADE_HEADERS:
            continue
        if name != b"connection":
            yield name, value
        elif kept := b", ".join(_other_options(value.split(b","))):
            yield name, kept


def _other_options(options: Iterable[bytes]) -> Iterator[bytes]:
    for option in map(bytes.strip, options):
        if option and option.lower() not in _UPGRADE_HEADERS:
            yield option


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for each, value in headers if each == name]
