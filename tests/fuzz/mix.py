"""All the cases of a run, in an order that chance gives and a seed decides."""

from random import Random
from urllib.parse import quote

from tests.fuzz.cases import JSON_BODY, Case, Request
from tests.fuzz.damage import damaged, encoded
from tests.fuzz.envelopes import STREAM, enveloped
from tests.fuzz.frames import junk, spoken
from tests.fuzz.operations import Known, Operation, operations

_TRANSPORTS = ["post", "post", "get", "ws", "ws", "sse post", "sse get"]
_URL = 60_000  # bytes, and no longer: more than that is another case, "http: url"


def mix(count: int, seed: int, known: Known) -> list[Case]:
    """Give so many: operations as they should be, spoilt ones, and wrong ways to send them."""
    chance = Random(seed)  # noqa: S311 - the same cases on every run
    made = operations(max(10, count * 35 // 100), seed, known)
    cases: list[Case] = [_sent("operation", operation, chance) for operation in made[:count]]
    while len(cases) < count:
        operation = chance.choice(made)
        draw = chance.random()
        if draw < 0.45:
            cases.append(_sent(*damaged(operation, chance), chance))
        elif draw < 0.8:
            cases.append(enveloped(operation, chance))
        else:
            cases.append(junk(operation, chance))
    chance.shuffle(cases)
    return cases


def _sent(name: str, operation: Operation, chance: Random) -> Case:
    way = chance.choice(_TRANSPORTS)
    kind = f"{way}: {name}"
    if way == "ws":
        return spoken(kind, operation)
    headers = STREAM if way.startswith("sse") else ()
    if way.endswith("get"):
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
