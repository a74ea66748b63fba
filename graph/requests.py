"""What a GraphQL request is, and how it is read from HTTP.

GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/: a JSON object in the body of
a POST, or the parameters of a GET.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

import orjson
from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope

from graph.arriving import Arriving

JSON_DEPTH = 50
# orjson makes a float of an integer beyond 64 bits. Each of those has as many digits in a row.
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_TOO_BIG: Final = b"0" * 19
_UTF_8: Final = frozenset({"utf-8", "utf8"})  # the name, and what many clients write instead
# What is read of a body that is too large: 8 MiB, within a second.
_PAST_SIZE: Final = 8 * 2**20
_PAST_SECONDS: Final = 1.0


class Refused(Exception):
    """The request is answered with an error before anything of it is executed."""

    def __init__(
        self, code: str, message: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})

    @property
    def is_about_graphql(self) -> bool:
        """Whether the request was well-formed, and its document or its variables are not."""
        return False

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [{"message": self.message, "extensions": {"code": self.code}}]


class BadRequest(Refused):
    """Not a well-formed GraphQL request; the message says so to people."""

    def __init__(self, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(code, message)


@dataclass(frozen=True, slots=True)
class Request:
    """One operation, as a message or a body asks for it: by its text, or by a document's id.

    `persisted_hash` is the SHA-256 of Apollo's `extensions.persistedQuery`.
    """

    query: str | None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    document_id: str | None = None
    persisted_hash: str | None = None

    @classmethod
    def of(cls, given: object) -> "Request":
        if isinstance(given, list):
            raise BadRequest("A request is one JSON object: batches are not taken.")
        if not isinstance(given, dict):
            raise BadRequest("A request is a JSON object.")
        query, document_id = _text(given, "query"), _text(given, "documentId")
        persisted_hash = _persisted_hash(_object(given, "extensions"))
        if query is None and document_id is None and persisted_hash is None:
            raise BadRequest("A request needs a `query`, which is a string, or a `documentId`.")
        variables = _object(given, "variables")
        # An empty name is none, in every transport: clients send it for anonymous operations.
        operation_name = _text(given, "operationName") or None
        return cls(query, variables, operation_name, document_id, persisted_hash)


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(f"`{name}` has to be text.")


def _object(given: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = given.get(name)
    if value is None or isinstance(value, dict):
        return value
    if value == []:  # how PHP writes an empty map
        return {}
    raise BadRequest(f"`{name}` has to be an object.")


def _persisted_hash(extensions: dict[str, Any] | None) -> str | None:
    match extensions:
        case {"persistedQuery": {"sha256Hash": str(digest)}}:
            return digest
    return None


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bytes of a body at most, and seconds that its sender may take."""

    size: int
    seconds: float


async def read_post(headers: Mapping[str, str], receive: Receive, limits: BodyLimits) -> object:
    """Give a body's JSON; raise Refused for none, one too large, or one too long in coming."""
    kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "identity")
    wrong = _wrong_type(kind, encoding)
    if wrong:
        raise Refused("UNSUPPORTED_MEDIA_TYPE", wrong, 415)
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > len(str(limits.size)) or int(length) > limits.size):
        await _read_past(receive)
        raise _too_large(limits)
    return read_json(await _body(receive, limits))


def read_get(scope: Scope) -> Request:
    try:
        given: dict[str, Any] = dict(QueryParams(scope["query_string"]))
    except ValueError:  # too many parameters, for instance
        raise BadRequest("The parameters cannot be read.") from None
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = read_json(given[name].encode("utf-8", "surrogatepass"))
    return Request.of({name: value for name, value in given.items() if value != ""})


def read_json(text: bytes) -> Any:
    """Read JSON (RFC 8259): UTF-8 without a mark, no NaN, nesting of at most 50.

    What orjson refuses is looked at again: halves of surrogate pairs, for one, are no error here.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _read_json(text)
    else:
        if _TOO_BIG in text.translate(_DIGITS):
            value = _read_json(text)
    if text.count(b"[") + text.count(b"{") > JSON_DEPTH and _deeper(value, JSON_DEPTH):
        raise BadRequest(f"JSON can be nested {JSON_DEPTH} deep here.", "JSON_TOO_DEEP")
    return value


def _read_json(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):  # too many digits, too
        raise BadRequest("The request is not JSON that can be read.") from None


def _deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _inside(outer)]
    return any(isinstance(value, dict | list) for value in level)


def _inside(value: object) -> list[object]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
    return []


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


@lru_cache(maxsize=16)  # nearly all requests have the same
def _wrong_type(kind: str, encoding: str) -> str | None:
    """Say what is wrong with a body's Content-Type and Content-Encoding."""
    media, _, parameters = kind.partition(";")
    if media.strip().lower() != "application/json" or _charset(parameters) not in _UTF_8:
        return "The Content-Type has to be application/json in UTF-8."
    if encoding.lower() != "identity":
        return "A body cannot be compressed."
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
    """Read it all, within its time; most bodies are here with their heads, and need no timer."""
    arriving = Arriving(receive())
    first = arriving.message
    if first is not None and not first.get("more_body", False):
        return _part(first, 0, limits)
    try:
        async with asyncio.timeout(limits.seconds):
            return await _parts(first or await arriving, receive, limits)
    except TimeoutError:
        message = f"The body has to be here within {limits.seconds:g} seconds."
        raise Refused("BODY_TIMEOUT", message, 408, {"connection": "close"}) from None


async def _parts(message: Message, receive: Receive, limits: BodyLimits) -> bytes:
    body = bytearray()
    while True:
        try:
            body += _part(message, len(body), limits)
        except Refused:
            if message.get("more_body", False):
                await _read_past(receive)
            raise
        if not message.get("more_body", False):
            return bytes(body)
        message = await receive()


async def _read_past(receive: Receive) -> None:
    """Read on for a moment, and keep nothing.

    A connection that is closed with unread data is reset, which can take the answer along.
    """
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
        raise BadRequest("The sender went away.")
    part: bytes = message.get("body", b"")
    if before + len(part) > limits.size:
        raise _too_large(limits)
    return part


def _too_large(limits: BodyLimits) -> Refused:
    message = f"A body has at most {limits.size} bytes."
    return Refused("BODY_TOO_LARGE", message, 413, {"connection": "close"})
