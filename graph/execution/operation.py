"""A prepared operation, for transports."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphql import ExecutionResult, OperationType
from strawberry.types import ExecutionResult as StrawberryResult
from strawberry.types.graphql import OperationType as StrawberryOperationType

from graph.documents.cache import PreparedDocument
from graph.execution.errors import formatted
from graph.protocol.request import Request


class StrawberryExecution(Protocol):
    """Strawberry's own execution of an operation, with the extensions of the schema."""

    def execute(self, operation: "Operation") -> Awaitable[StrawberryResult]: ...

    def stream(self, operation: "Operation") -> AsyncGenerator[StrawberryResult, None]: ...


class Executor(Protocol):
    is_delegating: bool
    strawberry: StrawberryExecution

    def run(self, operation: "Operation", /) -> Awaitable[Sequence[bytes]]: ...

    def execute(
        self, operation: "Operation", root: object = None, /
    ) -> Awaitable[ExecutionResult]: ...

    def subscribe(self, operation: "Operation", /) -> Awaitable[AsyncIterable[Any]]: ...


@dataclass(slots=True)  # not frozen: that doubles the time to create one
class Operation:
    """A prepared operation. A transport checks its type, then runs it or subscribes to it."""

    executor: Executor
    request: Request
    text: str
    prepared: PreparedDocument
    context: Any
    root: Any = None
    extensions: dict[str, Any] | None = None
    """The `extensions` of the request."""
    allowed: Iterable[StrawberryOperationType] | None = None
    """The operation types that the caller of `Schema.execute` accepts."""

    @property
    def type(self) -> OperationType:
        return self.prepared.operation.operation

    @property
    def name(self) -> str | None:
        name = self.prepared.operation.name
        return name.value if name else None

    @property
    def is_compiled(self) -> bool:
        """Whether it is compiled. Otherwise Strawberry executes it."""
        return not (
            self.prepared.compiled is None or self.executor.is_delegating or self.extensions
        )

    def run(self) -> Awaitable[Sequence[bytes]]:
        """Execute a query or mutation within its time. Returns the response as parts of JSON."""
        return self.executor.run(self)

    def execute(self, root: object = None) -> Awaitable[ExecutionResult]:
        """Execute without a time limit. `root` is an event of a subscription."""
        return self.executor.execute(self, root)

    def subscribe(self) -> Awaitable[AsyncIterable[Any]]:
        """Return the source of a compiled subscription's events. Raises OperationRejected."""
        return self.executor.subscribe(self)

    def stream(self) -> AsyncGenerator[StrawberryResult, None]:
        """Return the results of a subscription that Strawberry executes."""
        return self.executor.strawberry.stream(self)

    def formatted(self, result: ExecutionResult | StrawberryResult) -> bytes:
        return formatted(result, self.context)
