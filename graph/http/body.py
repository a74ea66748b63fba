"""Reads GraphQL requests: a JSON object in the body of a POST, or the parameters of a GET.

Specification: https://graphql.github.io/graphql-over-http/draft/
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope

from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.json import read_json
from graph.protocol.request import Request

_UTF_8: Final = frozenset({"utf-8", "utf8"})  # many clients send the second, unregistered name
# The part of an oversized body that is read and discarded: 8 MiB, within a second.
_PAST_SIZE: Final = 8 * 2**20
_PAST_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The maximum size of a body in bytes, and the maximum time to receive it in seconds."""

    size: int
    seconds: float


async def read_post(headers: Mapping[str, str], receive: Receive, limits: BodyLimits) -> object:
    """Return the JSON value of a body. Raises RequestError: 400, 408, 413 or 415."""
    kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "identity")
    wrong = _wrong_type(kind, encoding)
    if wrong:
        raise RequestError("UNSUPPORTED_MEDIA_TYPE", wrong, 415)
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > len(str(limits.size)) or int(length) > limits.size):
        await _read_past(receive)
        raise _too_large(limits)
    return read_json(await _body(receive, limits))


def read_get(scope: Scope) -> Request:
    try:
        given: dict[str, Any] = dict(QueryParams(scope["query_string"]))
    except ValueError:  # for example, too many parameters
        raise InvalidRequest("The query string is not valid.") from None
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = read_json(given[name].encode("utf-8", "surrogatepass"))
    return Request.of({name: value for name, value in given.items() if value != ""})


@lru_cache(maxsize=16)  # nearly all requests have the same headers
def _wrong_type(kind: str, encoding: str) -> str | None:
    media, _, parameters = kind.partition(";")
    if media.strip().lower() != "application/json" or _charset(parameters) not in _UTF_8:
        return "The Content-Type must be application/json in UTF-8."
    if encoding.lower() != "identity":
        return "Compressed bodies are not supported."
    return None


def _charset(parameters: str) -> str:
    if not parameters:
        return "utf-8"
    named = {
        name.strip().lower(): value.strip().strip('"').lower()
        for name, _, value in (p.partition("=") for p in parameters.split(";"))
    }
    return named.get("charset", "utf-8")


async def _body(receive: Receive, limits: BodyLimits) -> bytes:
    try:
        async with asyncio.timeout(limits.seconds):
            return await _parts(receive, limits)
    except TimeoutError:
        message = f"The body must arrive within {limits.seconds:g} seconds."
        raise RequestError("BODY_TIMEOUT", message, 408, {"connection": "close"}) from None


async def _parts(receive: Receive, limits: BodyLimits) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        try:
            body += _part(message, len(body), limits)
        except RequestError:
            if message.get("more_body", False):
                await _read_past(receive)
            raise
        if not message.get("more_body", False):
            return bytes(body)


async def _read_past(receive: Receive) -> None:
    # Closing a connection with unread data resets it. A reset can destroy the response before the
    # client reads it.
    left = _PAST_SIZE
    with suppress(TimeoutError):
        async with asyncio.timeout(_PAST_SECONDS):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _part(message: Message, before: int, limits: BodyLimits) -> bytes:
    if message["type"] == "http.disconnect":
        raise InvalidRequest("The sender went away.")
    part: bytes = message.get("body", b"")
    if before + len(part) > limits.size:
        raise _too_large(limits)
    return part


def _too_large(limits: BodyLimits) -> RequestError:
    message = f"A body must have at most {limits.size} bytes."
    return RequestError("BODY_TOO_LARGE", message, 413, {"connection": "close"})
