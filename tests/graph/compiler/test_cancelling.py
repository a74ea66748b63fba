"""A cancelled or failed operation leaves no running tasks and no unawaited coroutines.

graphql-core leaves some, so these tests only use the compiler.
"""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from typing import Any

import pytest
from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    get_operation_ast,
    parse,
)

from graph.compiler import Lookup
from tests.graph.compiler.differential import Case, by_compiled
from tests.graph.compiler.resolver_values import Fault, Info

Log = list[str]


def _begin(info: Info) -> str:
    name = ".".join(map(str, info.path.as_list()))
    info.context.append(f"{name} begins")
    return name


async def _wait(_: object, info: Info) -> str:
    """Waits forever and records its cancellation."""
    return await _waiting(_begin(info), info.context)


async def _waiting(name: str, log: Log) -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0)  # as a transaction has to roll back
        log.append(f"{name} is cancelled")
        raise
    return name


def _wrap(_: object, info: Info) -> Awaitable[str]:
    """Waits forever in a coroutine that exists before its caller runs, as graphql-core does."""
    return _around(_waiting(_begin(info), info.context))


async def _around(inner: Awaitable[str]) -> str:
    return await inner


async def _several_turns(_: object, info: Info) -> str:
    name = _begin(info)
    try:
        for _turn in range(5):
            await asyncio.sleep(0)
        info.context.append(f"{name} ends")
    except asyncio.CancelledError:
        info.context.append(f"{name} is cancelled")
        raise
    return name


class _Endless:
    """A lookup that never ends."""

    def __init__(self, info: Info) -> None:
        self._info = info

    def load(self, keys: Sequence[str]) -> asyncio.Future[list[str]]:
        return asyncio.ensure_future(self._found(keys))

    async def _found(self, keys: Sequence[str]) -> list[str]:
        return [await _waiting(key, self._info.context) for key in keys]


def _want(_: object, info: Info) -> Lookup[str, str]:
    return Lookup(_Endless(info), _begin(info), lambda name: name)


def _fail(_: object, info: Info) -> str:
    raise Fault(_begin(info))


async def _fail_later(_: object, info: Info) -> str:
    name = _begin(info)
    await asyncio.sleep(0)
    raise Fault(name)


def _waits(_: object, info: Info) -> list[Awaitable[str]]:
    return [_waiting(f"{_begin(info)}.{n}", info.context) for n in range(3)]


def _mixed(_: object, info: Info) -> list[Any]:
    """A failing element between two async ones."""
    return [_several_turns(None, info), Fault("an element"), _several_turns(None, info)]


async def _source(info: Info) -> AsyncIterator[str]:
    name = _begin(info)
    try:
        yield "first"
        await asyncio.Event().wait()
    finally:
        info.context.append(f"{name} is closed")


async def _object(_: object, info: Info) -> dict[str, Any]:
    _begin(info)
    await asyncio.sleep(0)
    return {}


TEXT = GraphQLNonNull(GraphQLString)
OBJECT: GraphQLObjectType = GraphQLObjectType(
    "Object",
    lambda: {
        "wait": GraphQLField(GraphQLString, resolve=_wait),
        "wrapped": GraphQLField(GraphQLString, resolve=_wrap),
        "wanted": GraphQLField(GraphQLString, resolve=_want),
        "turns": GraphQLField(GraphQLString, resolve=_several_turns),
        "fail": GraphQLField(TEXT, resolve=_fail),
        "failLater": GraphQLField(TEXT, resolve=_fail_later),
        "waits": GraphQLField(GraphQLList(GraphQLString), resolve=_waits),
        "mixed": GraphQLField(GraphQLNonNull(GraphQLList(TEXT)), resolve=_mixed),
        "mixedWaits": GraphQLField(
            GraphQLNonNull(GraphQLList(TEXT)), resolve=lambda *given: [*_waits(*given), Fault("x")]
        ),
        "source": GraphQLField(GraphQLList(GraphQLString), resolve=lambda _, info: _source(info)),
        "now": GraphQLField(GraphQLString, resolve=lambda *_: "now"),
        "object": GraphQLField(OBJECT, resolve=lambda *_: {}),
        "later": GraphQLField(OBJECT, resolve=_object),
        "sureLater": GraphQLField(GraphQLNonNull(OBJECT), resolve=_object),
        "objects": GraphQLField(GraphQLList(OBJECT), resolve=lambda *_: [{}, {}]),
    },
)
SCHEMA = GraphQLSchema(OBJECT, GraphQLObjectType("Mutation", lambda: OBJECT.fields))


@asynccontextmanager
async def assert_nothing_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
        left = asyncio.all_tasks() - before
        gc.collect()
    assert not left
    assert not [str(each.message) for each in warned]


