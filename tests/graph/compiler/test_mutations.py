"""Root fields of a mutation run one after the other, also if some fail."""

import asyncio
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
)

from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.resolver_values import Fault, Info


def _now(_: object, info: Info, n: int) -> int:
    info.context.append(f"{info.path.key} {n}")
    if n < 0:
        raise Fault(f"{n}")
    return n


async def _later(_: object, info: Info, n: int) -> int:
    info.context.append(f"{info.path.key} begins")
    for _turn in range(abs(n)):
        await asyncio.sleep(0)
    return _now(None, info, n)


async def _slow_part(n: int, info: Info) -> int:
    info.context.append(f"{info.path.as_list()} begins")
    for _turn in range(abs(n)):
        await asyncio.sleep(0)
    info.context.append(f"{info.path.as_list()} ends")
    return n


PART = GraphQLObjectType(
    "Part",
    {
        "now": GraphQLField(GraphQLInt, resolve=lambda n, _: n),
        "slow": GraphQLField(GraphQLInt, resolve=_slow_part),
    },
)
ARGS = {"n": GraphQLArgument(GraphQLNonNull(GraphQLInt))}
FIELDS = {
    "now": GraphQLField(GraphQLInt, ARGS, resolve=_now),
    "later": GraphQLField(GraphQLInt, ARGS, resolve=_later),
    "sure": GraphQLField(GraphQLNonNull(GraphQLInt), ARGS, resolve=_later),
    "sureNow": GraphQLField(GraphQLNonNull(GraphQLInt), ARGS, resolve=_now),
    "part": GraphQLField(PART, ARGS, resolve=_later),
}
SCHEMA = GraphQLSchema(GraphQLObjectType("Query", FIELDS), GraphQLObjectType("Mutation", FIELDS))


async def run(text: str) -> Any:
    found = await assert_same(Case(SCHEMA, text))
    paths = [error["path"] for error in found.errors or ()]
    return found.result.data, paths, found.context


async def test_mutation_field_waits_for_the_previous_one() -> None:
    text = "mutation { a: later(n: 3) b: now(n: 1) c: later(n: 1) d: later(n: 0) e: now(n: 2) }"
    data, paths, log = await run(text)
    assert list(data.items()) == [("a", 3), ("b", 1), ("c", 1), ("d", 0), ("e", 2)]
    assert paths == []
    assert log == ["a begins", "a 3", "b 1", "c begins", "c 1", "d begins", "d 0", "e 2"]


async def test_failed_nullable_mutation_field_does_not_stop_later_ones() -> None:
    text = "mutation { a: later(n: -2) b: now(n: -1) c: now(n: 1) d: later(n: -1) e: later(n: 1) }"
    data, paths, log = await run(text)
    assert data == {"a": None, "b": None, "c": 1, "d": None, "e": 1}
    assert paths == [["a"], ["b"], ["d"]]
    assert log == ["a begins", "a -2", "b -1", "c 1", "d begins", "d -1", "e begins", "e 1"]


async def test_failed_non_null_mutation_field_stops_later_ones() -> None:
    for kind in ("sure", "sureNow"):
        text = f"mutation {{ a: later(n: 1) b: {kind}(n: -1) c: now(n: 1) d: later(n: 2) }}"
        data, paths, log = await run(text)
        assert data is None
        assert paths == [["b"]]
        assert log == ["a begins", "a 1", *["b begins"][: kind == "sure"], "b -1"]


async def test_sub_fields_finish_before_the_next_mutation_field() -> None:
    text = "mutation { a: part(n: 3) { slow now x: slow } b: now(n: 1) c: part(n: 1) { slow } }"
    data, paths, log = await run(text)
    assert data == {"a": {"slow": 3, "now": 3, "x": 3}, "b": 1, "c": {"slow": 1}}
    assert paths == []
    assert log[:2] == ["a begins", "a 3"]
    assert sorted(log[2:6]) == sorted(
        f"['a', '{name}'] {what}" for name in ("slow", "x") for what in ("begins", "ends")
    )
    assert log[6:] == ["b 1", "c begins", "c 1", "['c', 'slow'] begins", "['c', 'slow'] ends"]


async def test_query_fields_run_concurrently() -> None:
    data, paths, log = await run("{ a: later(n: 3) b: now(n: 1) c: later(n: 1) }")
    assert data == {"a": 3, "b": 1, "c": 1}
    assert paths == []
    assert sorted(log) == ["a 3", "a begins", "b 1", "c 1", "c begins"]
    assert log.index("c 1") < log.index("a 3")
