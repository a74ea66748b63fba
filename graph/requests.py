"""What a GraphQL request is, and how it is read from HTTP.

GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/: a JSON object in the body of
a POST, or the parameters of a GET.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope

JSON_DEPTH = 50


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
    """One operation, as a message or a body asks for it: by its text, or by a document's id."""

    query: str | None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    document_id: str | None = None

    @classmethod
    def of(cls, given: object) -> "Request":
        if isinstance(given, list):
            raise BadRequest("A request is one JSON object: batches are not taken.")
        if not isinstance(given, dict):
            raise BadRequest("A request is a JSON object.")
        query, document_id = _text(given, "query"), _text(given, "documentId")
        if query is None and document_id is None:
            raise BadRequest("A request has a `query`, which is text, or a `documentId`.")
        _object(given, "extensions")
        return cls(query, _object(given, "variables"), _text(given, "operationName"), document_id)


def _text(given: dict[str, Any], name: str) -> str | None:
    match given.get(name):
        case str() | None as value:
            return value
    raise BadRequest(f"`{name}` has to be text.")


def _object(given: dict[str, Any], name: str) -> dict[str, Any] | None:
    match given.get(name):
        case dict() | None as value:
            return value
    raise BadRequest(f"`{name}` has to be an object.")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bytes of a body at most, and seconds that its sender may take."""

    size: int
    seconds: float


async def read_post(scope: Scope, receive: Receive, limits: BodyLimits) -> object:
    """Give the JSON of a body, of whatever kind it is."""
    headers = Headers(scope=scope)
    _check_type(headers)
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > len(str(limits.size)) or int(length) > limits.size):
        _too_large(limits)
    try:
        async with asyncio.timeout(limits.seconds):
            body = await _body(receive, limits)
    except TimeoutError:
        message = f"The body has to be here within {limits.seconds:g} seconds."
        raise Refused("BODY_TIMEOUT", message, 408, {"connection": "close"}) from None
    return read_json(body)


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
    """Read JSON (RFC 8259): UTF-8 without a mark, no NaN, nesting of at most 50."""
    try:
        value = json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):  # too many digits, too
        raise BadRequest("The request is not JSON that can be read.") from None
    if text.count(b"[") + text.count(b"{") > JSON_DEPTH and _deeper(value, JSON_DEPTH):
        raise BadRequest(f"JSON can be nested {JSON_DEPTH} deep here.", "JSON_TOO_DEEP")
    return value


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


def _check_type(headers: Headers) -> None:
    media, _, parameters = headers.get("content-type", "").partition(";")
    named = {
        name.strip().lower(): value.strip().strip('"').lower()
        for name, _, value in (p.partition("=") for p in parameters.split(";"))
    }
    if media.strip().lower() != "application/json" or named.get("charset", "utf-8") != "utf-8":
        raise Refused(
            "UNSUPPORTED_MEDIA_TYPE", "The Content-Type has to be application/json in UTF-8.", 415
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused("UNSUPPORTED_MEDIA_TYPE", "A body cannot be compressed.", 415)


async def _body(receive: Receive, limits: BodyLimits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The sender went away.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.size:
            _too_large(limits)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(limits: BodyLimits) -> NoReturn:
    message = f"A body has at most {limits.size} bytes."
    raise Refused("BODY_TOO_LARGE", message, 413, {"connection": "close"})
