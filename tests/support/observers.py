"""An observer that records what it is told."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from db.observation import DatabaseObserver, End, Server, operation_of
from graph.observation import ObservedOperation, RequestEnd


@dataclass
class Recorder:
    """Keeps operations and statements in the order of their ends."""

    started: list[ObservedOperation] = field(default_factory=list)
    identified: list[ObservedOperation] = field(default_factory=list)
    ended: list[ObservedOperation] = field(default_factory=list)
    responses: list[tuple[str, int | None]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """The path and the code of the error of requests that were no operations."""
    databases: dict[str, "RecordedDatabase"] = field(default_factory=dict)

    @property
    def operations(self) -> "RecordedOperations":
        return RecordedOperations(self)

    @property
    def requests(self) -> "RecordedRequests":
        return RecordedRequests(self)

    @property
    def primary(self) -> "RecordedDatabase":
        return self.databases["primary"]

    def database(self, server: Server) -> DatabaseObserver:
        self.databases[server.pool] = RecordedDatabase(server)
        return self.databases[server.pool]

    def watch(self, *_: object) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def take(self) -> Iterator[dict[str, Any]]:
        """Yields what is known of each operation that has ended, and forgets it."""
        while self.ended:
            yield told(self.ended.pop(0))


def told(operation: ObservedOperation) -> dict[str, Any]:
    """Returns what differs from an operation that succeeds."""
    known = {
        "transport": operation.transport,
        "type": operation.type,
        "name": operation.name,
        "persisted": operation.is_persisted,
        "errors": dict(operation.errors),
        "rejection": operation.rejection,
        "retries": operation.retries,
        "replays": operation.replays,
    }
    return {name: value for name, value in known.items() if value}


@dataclass
class RecordedOperations:
    recorder: Recorder

    def started(self, operation: ObservedOperation) -> bool:
        self.recorder.started.append(operation)
        return True

    def identified(self, operation: ObservedOperation) -> None:
        self.recorder.identified.append(operation)

    def ended(self, operation: ObservedOperation) -> None:
        self.recorder.ended.append(operation)


@dataclass
class RecordedRequests:
    recorder: Recorder

    def begin(self, scope: Any) -> RequestEnd:
        def end(status: int | None, code: str | None = None) -> None:
            self.recorder.responses.append((scope["path"], status))
            if code:
                self.recorder.refused.append((scope["path"], code))

        return end


@dataclass
class RecordedDatabase:
    server: Server
    statements: list[tuple[str, str | None]] = field(default_factory=list)
    """The kind of each statement, and the class of its error."""
    waits: list[str | None] = field(default_factory=list)
    retries: int = 0
    open: int = 0

    def begin_statement(self, text: str) -> End:
        return self._begin(lambda error: self.statements.append((operation_of(text), error)))

    def begin_wait(self) -> End:
        return self._begin(self.waits.append)

    def note_retry(self, _: Exception) -> None:
        self.retries += 1

    def _begin(self, note: Any) -> End:
        self.open += 1

        def end(error: BaseException | None) -> None:
            self.open -= 1
            note(error and type(error).__name__)

        return end
