"""Operations whose answer is a stream of results: over a socket or as Server-Sent Events."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import isawaitable
from typing import Any, Final, Generic, TypeVar

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    GraphQLError,
    OperationType,
    create_source_event_stream,
    execute,
    get_operation_ast,
    located_error,
    parse,
    validate,
)

from graph.context import Context
from graph.errors import present
from graph.results import Results, portions
from graph.schema import Schema
from graph.subscriptions import Upcoming
from users.feed import Event

K = TypeVar("K")
T = TypeVar("T")

# How much is kept for the other subscribers who ask the same.
_EVENTS: Final = 2_000
_BATCHES: Final = 100


class Rejected(Exception):
    """The operation cannot be executed; `errors` are as the response has them."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors)
        self.errors = errors


class BadRequest(ValueError):
    """Not a GraphQL request at all; the message says so to people."""


@dataclass(frozen=True, slots=True)
class Request:
    """One operation, as a message or a body asks for it."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None

    @classmethod
    def of(cls, given: object) -> "Request":
        match given:
            case {"query": str(query), **rest}:
                variables, name = rest.get("variables"), rest.get("operationName")
                if isinstance(variables, dict | None) and isinstance(name, str | None):
                    return cls(query, variables, name)
        raise BadRequest("A request has a query, and may have variables and an operationName.")


class _Recent(Generic[K, T]):
    """A dictionary that lets go of what was added first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[K, T] = {}

    def get(self, key: K) -> T | None:
        return self._values.get(key)

    def add(self, key: K, value: T) -> T:
        self._values[key] = value
        if len(self._values) > self._size:
            del self._values[next(iter(self._values))]
        return value


class Live:
    """Executes operations; of subscribers that ask the same, one executes for all."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._texts: _Recent[tuple[bytes, int], bytes] = _Recent(_EVENTS)
        self._batches: _Recent[tuple[bytes, tuple[int, ...]], asyncio.Task[list[Results]]] = (
            _Recent(_BATCHES)
        )

    async def results(self, request: Request, context: Context) -> AsyncGenerator[Results, None]:
        """Give the results, those of one moment together; raise Rejected where there are none."""
        try:
            document = _document(self._schema, request.query)
        except GraphQLError as error:
            raise _rejected(context, error) from None
        operation = get_operation_ast(document, request.operation_name)
        if operation is None:
            message = "The document has no operation of this name, or more than one to choose from."
            raise _rejected(context, GraphQLError(message))
        if operation.operation is not OperationType.SUBSCRIPTION:
            result = await self._schema.execute(
                request.query,
                variable_values=request.variables,
                context_value=context,
                operation_name=request.operation_name,
            )
            yield Results([_formatted(result.data, result.errors)])
            return
        source = await self._source(document, request, context)
        asked = _key(request, context)
        try:
            async for events in source:
                for results in await self._share(asked, request, events, context):
                    yield results
        except Exception as error:
            raise _rejected(context, located_error(error, path=[])) from error
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    async def _source(
        self, document: DocumentNode, request: Request, context: Context
    ) -> AsyncIterable[Upcoming]:
        executor = Executor.build(
            self._schema._schema,  # noqa: SLF001 - Strawberry has no other way to it
            document,
            context_value=context,
            raw_variable_values=request.variables,
            operation_name=request.operation_name,
        )
        if isinstance(executor, list):
            raise _rejected(context, *executor)
        found = create_source_event_stream(executor)
        source = await found if isawaitable(found) else found
        if isinstance(source, ExecutionResult):
            raise _rejected(context, *(source.errors or ()))
        return source

    async def _share(
        self, asked: bytes, request: Request, events: Upcoming, context: Context
    ) -> list[Results]:
        """Execute for these events, or take it over from who does so for the same caller."""
        key = (asked, events.ids)
        task = self._batches.get(key)
        if task is None:
            making = self._make(asked, request, events, context)
            task = self._batches.add(key, asyncio.create_task(making))
        return task.result() if task.done() else await asyncio.shield(task)

    async def _make(
        self, asked: bytes, request: Request, events: Upcoming, context: Context
    ) -> list[Results]:
        texts = []
        for row in events.rows:
            key = (asked, row.id)
            text = self._texts.get(key)
            if text is None:
                text = self._texts.add(key, await self._execute(request, events, row, context))
            texts.append(text)
        return list(portions(texts))

    async def _execute(
        self, request: Request, events: Upcoming, row: Event, context: Context
    ) -> bytes:
        found = execute(
            self._schema._schema,  # noqa: SLF001 - Strawberry has no other way to it
            _document(self._schema, request.query),
            root_value=events.make(row),
            context_value=context,
            variable_values=request.variables,
            operation_name=request.operation_name,
        )
        result = await found if isawaitable(found) else found
        errors = [present(error, context.request_id) for error in result.errors or ()]
        return _formatted(result.data, errors)


@lru_cache(maxsize=200)
def _document(schema: Schema, query: str) -> DocumentNode:
    """Parse and validate a document; raise the first error that it has."""
    document = parse(query)
    errors = validate(schema._schema, document)  # noqa: SLF001 - Strawberry has no other way to it
    if errors:
        raise errors[0]
    return document


def _key(request: Request, context: Context) -> bytes:
    """Give what has to be the same for two subscribers to be given the same.

    All of the caller that results depend on; until when they may is asked of each by themselves.
    """
    caller = context.caller
    rights = [caller.actor.kind, caller.actor.id, caller.user_id, sorted(caller.scopes)]
    asked = [request.query, request.variables, request.operation_name]
    return dump([*rights, *asked])


def _rejected(context: Context, *errors: GraphQLError) -> Rejected:
    presented = [present(error, context.request_id) for error in errors]
    return Rejected([dict(error.formatted) for error in presented])


def _formatted(data: Any, errors: Sequence[GraphQLError] | None) -> bytes:
    told = {"errors": [error.formatted for error in errors]} if errors else {}
    return dump(told | {"data": data})


def dump(value: object) -> bytes:
    """Give JSON in UTF-8; half a surrogate pair, which has none, as an escape."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()
