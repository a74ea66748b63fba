"""Invalid messages and frames around an operation on a WebSocket."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.cases import Conversation, Frame
from tests.fuzz.damage import WRONG, encoded, nested
from tests.fuzz.operations import Operation

_TYPES = [
    "connection_init",
    "ping",
    "pong",
    "subscribe",
    "complete",
    "next",
    "error",
    "nothing",
    "",
]


def as_frame(message: Any) -> Frame:
    return Frame((message if isinstance(message, bytes) else encoded(message),))


def subscribing(operation: Operation, id_: Any = "1") -> dict[str, Any]:
    return {"id": id_, "type": "subscribe", "payload": operation.payload}


def _messages(operation: Operation, rng: Random) -> list[Frame]:
    message = subscribing(operation)
    message[rng.choice(["id", "type", "payload", "more"])] = rng.choice(
        [*WRONG, nested(rng), *_TYPES]
    )
    if rng.random() < 0.2:
        del message[rng.choice(list(message))]
    return [as_frame(message)]


def _payloads(operation: Operation, rng: Random) -> list[Frame]:
    message = subscribing(operation)
    name = rng.choice(["query", "variables", "operationName", "extensions"])
    message["payload"] |= {name: rng.choice(WRONG)}
    return [as_frame(message)]


def _junk(operation: Operation, rng: Random) -> list[Frame]:
    text = encoded(subscribing(operation))
    at = rng.randrange(len(text))
    return [
        rng.choice(
            [
                Frame((text,), text=False),
                Frame((text[:at], b"\xff\xfe", text[at:])),
                Frame((b"\xed\xa0\x80",)),
                Frame(tuple(text[n : n + 3] for n in range(0, min(len(text), 600), 3))),
                Frame((b"", b"", text, b"")),
                Frame((text[:at],)),
                Frame((b"",)),
                Frame((b"x" * 300_000,)),
                Frame((b"[" * 100_000,)),
                as_frame(encoded(rng.choice(WRONG))),
            ]
        )
    ]


def _raw(_: Operation, rng: Random) -> list[Frame]:
    return [
        Frame(
            (
                rng.choice(
                    [
                        b"\x81\x02hi",  # not masked
                        b"\x83\x80\0\0\0\0",  # an unknown opcode
                        b"\xf1\x80\0\0\0\0",  # reserved bits
                        b"\x80\x80\0\0\0\0",  # a continuation without a start
                        b"\x89\xfe\x01\x00\0\0\0\0" + b"x" * 256,  # a ping that is too long
                        b"\x88\x81\0\0\0\0\x01",  # half of a close code
                        b"\x88\x82\0\0\0\0\x03\xed",  # 1005, which must not be sent
                        b"\x88\x84\0\0\0\0\x03\xe8\xff\xfe",  # a reason that is no UTF-8
                        b"\x81\xff" + b"\xff" * 12,  # an impossible length
                        rng.randbytes(200),
                    ]
                ),
            ),
            raw=True,
        )
    ]


def _rude(operation: Operation, rng: Random) -> list[Frame]:
    message = subscribing(operation)
    init = {"type": "connection_init", "payload": rng.choice(WRONG)}
    ping = {"type": "ping", "payload": rng.choice([*WRONG, nested(rng)])}
    return [
        as_frame(each)
        for each in rng.choice(
            [
                [init],
                [message, message],
                [message, {"id": "1", "type": "complete"}] * 5,
                [ping] * 20,
                [{"type": "pong"}, {"id": "never", "type": "complete"}],
                [message | {"id": str(n)} for n in range(150)],
                [message | {"id": "\ud800" + "x" * 5_000}],
            ]
        )
    ]


_ALL: dict[str, Callable[[Operation, Random], list[Frame]]] = {
    "ws: messages": _messages,
    "ws: payloads": _payloads,
    "ws: junk": _junk,
    "ws: frames": _raw,
    "ws: rude": _rude,
}


def junk(operation: Operation, rng: Random) -> Conversation:
    kind = rng.choice(list(_ALL))
    return Conversation(kind, tuple(_ALL[kind](operation, rng)), init=rng.random() < 0.8)


def spoken(kind: str, operation: Operation) -> Conversation:
    """Sends an operation correctly; a query must be answered."""
    try:
        json.dumps(operation.query).encode()
        text = encoded(subscribing(operation))
    except RecursionError:  # too deep for this client to encode
        text = b"[]"
    return Conversation(kind, (as_frame(text),), awaited=None if operation.live else "1")
