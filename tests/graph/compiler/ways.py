"""Both ways to execute an operation, and all that can be seen of an answer."""

import asyncio
import gc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from inspect import isawaitable
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    get_operation_ast,
    parse,
    validate,
)

from graph.compiler import Compiler, InvalidVariables, Resolvers
from graph.protocol.json import format_datetime

MAX_ERRORS = 5  # of wrong variables


@dataclass(frozen=True)
class Asked:
    """An operation, and what each of the two ways gets for it, freshly made."""

    schema: GraphQLSchema
    text: str
    variables: dict[str, Any] | None = None
    name: str | None = None
    root: Callable[[], Any] = lambda: None
    context: Callable[[], Any] = list
    resolvers: Resolvers | None = None
    shared: frozenset[str] = frozenset()  # coroutines that are no operation's own
    suggestions: bool = True
    timing: bool = False  # whether it may decide which errors below a null are told
    valid: bool = True
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def document(self) -> DocumentNode:
        document = parse(self.text)
        errors = validate(self.schema, document) if self.valid else []
        assert not errors, (self.text, errors)
        return document


@dataclass(frozen=True)
class Seen:
    """An answer: as text, so that the order of keys and the types of values count too."""

    data: str
    errors: list[dict[str, Any]] | None
    context: Any = field(compare=False)
    result: ExecutionResult = field(compare=False, repr=False)
    waited: bool = field(compare=False)

    @property
    def in_order(self) -> "Seen":
        return replace(self, errors=sorted(self.errors or (), key=lambda e: repr(e["path"])))

    @property
    def certain(self) -> "Seen":
        """Leave out what timing decides: which errors below one null are met before it is one.

        One has to be told, and others may be (GraphQL spec, 6.4.4).
        """
        told = {}
        for error in self.errors or ():
            void = _void(self.result.data, error["path"])
            told[repr(void)] = error if void == error["path"] else {"path": void}
        return replace(self, errors=list(told.values())).in_order


def _void(data: Any, path: list[str | int]) -> list[str | int]:
    """Give where a path meets its first null."""
    for depth, key in enumerate(path):
        if data is None:
            return path[:depth]
        if isinstance(data, dict) and key not in data:  # a resolver can say where its error is
            return path
        data = data[key]
    return path


class Refused(Exception):
    """The variables are wrong."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = errors


Way = Callable[[Asked, DocumentNode, OperationDefinitionNode, Any], Any]


def by_graphql_core(
    asked: Asked, document: DocumentNode, operation: OperationDefinitionNode, context: Any
) -> Any:
    executor = Executor.build(
        asked.schema,
        document,
        asked.root(),
        context,
        asked.variables,
        operation.name.value if operation.name else None,
        max_coercion_errors=MAX_ERRORS,
        hide_suggestions=not asked.suggestions,
    )
    if isinstance(executor, list):
        raise Refused(executor)
    return executor.execute_operation()


class AlwaysDue:
    """Has an execution pause wherever it can."""

    def is_due(self) -> bool:
        return True

    async def pause(self) -> None:
        await asyncio.sleep(0)

    def render(self, value: Any) -> Any:
        return value


def by_compiled(
    asked: Asked,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    context: Any,
    large: AlwaysDue | None = None,
) -> Any:
    found = asked.kept.get("compiled")
    if found is None:
        compiler = Compiler(asked.schema, asked.resolvers, hide_suggestions=not asked.suggestions)
        found = asked.kept["compiled"] = compiler.compile(document, operation)
    assert found is not None, asked.text
    try:
        return found.execute(
            asked.root(), context, asked.variables, max_errors=MAX_ERRORS, slicer=large
        )
    except InvalidVariables as wrong:
        raise Refused(wrong.errors) from None


def in_slices(
    asked: Asked, document: DocumentNode, operation: OperationDefinitionNode, context: Any
) -> Any:
    return by_compiled(asked, document, operation, context, AlwaysDue())


def of(task: asyncio.Task[Any]) -> str:
    """Name the coroutine function that a task runs."""
    return getattr(task.get_coro(), "__qualname__", "")


async def seen(way: Way, asked: Asked) -> Seen:
    """Execute; assert, of the compiled way, that nothing is left of it when it has answered."""
    document = asked.document
    operation = get_operation_ast(document, asked.name)
    assert operation, asked.text
    context = asked.context()
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = None
        try:
            found = way(asked, document, operation, context)
            result = await found if isawaitable(found) else found
        except Refused as refused:
            result = ExecutionResult(None, refused.errors)
        except Exception as error:  # noqa: BLE001 - both ways have to raise the same
            result = ExecutionResult({"raised": repr(error)})
        left = asyncio.all_tasks() - before
        # graphql-core lets siblings of a failed field run on, or drops them unawaited.
        await asyncio.gather(*left, return_exceptions=True)
        gc.collect()
    if way is not by_graphql_core:
        own = {task for task in left if of(task) not in asked.shared}
        assert not own, (asked.text, own)
        assert not warned, (asked.text, [str(each.message) for each in warned])
    errors = None if result.errors is None else [_told(error) for error in result.errors]
    return Seen(repr(_written(result.data)), errors, context, result, waited=isawaitable(found))


def _written(data: Any) -> Any:
    """Write the moments that the compiled way leaves to whoever writes JSON."""
    if isinstance(data, dict):
        return {key: _written(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_written(value) for value in data]
    return format_datetime(data) if isinstance(data, datetime) else data


def _told(error: GraphQLError) -> dict[str, Any]:
    original = error.original_error
    return {
        "message": error.message,
        "path": error.path,
        "locations": error.locations,
        "extensions": error.extensions,
        "nodes": error.nodes,
        "original": (type(original), str(original)),
        "formatted": error.formatted,
    }


async def same(asked: Asked) -> Seen:
    """Assert that both ways give the same; give what that is."""
    expected = await seen(by_graphql_core, asked)
    for _ in range(2):  # nothing of one execution may stay for the next
        found = await seen(by_compiled, asked)
        # Only an error can leave work that has to be cancelled.
        assert found.waited == expected.waited or expected.errors, asked.text
        if found.waited or expected.waited:
            # Of fields that wait, the one that is ready first has its error first, and how many
            # turns of the event loop a way takes is its own affair.
            if asked.timing:
                assert found.certain == expected.certain, asked.text
            else:
                assert found.in_order == expected.in_order, asked.text
        else:
            assert found == expected, asked.text
    divided = await seen(in_slices, asked)
    if all(error["path"] for error in expected.errors or ()):
        assert divided.certain == expected.certain, asked.text
    else:
        assert divided == expected, asked.text
    return found
