"""The session of one operation, which concurrently resolved fields share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar, cast

from sqlalchemy import ClauseElement, Result, SelectBase, UpdateBase, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.sql import visitors

from db.observation import COMMIT, observing
from db.outcome import Outcome, Write
from db.prepared import PreparedStatement
from db.reader import Reader, can_be_read_again
from db.session_lock import SessionLock
from db.sqlalchemy_adapter import has_listeners
from db.statements.events import ADD_EVENT
from db.statements.users import ADD_USER

if TYPE_CHECKING:
    from asyncio import Future

F = TypeVar("F", bound=Callable[..., Any])

_WAIT_IN_QUEUE = text("SELECT pg_advisory_xact_lock(:queue)")
_QUEUE: Final = int.from_bytes(b"roster")  # the advisory lock of the queue of all processes

_BLOCK: Final = "use `async with session.transaction():`"
_BUFFERED: Final = "use `execute`, whose results are buffered, and read page by page"

# The transaction block of the current task. Tasks that are started inside the block inherit it.
_block_of_task: ContextVar[object | None] = ContextVar("transaction_block", default=None)


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts that all sessions of one database share."""

    engine: AsyncEngine
    autocommit: AsyncEngine  # the same engine in autocommit
    reader: Reader
    # SQLite has one writer. Waiting for this lock costs nothing, whereas waiting inside SQLite
    # occupies a thread that sleeps and polls. It is None for PostgreSQL.
    writer: asyncio.Lock | None
    reopen_moved_file: Callable[[], None]
    check_primary: Callable[[], Awaitable[None]]
    insert_user: Callable[[Reader, Mapping[str, Any], Write], Awaitable[list[Any]]]
    checkpoint: Callable[[AsyncEngine], Awaitable[bool]]
    info: Mapping[str, Any]


class Participant(Protocol):
    """Takes part in the end of a transaction, for a record that is not in the database."""

    async def prepare(self) -> None:
        """Run before COMMIT. An error rolls the transaction back."""

    async def end(self, outcome: Outcome) -> None:
        """Run after the transaction, without its locks, whether or not `prepare` was run."""


def _shared(method: F) -> F:
    """Allow a reading method in any task, inside and outside a transaction."""

    @wraps(method)
    async def run(session: "Session", statement: Any, *arguments: Any, **options: Any) -> Any:
        return await session._run(method, statement, *arguments, **options)  # noqa: SLF001 - the session's own method

    return cast("F", run)


def _only_in_transaction(method: F) -> F:
    """Allow a method only inside a transaction block.

    The tasks of the block run it one at a time.
    """

    @wraps(method)
    async def run(session: "Session", *arguments: Any, **options: Any) -> Any:
        return await session._run_in_block(method, *arguments, **options)  # noqa: SLF001 - the session's own method

    return cast("F", run)


def _sync_only_in_transaction(method: F) -> F:
    @wraps(method)
    def run(session: "Session", *arguments: Any, **options: Any) -> Any:
        session._require_block(method.__name__)  # noqa: SLF001 - the session's own method
        return method(session, *arguments, **options)

    return cast("F", run)


def _never(method: F, instead: str) -> F:
    @wraps(method)
    def refuse(*_arguments: Any, **_options: Any) -> NoReturn:
        raise InvalidRequestError(f"`{method.__name__}` is not for this session: {instead}")

    return cast("F", refuse)


