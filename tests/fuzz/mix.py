"""All cases of a run, in a random order that the seed determines."""

from random import Random
from urllib.parse import quote

from tests.fuzz.cases import JSON_BODY, Case, Request
from tests.fuzz.damage import damaged, encoded
from tests.fuzz.envelopes import STREAM, enveloped
from tests.fuzz.frames import junk, spoken
from tests.fuzz.operations import Known, Operation, operations

_TRANSPORTS = ["post", "post", "get", "ws", "ws", "sse post", "sse get"]
_URL = 60_000  # bytes; longer URLs are the case "http: url"


def mix(count: int, seed: int, known: Known) -> list[Case]:
    """Returns `count` cases: valid operations, damaged ones, and invalid ways to send them."""
    rng = Random(seed)  # noqa: S311 - the same cases on every run
    generated = operations(max(10, count * 35 // 100), seed, known)
    cases: list[Case] = [_sent("operation", operation, rng) for operation in generated[:count]]
    while len(cases) < count:
        operation = rng.choice(generated)
        draw = rng.random()
        if draw < 0.45:
            cases.append(_sent(*damaged(operation, rng), rng))
        elif draw < 0.8:
            cases.append(enveloped(operation, rng))
        else:
            cases.append(junk(operation, rng))
    rng.shuffle(cases)
    return cases


def _sent(name: str, operation: Operation, rng: Random) -> Case:
    transport = rng.choice(_TRANSPORTS)
    kind = f"{transport}: {name}"
    if transport == "ws":
        return spoken(kind, operation)
    headers = STREAM if transport.startswith("sse") else ()
    if transport.endswith("get"):
        target = b"/graphql?query=" + _quoted(operation.query.encode("utf-8", "surrogatepass"))
        if operation.variables:
            target += b"&variables=" + _quoted(encoded(operation.variables))
        if len(target) < _URL:
            return Request(kind, b"GET", target, headers, live=operation.live)
        kind = kind.replace("get", "post")
    body = encoded(operation.payload)
    return Request(kind, headers=JSON_BODY + headers, body=body, live=operation.live)


def _quoted(text: bytes) -> bytes:
    return quote(text, safe="").encode()
