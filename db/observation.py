"""What observers of a database see: its statements, waits for a connection, and repeated reads.

Metrics and traces are observers (`Database.observe`). Without one, nothing here is called.

Statements of the fast paths are reported by `Reader.run`, and those of SQLAlchemy's normal path by
listeners of the engine. The listeners count as Roster's own, so the fast paths stay in use.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

from sqlalchemy import URL, Engine, event
from sqlalchemy.engine import ExceptionContext

COMMIT: Final = "COMMIT"
PRIMARY: Final = "primary"
LEDGER: Final = "erasure-ledger"
_WRITE: Final = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE)\b")
_WORD: Final = re.compile(r"[A-Za-z]+")
_TEXTS: Final = 1024

End = Callable[[BaseException | None], None]
"""Reports an end, with the error if it failed or was cancelled."""


@dataclass(frozen=True, slots=True)
class Server:
    """The database that an observer is for. Each replica is one, and the ledger of erasures.

    `pool` is `primary`, the host and port of a replica, or `erasure-ledger`.
    """

    pool: str
    system: str
    """`postgresql` or `sqlite`."""
    namespace: str
    host: str | None = None
    port: int | None = None

    @classmethod
    def of(cls, pool: str, url: URL) -> "Server":
        system = url.get_backend_name()
        if system == "sqlite":
            return cls(pool, system, url.database or "")
        return cls(pool, system, url.database or "", url.host, url.port)


class DatabaseObserver(Protocol):
    """Observes one database. Its methods must not raise, and are called in the event loop.

    Those that begin something return None if the end need not be reported.
    """

    def begin_statement(self, text: str, /) -> End | None:
        """Note that a statement is sent on a connection. Its values are not known here."""

    def begin_wait(self, /) -> End | None:
        """Note that a caller waits for a connection, because all are in use.

        The error is SQLAlchemy's TimeoutError, or CancelledError.
        """

    def note_retry(self, error: Exception, /) -> None:
        """Note that a read failed and is repeated."""


Observe = Callable[[Server], DatabaseObserver]


class _Both:
    """Passes everything on to two observers."""

    def __init__(self, first: DatabaseObserver, second: DatabaseObserver) -> None:
        self.first, self.second = first, second

    def begin_statement(self, text: str) -> End | None:
        return _both_ends(self.first.begin_statement(text), self.second.begin_statement(text))

    def begin_wait(self) -> End | None:
        return _both_ends(self.first.begin_wait(), self.second.begin_wait())

    def note_retry(self, error: Exception) -> None:
        self.first.note_retry(error)
        self.second.note_retry(error)


def _both_ends(first: End | None, second: End | None) -> End | None:
    if first is None or second is None:
        return first or second

    def end(error: BaseException | None) -> None:
        second(error)
        first(error)

    return end


def both(known: DatabaseObserver | None, added: DatabaseObserver) -> DatabaseObserver:
    return added if known is None else _Both(known, added)


@contextmanager
def observing(observer: DatabaseObserver | None, text: str) -> Iterator[None]:
    """Report the block as a statement."""
    end = observer.begin_statement(text) if observer else None
    try:
        yield
    except BaseException as error:
        if end:
            end(error)
        raise
    if end:
        end(None)


@lru_cache(maxsize=_TEXTS)
def operation_of(text: str) -> str:
    """Return the kind of a statement: `SELECT`, `INSERT`, `BEGIN`, `COMMIT` etc.

    Of a common table expression that writes, it is the first write.
    """
    word = _WORD.search(text)
    kind = word.group().upper() if word else ""
    if kind != "WITH":
        return kind
    write = _WRITE.search(text)
    return write.group() if write else "SELECT"


class StatementListeners:
    """Reports the statements of an engine's cursors, which SQLAlchemy executes."""

    def __init__(self, observer: DatabaseObserver) -> None:
        self.observer = observer
        self._ends: dict[Any, End] = {}  # by execution context, which has one cursor at a time

    def listen(self, engine: Engine) -> None:
        event.listen(engine, "before_cursor_execute", self._begin)
        event.listen(engine, "after_cursor_execute", self._end)
        event.listen(engine, "handle_error", self._fail)

    def _begin(
        self, _: object, __: object, statement: str, ___: object, context: Any, ____: object
    ) -> None:
        if end := self.observer.begin_statement(statement):
            self._ends[context] = end

    def _end(
        self, _: object, __: object, ___: object, ____: object, context: Any, _____: object
    ) -> None:
        if end := self._ends.pop(context, None):
            end(None)

    def _fail(self, context: ExceptionContext) -> None:
        if end := self._ends.pop(context.execution_context, None):
            end(context.sqlalchemy_exception or context.original_exception)
