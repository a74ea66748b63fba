"""What observers of the server see: HTTP requests, GraphQL operations and databases.

Metrics and traces are observers, given to `create_app`. Without one, nothing here is called.

An operation is begun by its transport, before the caller is authenticated. `Schema.prepare`
identifies it if its document is valid. It ends when its response is complete, or, for a stream,
when the stream ends. What happens in between is added to it through the context of the resolvers.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from graphql import OperationDefinitionNode
from starlette.types import Scope

from db.engine import Database
from db.observation import DatabaseObserver, Server
from feed.feed import Feed
from graph.protocol.errors import RequestError

Transport = Literal["http", "batch", "sse", "websocket"]
"""`batch` is that of each request of a batch."""


CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""Codes of errors that may be published. Those of others, such as extensions, can be any text."""


class ObservedOperation:
    """One GraphQL operation, or a request that was rejected before its operation was known."""

    # Defaults of the class: most operations change few of them, and one is created per request.
    type: str | None = None
    """`query`, `mutation` or `subscription`. None if the request was rejected before that."""
    text: str | None = None
    is_persisted: bool = False
    errors: Mapping[str, int] = MappingProxyType({})
    """The number of errors by code: in `errors` of the response, and those of mutations, whether or
    not the client has selected them.
    """
    rejection: str | None = None
    """The code of the error that answered the request as a whole: it was rejected, or ended."""
    retries: int = 0
    """How often a transaction was repeated."""
    replays: int = 0
    """How many mutations were answered from their idempotency key."""
    _node: OperationDefinitionNode | None = None
    _has_ended = False

    def __init__(self, transport: Transport, observers: Iterable["OperationObserver"]) -> None:
        self.transport = transport
        self.begun = time.perf_counter()
        self.observers: list[OperationObserver] = []
        for observer in observers:
            if observer.started(self):
                self.observers.append(observer)

    @cached_property
    def notes(self) -> dict[Any, Any]:
        """What observers keep until the end, by keys of their own."""
        return {}

    @property
    def document_hash(self) -> str | None:
        """The SHA-256 of the document, as in a manifest of persisted documents."""
        if self.text is None:
            return None
        return sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def name(self) -> str | None:
        """The operation's name. Clients choose it, unless the document is persisted."""
        return self._node.name.value if self._node and self._node.name else None

    def identify(self, node: OperationDefinitionNode, text: str, *, is_persisted: bool) -> None:
        self.type = node.operation.value
        self.text = text
        self.is_persisted = is_persisted
        self._node = node
        for observer in self.observers:
            observer.identified(self)

    def add_errors(self, codes: Iterable[str]) -> None:
        for code in codes:
            self.errors = {**self.errors, code: self.errors.get(code, 0) + 1}

    def reject(self, error: RequestError) -> None:
        """Add the error that answers the request as a whole, or ends its stream."""
        self.rejection = error.code
        if error.code not in self.errors:  # errors of the document are already counted
            self.add_errors(each["extensions"]["code"] for each in error.errors)

    def end(self) -> None:
        """End the operation. A second call has no effect."""
        if not self._has_ended:
            self._has_ended = True
            for observer in reversed(self.observers):
                observer.ended(self)


class _ObservedStream(ObservedOperation):
    def __del__(self) -> None:
        self.end()  # the client has left before its stream began


class OperationObserver(Protocol):
    """Its methods must not raise. They are called in the task of the operation.

    `ended` can be called in another task, if the client leaves a stream.
    """

    def started(self, operation: ObservedOperation, /) -> bool:
        """Return whether to observe the operation. Otherwise nothing more is called for it."""

    def identified(self, operation: ObservedOperation, /) -> None: ...

    def ended(self, operation: ObservedOperation, /) -> None: ...


class RequestEnd(Protocol):
    def __call__(self, status: int | None, code: str | None = None, /) -> None:
        """Note that the response is complete. Without a status, there was none.

        `code` is that of the error that has ended the request, unless observers of operations have
        seen it.
        """


class RequestObserver(Protocol):
    """Observes HTTP requests of all paths. Its methods must not raise."""

    def begin(self, scope: Scope, /) -> RequestEnd: ...


class LimitStorage(Protocol):
    """The storage of shared rate limits."""

    @property
    def is_available(self) -> bool: ...

    @property
    def failures(self) -> int: ...

    @property
    def local_hits(self) -> int:
        """How many requests were counted by this process alone, because it failed."""


class Load(Protocol):
    """The current load of the process."""

    @property
    def shared(self) -> LimitStorage | None: ...

    @property
    def running(self) -> int:
        """The number of queries and mutations that run."""

    @property
    def open_connections(self) -> int:
        """The number of open WebSockets and streams."""


class PublishedKeys(Protocol):
    """The keys that an issuer publishes, and this process fetches."""

    @property
    def host(self) -> str: ...

    @property
    def failures(self) -> int:
        """How many fetches have failed."""

    @property
    def age(self) -> float | None:
        """Seconds since the keys were fetched; None if they never were."""


class Observer(Protocol):
    """One consumer, such as metrics or traces."""

    @property
    def operations(self) -> OperationObserver: ...

    @property
    def requests(self) -> RequestObserver | None: ...

    def database(self, server: Server, /) -> DatabaseObserver: ...

    def watch(
        self, database: Database, feed: Feed, load: Load, keys: Sequence[PublishedKeys], /
    ) -> AbstractAsyncContextManager[None]:
        """Return a context that is active while the application runs."""


class _RequestObservers:
    def __init__(self, observers: Sequence[RequestObserver]) -> None:
        self._observers = observers

    def begin(self, scope: Scope) -> RequestEnd:
        ends = [observer.begin(scope) for observer in self._observers]

        def end(status: int | None, code: str | None = None) -> None:
            for each in ends:
                each(status, code)

        return end


def observer_of_requests(observers: Iterable[Observer]) -> RequestObserver | None:
    """Return what observes the requests for all observers, or None if none of them does."""
    found = [observer.requests for observer in observers if observer.requests]
    return _RequestObservers(found) if len(found) > 1 else next(iter(found), None)


class Operations:
    """Begins operations for all observers."""

    def __init__(self, observers: Sequence[OperationObserver] = ()) -> None:
        self._observers = observers

    def begin(self, transport: Transport) -> ObservedOperation | None:
        """Return the operation, or None if nobody observes it."""
        if not self._observers:
            return None
        made = _ObservedStream if transport == "sse" else ObservedOperation
        operation = made(transport, self._observers)
        return operation if operation.observers else None

    def reject(self, operation: ObservedOperation | None, error: RequestError) -> None:
        """End an operation by the error that answers its request."""
        if operation:
            operation.reject(error)
            operation.end()
