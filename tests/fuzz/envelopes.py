"""Requests with a valid operation in invalid JSON, encodings or HTTP."""

import gzip
import json
from collections.abc import Callable
from random import Random
from urllib.parse import quote

from tests.fuzz.cases import JSON_BODY, Headers, Request
from tests.fuzz.damage import WRONG, encoded, nested
from tests.fuzz.operations import Operation

_METHODS = [b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"TRACE", b"FOO", b"CONNECT", b"get"]
_ACCEPTS = [
    *(b"", b"*", b"*/*;q=0", b"text/html", b"image/png", b"application/json;q=nan", b";;,,", b"/"),
    *(b"application/graphql-response+json;charset=utf-16", b"text/event-stream;q=0", b"\xff\xfe"),
    *(b"multipart/mixed;boundary=x", b"text/event-stream, application/json", b"a/b," * 5_000),
]
_TYPES = [
    *(b"", b"/", b"\xff", b"json", b"text/plain", b"application/graphql", b"APPLICATION/JSON"),
    *(b"application/x-www-form-urlencoded", b"multipart/form-data", b"application/json;;;"),
    *(b"multipart/form-data; boundary=x", b"application/json; charset=latin-1"),
    b"application/json; charset=nothing",
]
_FIELDS = ["query", "variables", "operationName", "extensions"]
STREAM: Headers = ((b"accept", b"text/event-stream"),)


def _members(payload: dict[str, object], rng: Random) -> bytes:
    members = payload | {rng.choice(_FIELDS): rng.choice([*WRONG, nested(rng)])}
    if rng.random() < 0.2:
        del members["query"]
    return encoded(members)


def _whole(payload: dict[str, object], rng: Random) -> bytes:
    many = [payload] * rng.choice([1, 2, 50])
    return encoded(rng.choice([*WRONG, nested(rng), many, [payload, None]]))


def _twice(payload: dict[str, object], rng: Random) -> bytes:
    text = encoded(payload)
    return text[:-1] + b"," + _members(payload, rng)[1:]


def _in_bytes(payload: dict[str, object], rng: Random) -> bytes:
    text = json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass")
    at = rng.randrange(len(text))
    return rng.choice(
        [
            text.decode("utf-8", "replace").encode("utf-16"),
            text.decode("utf-8", "replace").encode("utf-32-be"),
            b"\xef\xbb\xbf" + text,
            text[:at] + b"\xff\xc0\x80" + text[at:],
            text[:at] + b"\xed\xa0\x80" + text[at:],
            text[:at] + b"\0" + text[at:],
            text[:at],
            text + text,
            text.replace(b'"', b"'"),
            b"[" * 100_000,
            b'{"query":' * 50_000,
            b'{"query":"{ __typename }","extensions":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            b"",
            b" ",
            b"\0" * 1_000,
            b'"' + b"x" * 2_000_000 + b'"',
        ]
    )


def _body(making: Callable[[dict[str, object], Random], bytes]) -> Callable[..., Request]:
    def request(kind: str, operation: Operation, rng: Random) -> Request:
        accept = STREAM if rng.random() < 0.25 else ()
        return Request(
            kind, headers=JSON_BODY + accept, body=making(operation.payload, rng), live=True
        )

    return request


def _gzipped(kind: str, operation: Operation, rng: Random) -> Request:
    body = gzip.compress(encoded(operation.payload), mtime=0)
    name = rng.choice([b"gzip", b"br", b"identity", b"gzip, gzip", b"nothing"])
    headers = JSON_BODY + (((b"content-encoding", name),) if rng.random() < 0.7 else ())
    return Request(kind, headers=headers, body=body, live=True)


def _typed(kind: str, operation: Operation, rng: Random) -> Request:
    headers = ((b"content-type", rng.choice(_TYPES)),) if rng.random() < 0.9 else ()
    accept = STREAM if rng.random() < 0.2 else ()
    return Request(kind, headers=headers + accept, body=encoded(operation.payload), live=True)


