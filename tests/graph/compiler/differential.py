"""Executes an operation with graphql-core and with the compiler, and compares the results."""

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from inspect import isawaitable
from typing import Any
from weakref import WeakSet

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

MAX_ERRORS = 5  # of invalid variables


@dataclass(frozen=True)
class Case:
    """An operation, with functions that create its root and context for each execution."""

    schema: GraphQLSchema
    text: str
    variables: dict[str, Any] | None = None
    name: str | None = None
    root: Callable[[], Any] = lambda: None
    context: Callable[[], Any] = list
    resolvers: Resolvers | None = None
    shared: frozenset[str] = frozenset()  # names of coroutines shared by operations
    suggestions: bool = True
    timing: bool = False  # whether timing decides which errors below a null are reported
    valid: bool = True
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def document(self) -> DocumentNode:
        document = parse(self.text)
        errors = validate(self.schema, document) if self.valid else []
        assert not errors, (self.text, errors)
        return document


@dataclass(frozen=True)
class Observation:
    """A result as text, so that the order of keys and the types of values are compared too."""

    data: str
    errors: list[dict[str, Any]] | None
    context: Any = field(compare=False)
    result: ExecutionResult = field(compare=False, repr=False)
    waited: bool = field(compare=False)

    @property
    def in_order(self) -> "Observation":
        return replace(self, errors=sorted(self.errors or (), key=lambda e: repr(e["path"])))

    @property
    def certain(self) -> "Observation":
        """Without what timing decides: which errors below a null occur before it becomes null.

        One must be reported, and others may be (GraphQL spec, 6.4.4).
        """
        reported = {}
        for error in self.errors or ():
            null_path = _path_of_first_null(self.result.data, error["path"])
            reported[repr(null_path)] = error if null_path == error["path"] else {"path": null_path}
        return replace(self, errors=list(reported.values())).in_order


def _path_of_first_null(data: Any, path: list[str | int]) -> list[str | int]:
    """The part of a path up to the first null in the data."""
    for depth, key in enumerate(path):
        if data is None:
            return path[:depth]
        if isinstance(data, dict) and key not in data:  # a resolver can set the path of its error
            return path
        data = data[key]
    return path


class InvalidCase(Exception):
    """The variables are wrong."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = errors


Way = Callable[[Case, DocumentNode, OperationDefinitionNode, Any], Any]


def by_graphql_core(
    case: Case, document: DocumentNode, operation: OperationDefinitionNode, context: Any
) -> Any:
    executor = Executor.build(
        case.schema,
        document,
        case.root(),
        context,
        case.variables,
        operation.name.value if operation.name else None,
        max_coercion_errors=MAX_ERRORS,
        hide_suggestions=not case.suggestions,
    )
    if isinstance(executor, list):
        raise InvalidCase(executor)
    return executor.execute_operation()


class AlwaysDue:
    """Makes an execution pause at every opportunity."""

    def is_due(self) -> bool:
        return True

    async def pause(self) -> None:
        await asyncio.sleep(0)

    def render(self, value: Any) -> Any:
        return value


def by_compiled(
    case: Case,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    context: Any,
    large: AlwaysDue | None = None,
) -> Any:
    found = case.kept.get("compiled")
    if found is None:
        compiler = Compiler(case.schema, case.resolvers, hide_suggestions=not case.suggestions)
        found = case.kept["compiled"] = compiler.compile(document, operation)
    assert found is not None, case.text
    try:
        return found.execute(
            case.root(), context, case.variables, max_errors=MAX_ERRORS, slicer=large
        )
    except InvalidVariables as wrong:
        raise InvalidCase(wrong.errors) from None


def in_slices(
    case: Case, document: DocumentNode, operation: OperationDefinitionNode, context: Any
) -> Any:
    return by_compiled(case, document, operation, context, AlwaysDue())


def task_name(task: asyncio.Task[Any]) -> str:
    """The name of the coroutine function that a task runs."""
    return getattr(task.get_coro(), "__qualname__", "")


_STARTED: ContextVar[WeakSet[asyncio.Task[Any]] | None] = ContextVar("_STARTED", default=None)


@contextmanager
def started_tasks() -> Iterator[WeakSet[asyncio.Task[Any]]]:
    """Yields the tasks that are started here or by these, but not by tasks in the background."""
    loop = asyncio.get_running_loop()
    replaced = loop.get_task_factory()
    started: WeakSet[asyncio.Task[Any]] = WeakSet()

    def start(
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        if _STARTED.get() is started:
            started.add(task)
        return task

    loop.set_task_factory(start)
    token = _STARTED.set(started)
    try:
        yield started
    finally:
        _STARTED.reset(token)
        loop.set_task_factory(replaced)


async def observe(way: Way, case: Case) -> Observation:
    """Executes a case. Asserts that the compiled execution leaves no tasks or warnings."""
    document = case.document
    operation = get_operation_ast(document, case.name)
    assert operation, case.text
    context = case.context()
    with started_tasks() as started, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = None
        try:
            found = way(case, document, operation, context)
            result = await found if isawaitable(found) else found
        except InvalidCase as invalid:
            result = ExecutionResult(None, invalid.errors)
        except Exception as error:  # noqa: BLE001 - both ways have to raise the same
            result = ExecutionResult({"raised": repr(error)})
        left = [task for task in started if not task.done()]
        own = {task_name(task) for task in left} - case.shared
        # graphql-core lets siblings of a failed field continue, or drops them without awaiting.
        await asyncio.gather(*left, return_exceptions=True)
        gc.collect()
    if way is not by_graphql_core:
        assert not own, (case.text, own)
        texts = [str(each.message) for each in warned]
        # graphql-core completes asynchronous lists for the compiler. What it drops after an error,
        # here or in an earlier execution, is freed when the last traceback is.
        assert not warned or any("'Executor." in text for text in texts), (case.text, texts)
    errors = None if result.errors is None else [_error_details(error) for error in result.errors]
    return Observation(
        repr(_with_serialized_datetimes(result.data)),
        errors,
        context,
        result,
        waited=isawaitable(found),
    )


def _with_serialized_datetimes(data: Any) -> Any:
    """Serializes datetimes, which the compiled execution leaves to the JSON encoder."""
    if isinstance(data, dict):
        return {key: _with_serialized_datetimes(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_with_serialized_datetimes(value) for value in data]
    return format_datetime(data) if isinstance(data, datetime) else data


def _error_details(error: GraphQLError) -> dict[str, Any]:
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


async def assert_same(case: Case) -> Observation:
    """Asserts that graphql-core and the compiler return the same, and returns it."""
    expected = await observe(by_graphql_core, case)
    for _ in range(2):  # one execution must not affect the next
        found = await observe(by_compiled, case)
        # Only an error can leave work that has to be cancelled.
        assert found.waited == expected.waited or expected.errors, case.text
        if found.waited or expected.waited:
            # Errors of async fields are in the order in which the fields end. The number of
            # turns of the event loop can differ.
            if case.timing:
                assert found.certain == expected.certain, case.text
            else:
                assert found.in_order == expected.in_order, case.text
        else:
            assert found == expected, case.text
    divided = await observe(in_slices, case)
    if all(error["path"] for error in expected.errors or ()):
        assert divided.certain == expected.certain, case.text
    else:
        assert divided == expected, case.text
    return found