def prepare(text: str) -> tuple[Callable[[], Any], Log]:
    """Returns a function that executes an operation, and the log of its resolvers."""
    case = Case(SCHEMA, text)
    operation = get_operation_ast(case.document)
    assert operation
    log: Log = []
    return (lambda: by_compiled(case, case.document, operation, log)), log


async def _awaited(execute: Callable[[], Any]) -> Any:
    found = execute()
    return await found if isawaitable(found) else found


async def run_event_loop(turns: int = 20) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


CANCELLED = [
    "{ wait }",
    "{ now a: wait b: wait turns c: wait }",
    "{ waits }",
    "{ wanted }",
    "{ now wanted a: wait b: wanted turns later { wanted } }",
    "{ waits object { waits wait } later { wait later { waits } } }",
    "{ objects { wait later { wait } } turns }",
    "{ source wait }",
    "{ a: later { b: later { wait } } c: wait fail2: object { failLater } }",
    "mutation { turns wait never: turns }",
    "mutation { a: later { wait turns } never: turns }",
]


@pytest.mark.parametrize("text", CANCELLED)
async def test_cancelled_operation_cancels_all_its_resolvers(text: str) -> None:
    execute, log = prepare(text)
    async with assert_nothing_left():
        task = asyncio.create_task(_awaited(execute))
        await run_event_loop()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    begun = [line for line in log if line.endswith("wait begins")]
    cancelled = [line for line in log if line.endswith("wait is cancelled")]
    assert len(begun) == len(cancelled)
    assert not [line for line in log if line.startswith("never")]
    assert log.count("source begins") == log.count("source is closed")


@pytest.mark.parametrize("text", CANCELLED)
@pytest.mark.parametrize("turns", range(7))
async def test_operation_cancelled_at_any_turn_leaves_no_tasks(text: str, turns: int) -> None:
    execute, _ = prepare(text)
    async with assert_nothing_left():
        task = asyncio.create_task(_awaited(execute))
        await run_event_loop(turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("text", CANCELLED)
async def test_operation_that_times_out_leaves_no_tasks(text: str) -> None:
    execute, _ = prepare(text)
    async with assert_nothing_left():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await _awaited(execute)


FAILING = {
    "{ turns fail }": None,
    "{ a: turns fail b: turns }": None,
    "{ turns failLater }": None,
    "{ wait failLater waits }": None,
    "{ turns mixed }": None,
    "{ wanted fail }": None,
    "{ wrapped fail }": None,
    "{ object { wrapped fail } now }": {"object": None, "now": "now"},
    "{ later { fail } a: wanted object { wanted fail } failing: fail }": None,
    "{ object { wanted fail } now }": {"object": None, "now": "now"},
    "{ wait failLater source }": None,
    "{ object { turns fail } }": {"object": None},
    "{ object { wait failLater } now }": {"object": None, "now": "now"},
    "{ later { a: turns fail b: turns } now }": {"later": None, "now": "now"},
    "{ object { mixed } turns }": {"object": None, "turns": "turns"},
    "{ object { mixedWaits } turns }": {"object": None, "turns": "turns"},
    "{ later { mixedWaits wait } turns }": {"later": None, "turns": "turns"},
    "{ objects { turns sureLater { waits failLater } } }": {"objects": [None, None]},
    "{ object { wait sureLater { object { wait } sureLater { fail } } } }": {"object": None},
    "{ object { turns later { wait fail } } }": {
        "object": {"turns": "object.turns", "later": None}
    },
    "mutation { turns fail never: turns }": None,
    "mutation { later { wait failLater } turns }": {"later": None, "turns": "turns"},
}


@pytest.mark.parametrize("text", FAILING)
async def test_error_that_nulls_its_parent_cancels_the_sibling_fields(text: str) -> None:
    execute, log = prepare(text)
    async with assert_nothing_left():
        result = await _awaited(execute)
    assert result.data == FAILING[text]
    assert result.errors
    waits = [line for line in log if "wait" in line]
    begun = [line for line in waits if line.endswith("begins")]
    cancelled = [line for line in waits if line.endswith("cancelled")]
    assert "waits" in text or "Waits" in text or len(begun) == len(cancelled)
    assert log.count("source begins") == log.count("source is closed")
    assert not [line for line in log if line.startswith("never")]


async def test_concurrent_operations_do_not_affect_each_other() -> None:
    case = Case(SCHEMA, "{ a: turns later { turns object { turns } } objects { turns } }")
    operation = get_operation_ast(parse(case.text))
    assert operation
    logs: list[Log] = [[] for _ in range(20)]
    async with assert_nothing_left():
        answers = await asyncio.gather(
            *(_awaited(partial(by_compiled, case, case.document, operation, log)) for log in logs)
        )
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].errors is None
    assert all(sorted(log) == sorted(logs[0]) for log in logs)