def _accepting(kind: str, operation: Operation, rng: Random) -> Request:
    headers = (*JSON_BODY, (b"accept", rng.choice(_ACCEPTS)))
    if rng.random() < 0.5:
        return Request(kind, headers=headers, body=encoded(operation.payload), live=True)
    target = b"/graphql?query=" + quote(operation.query, errors="replace").encode()
    return Request(kind, b"GET", target[:8_000], headers=headers[1:], live=True)


def _other_method(kind: str, operation: Operation, rng: Random) -> Request:
    body = encoded(operation.payload) if rng.random() < 0.5 else b""
    return Request(kind, rng.choice(_METHODS), body=body)


def _headers(kind: str, operation: Operation, rng: Random) -> Request:
    body = encoded(operation.payload)
    more: Headers = rng.choice(
        [
            ((b"x-huge", b"x" * 60_000),),
            tuple((b"x-%d" % n, b"y") for n in range(300)),
            JSON_BODY,
            ((b"content-type", b"text/plain"),),
            ((b"host", b"elsewhere.example"),),
            ((b"accept", b"text/html"), (b"accept", b"text/event-stream")),
            ((b"x-request-id", b"\xff\xfe"), (b"x-request-id", b"b")),
            ((b"cookie", b"a" * 5_000), (b"authorization", b"Bearer \xff")),
            ((b"origin", b"null"), (b"upgrade", b"websocket")),
            ((b"expect", b"100-continue"),),
            ((b"upgrade", b"websocket"), (b"connection", b"upgrade"), (b"sec-websocket-key", b"")),
        ]
    )
    return Request(kind, headers=JSON_BODY + more, body=body, live=True)


def _cut_short(kind: str, operation: Operation, rng: Random) -> Request:
    body = encoded(operation.payload)
    length: Headers = rng.choice(
        [
            ((b"content-length", b"%d" % (len(body) + 100)),),
            ((b"content-length", b"-1"),),
            ((b"content-length", b"many"),),
            ((b"content-length", b"9" * 30),),
            ((b"content-length", b"3"), (b"content-length", b"4")),
            ((b"transfer-encoding", b"chunked"),),
            ((b"transfer-encoding", b"chunked"), (b"content-length", b"3")),
        ]
    )
    return Request(kind, headers=JSON_BODY + length, body=body, cut=True, live=True)


def _in_url(kind: str, operation: Operation, rng: Random) -> Request:
    name = rng.choice([*_FIELDS, "nothing", "query[]", ""])
    value = quote(rng.choice([encoded(rng.choice(WRONG))[:9_000], b"\xff", b"\0", b"{"]))
    query = quote(operation.query, errors="replace")[:8_000]
    target = rng.choice(
        [
            f"/graphql?query={query}&{name}={value}",
            f"/graphql?{name}={value}",
            f"/graphql?query={query}&query={query}",
            "/graphql?query=%ff%fe&variables=%00",
            "/graphql?query=%",
            "/graphql?" + "&" * 5_000,
            "/graphql?query=" + "x" * 60_000,
            "/graphql",
            "/graphql/",
            "/../graphql?query={__typename}",
            "/%67raphql?query={__typename}",
            "//graphql",
        ]
    )
    accept = STREAM if rng.random() < 0.3 else ()
    return Request(kind, b"GET", target.encode(), headers=accept, live=True)


def _batched(payload: dict[str, object], rng: Random) -> bytes:
    one: list[object] = [payload, {"query": "{ __typename }"}, rng.choice(WRONG), nested(rng)]
    return encoded(rng.choices(one, k=rng.choice([1, 2, 10, 11, 200])))


_ALL: dict[str, Callable[[str, Operation, Random], Request]] = {
    "envelope: members": _body(_members),
    "envelope: whole": _body(_whole),
    "envelope: twice": _body(_twice),
    "envelope: bytes": _body(_in_bytes),
    "envelope: batch": _body(_batched),
    "envelope: gzip": _gzipped,
    "http: type": _typed,
    "http: accept": _accepting,
    "http: method": _other_method,
    "http: headers": _headers,
    "http: cut": _cut_short,
    "http: url": _in_url,
}


def enveloped(operation: Operation, rng: Random) -> Request:
    kind = rng.choice(list(_ALL))
    return _ALL[kind](kind, operation, rng)
