"""Damages operations: their text, or the values of their variables."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.operations import Operation

_DIGITS = "@digits@"  # more digits than Python's int conversion accepts
_NAN = "@nan@"
NASTY = [
    *("\0", "\x01", "\x1b", "\x7f", "\x85", "\u2028", "\ufeff", "\u202e", "\ufffe", "\U0010ffff"),
    *("\ud800", "\udc00", "\udc00\ud800", "é" * 40, "e\u0301", "\U0001f469\u200d\U0001f4bb", "ﬃ"),
    *("%", "_", "\\", "'", '"', "';--", "\\u0000", "\\ud800", '"""', "\r\n", "x" * 70_000, ""),
]
WRONG: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e400, 2**31, -(2**63), 2**64, 10**300, _DIGITS, _NAN),
    *([], {}, [[]], [None], {"": None}, {"__proto__": {}}, "", "null", *NASTY),
]
_TOKENS = ["null", "9" * 5_000, "1e999", "-0", "$v0", "...F", "@skip(if: 1)", "{", "}", "[", '"']
_DEEP = 3_000


def encoded(value: Any) -> bytes:
    """Returns JSON as a careless client sends it, with NaN or numbers of many digits."""
    text = json.dumps(value).replace(f'"{_DIGITS}"', "9" * 5_000).replace(f'"{_NAN}"', "NaN")
    return text.encode()


def _cut(text: str, rng: Random) -> str:
    at, end = sorted(rng.choices(range(len(text) + 1), k=2))
    return text[:at] + text[end:] if rng.random() < 0.5 else text[:end]


def _doubled(text: str, rng: Random) -> str:
    at, end = sorted(rng.choices(range(len(text) + 1), k=2))
    return text[:end] + text[at:end] * rng.choice([1, 1, 20]) + text[end:]


def _with(pieces: list[str]) -> Callable[[str, Random], str]:
    def damaged(text: str, rng: Random) -> str:
        at = rng.randrange(len(text) + 1)
        return text[:at] + rng.choice(pieces) + text[at + rng.choice([0, 1, 8]) :]

    return damaged


def _flipped(text: str, rng: Random) -> str:
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice([1, 1, 5, 50])):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return raw.decode("utf-8", "surrogateescape")  # lone surrogates if it is no longer UTF-8


def _deep(_: str, rng: Random) -> str:
    depth = rng.choice([20, 200, _DEEP])
    chain = "{ users(first: 1) { nodes { history(first: 1) { nodes { user "
    return rng.choice(
        [
            "{a" * depth + "}" * depth,
            "{" * depth,
            f"{{ user(id: {'[' * depth}{']' * depth}) {{ id }} }}",
            f"{{ userBy(by: {'{username:' * depth}1{'}' * depth}) {{ id }} }}",
            "{ users(filter: " + "{not: " * depth + "{}" + "}" * depth + ") { totalCount } }",
            "query ($v: " + "[" * depth + "ID" + "]" * depth + ") { __typename }",
            chain + "{ history(first: 1) { nodes { user " * 8 + "{ id" + " }" * 31 + " }",
            "{ ... { " * depth + "__typename" + " } }" * depth,
        ]
    )


def _wide(_: str, rng: Random) -> str:
    width = rng.choice([20, 200, _DEEP])
    names = range(width)
    chain = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(30))
    return rng.choice(
        [
            "{ " + " ".join(f"a{n}: __typename" for n in names) + " }",
            "{ " + "__typename " * width + "}",
            "{ __typename " + "@skip(if: false) " * width + "}",
            "{ __typename " + "@nothing " * width + "}",
            f"query ({' '.join(f'$v{n}: Int' for n in names)}) {{ __typename }}",
            "{ ...F0 } " + chain + "fragment F30 on Query { __typename }",
            "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }",
            " ".join(f"query Q{n} {{ __typename }}" for n in names),
            "{ " + " ".join(f"u{n}: user(id: {n}) {{ id }}" for n in range(min(width, 500))) + " }",
        ]
    )


_TEXTS: dict[str, Callable[[str, Random], str]] = {
    "cut": _cut,
    "doubled": _doubled,
    "flipped": _flipped,
    "nasty text": _with(NASTY),
    "wrong token": _with(_TOKENS),
    "deep": _deep,
    "wide": _wide,
}


def _replaced(value: Any, rng: Random) -> Any:
    """Replaces a random part of the value with an invalid one."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.2:
        return nested(rng) if rng.random() < 0.1 else rng.choice(WRONG)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], _replaced(value[at], rng), *value[at + 1 :]]
    name = rng.choice(list(value))
    renamed = rng.choice(NASTY) if rng.random() < 0.1 else name
    return {k: v for k, v in value.items() if k != name} | {renamed: _replaced(value[name], rng)}


def nested(rng: Random) -> Any:
    value: Any = None
    for _ in range(rng.choice([10, 150, 900])):
        value = [value] if rng.random() < 0.5 else {"not": value}
    return value


def damaged(operation: Operation, rng: Random) -> tuple[str, Operation]:
    """Returns the name of the damage and the damaged operation."""
    if operation.variables and rng.random() < 0.6:
        return "wrong variables", Operation(
            operation.query, _replaced(operation.variables, rng) or {}
        )
    name = rng.choice(list(_TEXTS))
    return name, Operation(_TEXTS[name](operation.query, rng), operation.variables)
