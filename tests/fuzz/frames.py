"""What is wrong around an operation on a socket: its messages, their frames."""

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


def said(message: Any) -> Frame:
    return Frame((message if isinstance(message, bytes) else encoded(message),))


def subscribing(operation: Operation, id_: Any = "1") -> dict[str, Any]:
    return {"id": id_, "type": "subscribe", "payload": operation.payload}


def _messages(operation: Operation, chance: Random) -> list[Frame]:
    message = subscribing(operation)
    message[chance.choice(["id", "type", "payload", "more"])] = chance.choice(
        [*WRONG, nested(chance), *_TYPES]
    )
    if chance.random() < 0.2:
        del message[chance.choice(list(message))]
    return [said(message)]


def _payloads(operation: Operation, chance: Random) -> list[Frame]:
    message = subscribing(operation)
    name = chance.choice(["query", "variables", "operationName", "extensions"])
    message["payload"] |= {name: chance.choice(WRONG)}
    return [said(message)]


def _junk(operation: Operation, chance: Random) -> list[Frame]:
    text = encoded(subscribing(operation))
    at = chance.randrange(len(text))
    return [
        chance.choice(
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
                said(encoded(chance.choice(WRONG))),
            ]
        )
    ]


def _raw(_: Operation, chance: Random) -> list[Frame]:
    return [
        Frame(
            (
                chance.choice(
                    [
                        b"\x81\x02hi",  # not masked
                        b"\x83\x80\0\0\0\0",  # an opcode that is none
                        b"\xf1\x80\0\0\0\0",  # reserved bits
                        b"\x80\x80\0\0\0\0",  # the rest of nothing
                        b"\x89\xfe\x01\x00\0\0\0\0" + b"x" * 256,  # a ping that is too long
                        b"\x88\x81\0\0\0\0\x01",  # half of a close code
                        b"\x88\x82\0\0\0\0\x03\xed",  # 1005, which nobody may send
                        b"\x88\x84\0\0\0\0\x03\xe8\xff\xfe",  # a reason that is no UTF-8
                        b"\x81\xff" + b"\xff" * 12,  # longer than anything
                        chance.randbytes(200),
                    ]
                ),
            ),
            raw=True,
        )
    ]


def _rude(operation: Operation, chance: Random) -> list[Frame]:
    message = subscribing(operation)
    init = {"type": "connection_init", "payload": chance.choice(WRONG)}
    ping = {"type": "ping", "payload": chance.choice([*WRONG, nested(chance)])}
    return [
        said(each)
        for each in chance.choice(
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


def junk(operation: Operation, chance: Random) -> Conversation:
    kind = chance.choice(list(_ALL))
    return Conversation(kind, tuple(_ALL[kind](operation, chance)), init=chance.random() < 0.8)


def spoken(kind: str, operation: Operation) -> Conversation:
    """Ask for an operation as one does; a query has to be answered."""
    try:
        json.dumps(operation.query).encode()
        text = encoded(subscribing(operation))
    except RecursionError:  # deeper than this client itself can say
        text = b"[]"
    return Conversation(kind, (said(text),), awaited=None if operation.live else "1")