class Session(AsyncSession):
    """The session of one operation. Every read and write of the operation goes through it.

    Any number of tasks may use it. It never holds more than one connection.

    Outside `transaction()` each statement is a transaction of its own (autocommit). `execute`,
    `scalar`, `scalars` and `get` return buffered results and release the connection before they
    return. A read is retried once if its connection is cut. Writes, and methods that need a longer
    transaction (`begin`, `commit`, `add`, `flush`, `stream`, ...), raise InvalidRequestError.

    There are two faster ways to read. `fetch` makes the driver run a prepared statement. `load`
    reads rows by key, in one statement with the keys of other operations, possibly on another
    connection of the pool. If the engine, its pool or the session has listeners, both take
    SQLAlchemy's normal path.

    A transaction belongs to the task that enters the block and to the tasks it starts there. Other
    tasks wait until it ends. `load` raises an error inside the block, because it would read outside
    the transaction.
    """

    _participants: tuple[Participant, ...] = ()  # of the current transaction

    # Without super().__init__(): AsyncSession's own attributes are created at their first use.
    # Creating them takes 5 µs, and `load` and `fetch` do not need them.
    def __init__(self, backend: Backend) -> None:
        self._has_sync_session = False
        self._backend = backend
        self._lock = SessionLock()
        self._block: object | None = None
        self._statement_lock = asyncio.Lock()  # serialises the statements of a transaction

    if not TYPE_CHECKING:  # for a type checker, no other attribute exists

        def __getattr__(self, name: str) -> Any:
            if self.__dict__.get("_has_sync_session", True):
                raise AttributeError(name, name=name, obj=self)
            self._has_sync_session = True
            super().__init__(
                self._backend.autocommit,
                expire_on_commit=False,
                autoflush=False,
                info=dict(self._backend.info),
            )
            return getattr(self, name)

    def _has_listeners(self) -> bool:
        return has_listeners(self.sync_session if self._has_sync_session else None)

    # Reads

    execute = _shared(AsyncSession.execute)
    scalar = _shared(AsyncSession.scalar)  # type: ignore[assignment, arg-type]  # its overloads
    get = _shared(AsyncSession.get)
    get_one = _shared(AsyncSession.get_one)

    async def fetch(self, prepared: PreparedStatement, /, **values: Any) -> Sequence[Any]:
        if self._is_in_block() or self._has_listeners():
            rows: Sequence[Any] = (await self.execute(prepared.statement, values)).all()
            return rows
        async with self._lock.exclusive():
            return await self._backend.reader.fetch(prepared, values)

    def load(self, lookup: PreparedStatement, keys: Sequence[Any]) -> "Future[list[Any]]":
        """Return a future of the rows in the order of the keys, with None for a key without a row.

        The statement has the parameter `keys`, and each of its rows has a `key`.
        """
        if self._is_in_block():
            raise InvalidRequestError("`load` reads past the transaction: use `fetch` inside it")
        if self._has_listeners():
            return asyncio.ensure_future(self._load_alone(lookup, keys))
        return self._lock.shared(self._backend.reader.lookup(lookup).load, keys)

    async def _load_alone(self, lookup: PreparedStatement, keys: Sequence[Any]) -> list[Any]:
        wanted = list(dict.fromkeys(keys))
        rows = {row.key: row for row in await self.fetch(lookup, keys=wanted)}
        return [rows.get(key) for key in keys]

    def read_primary(self) -> None:
        """Read on the primary from now on. A session that never reads on replicas does so anyway.

        Call it before reads that belong to the change feed or to its watermark.
        """

    def following(self, caller: str) -> AbstractContextManager[None]:  # noqa: ARG002 - for replicas
        """Within this context, the caller's reads on replicas show what the feed has delivered."""
        return nullcontext()

    def note_delivery(self) -> None:
        """Record that results of the feed were read on the primary and are delivered now."""

    async def check_primary(self) -> None:
        """Raise StandbyError on a standby, which may lag behind what was read from the primary."""
        async with self._lock.exclusive():
            await self._backend.check_primary()

    # Writes

    @asynccontextmanager
    async def transaction(
        self, *, queued: bool = False, write: Write | None = None
    ) -> AsyncIterator["Session"]:
        """Commit at the end of the block, or roll back if it raises.

        `queued` transactions of all processes run one at a time, in FIFO order. `write` records the
        outcome of this transaction.
        """
        if self._is_in_block():
            raise InvalidRequestError("a transaction cannot begin inside another")
        write = write or Write()
        participants: tuple[Participant, ...] = ()
        try:
            async with self._lock.exclusive(), self._backend.writer or nullcontext():
                self._backend.reopen_moved_file()
                outer = _block_of_task.get()
                try:
                    self.bind = self._backend.engine
                    async with super().begin():
                        await self._begin(queued=queued)
                        self._block = object()
                        _block_of_task.set(self._block)
                        try:
                            yield self
                        except BaseException:
                            await self._end_block()
                            raise
                        await self._end_block()
                        await super().flush()  # so that only COMMIT is left
                        for participant in self._participants:
                            await participant.prepare()
                        observer = self._backend.reader.observer
                        with write.committing(), observing(observer, COMMIT):
                            await super().commit()
                finally:
                    participants, self._participants = self._participants, ()
                    _block_of_task.set(outer)
                    if self.in_transaction():  # the end of the transaction was cancelled
                        await _complete(super().close())
                    self.expunge_all()
                    self.bind = self._backend.autocommit
        finally:
            for participant in participants:
                await _complete(participant.end(write.outcome))

    def enlist(self, participant: Participant) -> None:
        """Add a participant to the current transaction."""
        self._require_block("enlist")
        self._participants = (*self._participants, participant)

    async def _begin(self, *, queued: bool) -> None:
        await super().connection(execution_options={"roster_writes": True})
        if queued and self._backend.writer is None:
            await super().execute(_WAIT_IN_QUEUE, {"queue": _QUEUE})

    async def _end_block(self) -> None:
        """Wait for a running statement of another task, and reject later ones."""
        try:
            async with self._statement_lock:
                self._block = None
        finally:
            self._block = None

    async def insert_user(
        self, user: Mapping[str, Any], event: Mapping[str, Any], write: Write | None = None
    ) -> int | None:
        """Insert a user and their event in one transaction, which is committed on return.

        Returns the user's id. Inserts neither and returns None if a unique value is taken.
        """
        if self._is_in_block():
            raise InvalidRequestError("`insert_user` is a transaction of its own")
        write = write or Write()
        values = {**user, **{f"event_{name}": value for name, value in event.items()}}
        backend = self._backend
        if backend.reader.listeners.exist() or self._has_listeners():
            rows = await self._insert_user_in_transaction(values, write)
        else:
            async with self._lock.exclusive(), backend.writer or nullcontext():
                backend.reopen_moved_file()
                rows = await backend.insert_user(backend.reader, values, write)
        if not rows:
            write.outcome = Outcome.NOT_DONE
            return None
        user_id: int = rows[0][0]
        return user_id

    async def _insert_user_in_transaction(
        self, values: Mapping[str, Any], write: Write
    ) -> Sequence[Any]:
        async with self.transaction(write=write):
            rows = await self.fetch(ADD_USER, **values)
            for row in rows:
                await self.execute(ADD_EVENT.statement, {**values, "user_id": row[0]})
        return rows

    async def checkpoint(self) -> bool:
        """Remove overwritten data from SQLite's log too. Returns whether that was possible.

        It is not possible during a read. On PostgreSQL this does nothing: VACUUM removes dead rows,
        and the log follows its retention.
        """
        if self._is_in_block():
            raise InvalidRequestError("a transaction keeps a checkpoint from its own pages")
        async with self._lock.exclusive(), self._backend.writer or nullcontext():
            return await self._backend.checkpoint(self._backend.autocommit)

    # Other methods of AsyncSession

    flush = _only_in_transaction(AsyncSession.flush)
    delete = _only_in_transaction(AsyncSession.delete)
    delete_all = _only_in_transaction(AsyncSession.delete_all)
    merge = _only_in_transaction(AsyncSession.merge)
    merge_all = _only_in_transaction(AsyncSession.merge_all)
    refresh = _only_in_transaction(AsyncSession.refresh)
    connection = _only_in_transaction(AsyncSession.connection)
    run_sync = _only_in_transaction(AsyncSession.run_sync)
    add = _sync_only_in_transaction(AsyncSession.add)
    add_all = _sync_only_in_transaction(AsyncSession.add_all)
    begin_nested = _sync_only_in_transaction(AsyncSession.begin_nested)
    begin = _never(AsyncSession.begin, _BLOCK)
    commit = _never(AsyncSession.commit, _BLOCK)
    rollback = _never(AsyncSession.rollback, _BLOCK)
    reset = _never(AsyncSession.reset, _BLOCK)
    invalidate = _never(AsyncSession.invalidate, _BLOCK)
    stream = _never(AsyncSession.stream, _BUFFERED)
    stream_scalars = _never(AsyncSession.stream_scalars, _BUFFERED)

    async def close(self) -> None:
        """Cancel everything that runs on the session or waits for it, and release the connection.

        Data loaders read in their own tasks, which nothing else would cancel.
        """
        if self._is_in_block():
            raise InvalidRequestError(f"`close` cannot end a transaction: {_BLOCK}")
        await self._lock.cancel()
        await self._backend.reader.end_unwanted()
        await super().close()

    # Implementation

    async def _run(self, method: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
        if self._is_in_block():
            async with self._statement_lock:
                if self._is_in_block():  # the transaction may have ended during the wait
                    return await method(self, statement, *arguments, **options)
        if _writes(statement):
            raise InvalidRequestError(f"a write needs a transaction: {_BLOCK}")
        async with self._lock.exclusive():
            try:
                return await self._run_in_autocommit(method, statement, *arguments, **options)
            except Exception as error:
                # A textual statement may write. Only a statement that certainly reads is retried.
                is_read = isinstance(statement, SelectBase | type)
                if not (is_read and can_be_read_again(error)):
                    raise
                self._backend.reader.note_retry(error)
            return await self._run_in_autocommit(method, statement, *arguments, **options)

    async def _run_in_autocommit(self, method: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().run_sync(_run_and_close, method.__name__, *arguments, **options)
        except BaseException:
            if self.in_transaction():  # closing was cancelled
                await _complete(super().close())
            raise

    async def _run_in_block(self, method: Any, *arguments: Any, **options: Any) -> Any:
        self._require_block(method.__name__)
        async with self._statement_lock:
            self._require_block(method.__name__)  # the transaction may have ended during the wait
            return await method(self, *arguments, **options)

    def _is_in_block(self) -> bool:
        return self._block is not None and self._block is _block_of_task.get()

    def _require_block(self, name: str) -> None:
        if not self._is_in_block():
            raise InvalidRequestError(f"`{name}` needs a transaction: {_BLOCK}")


def _writes(statement: Any) -> bool:
    # A select can contain a write: as its source (`from_statement`) or as a CTE.
    return isinstance(statement, ClauseElement) and any(
        isinstance(part, UpdateBase) for part in visitors.iterate(statement)
    )


def _run_and_close(session: SyncSession, method: str, *arguments: Any, **options: Any) -> Any:
    # All in one greenlet. `freeze` buffers the result before the connection is released.
    try:
        found = getattr(session, method)(*arguments, **options)
        if isinstance(found, Result) and getattr(found, "returns_rows", True):
            return found.freeze()()
        return found
    finally:
        session.close()


async def _complete(work: Coroutine[Any, Any, None]) -> None:
    """Wait until the work is completed, even if the task is cancelled during the wait."""
    task = asyncio.create_task(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    task.result()
