"""Canaries: values that are recognised wherever they appear, also if they were encoded."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    get_named_type,
    is_composite_type,
)

WORD = "qzcanary"
EMAIL = f"{WORD}@{WORD}.example"
_DEPTH = 3
_SCALARS = {
    "Int": 1,
    "BigInt": 1,
    "Boolean": True,
    "Float": 1.0,
    "DateTime": "2026-01-01T00:00:00Z",
}


def found_in(text: str) -> list[str]:
    """Returns the surroundings of every canary, whatever its case and encoding."""
    forms = {text.lower(), unquote(text).lower(), _unescaped(text).lower(), text.replace("_", "")}
    return [f"…{form[max(0, at - 80) : at + 80]}…" for form in forms for at in _places(form)]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(?:u00|x)([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)


def _places(text: str) -> Iterator[int]:
    for sign in _signs():
        at = text.find(sign)
        if at >= 0:
            yield at


def _signs() -> Iterator[str]:
    yield WORD
    yield WORD.encode().hex()
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(
            3
        ):  # the word begins at any byte of the three that are encoded together
            # Without the characters that depend on the bytes beside the word.
            encoded = encode(b"\0" * before + WORD.encode() + b"\0" * 3).decode()
            yield encoded[before + bool(before) :][: len(WORD)]
            yield encoded[before + bool(before) :][: len(WORD)].lower()


def operations(schema: GraphQLSchema) -> Iterator[dict[str, Any]]:
    """Yields requests for every field of a root type with canaries as literals and as variables."""
    for kind, root in (
        ("query", schema.query_type),
        ("mutation", schema.mutation_type),
        ("subscription", schema.subscription_type),
    ):
        for name, field in (root.fields if root else {}).items():
            selection = "{ __typename }" if is_composite_type(get_named_type(field.type)) else ""
            for given in _choices(field.args):
                values = {n: _value(arg.type, 0) for n, arg in given.items()}
                literals = [f"{n}: {_literal(given[n].type, v)}" for n, v in values.items()]
                yield {"query": f"{kind} {WORD} {{ {WORD}: {name}{_list(literals)} {selection} }}"}
                uses = [f"{n}: ${n}" for n in given]
                declared = [f"${n}: {arg.type}" for n, arg in given.items()]
                text = f"{kind} {WORD}{_list(declared)} {{ {name}{_list(uses)} {selection} }}"
                yield {"query": text, "variables": values, "operationName": WORD}


def _list(entries: list[str]) -> str:
    return f"({', '.join(entries)})" if entries else ""


def _choices(args: dict[str, GraphQLArgument]) -> Iterator[dict[str, GraphQLArgument]]:
    """Yields the required arguments with each of the others, and alone."""
    required = {n: arg for n, arg in args.items() if isinstance(arg.type, GraphQLNonNull)}
    yield required
    for name, arg in args.items():
        if name not in required:
            yield {**required, name: arg}


def _value(type_: GraphQLInputType, depth: int) -> Any:
    match type_:
        case GraphQLNonNull(of_type=inner):
            return _value(inner, depth)
        case GraphQLList(of_type=inner):
            return [_value(inner, depth)]
        case GraphQLEnumType():
            return next(iter(type_.values))
        case GraphQLInputObjectType():
            fields = dict(list(type_.fields.items())[:1] if type_.is_one_of else type_.fields)
            return {
                name: _value(field.type, depth + 1)
                for name, field in fields.items()
                if depth < _DEPTH or isinstance(field.type, GraphQLNonNull)
            }
    name = str(type_)
    return EMAIL if name == "String" else _SCALARS.get(name, WORD)


def _literal(type_: GraphQLInputType, value: Any) -> str:
    match type_:
        case GraphQLNonNull(of_type=inner):
            return _literal(inner, value)
        case GraphQLList(of_type=inner):
            return f"[{', '.join(_literal(inner, each) for each in value)}]"
        case GraphQLEnumType():
            return str(value)
        case GraphQLInputObjectType():
            pairs = [f"{n}: {_literal(type_.fields[n].type, each)}" for n, each in value.items()]
            return f"{{{', '.join(pairs)}}}"
    return json.dumps(value)
