"""A ledger in a table of another PostgreSQL database, which several machines share."""

import asyncio
from collections.abc import Awaitable, Collection
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    MetaData,
    Row,
    Table,
    Text,
    Uuid,
    insert,
    select,
    text,
)
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import CreateTable

from db.engine import Database
from db.erasure_ledger.entries import Entry, Erasures, LedgerError, RowIdentity, State
from db.errors import is_of_database, message_of
from db.observation import LEDGER, Observe

T = TypeVar("T")

_UNDEFINED_TABLE: Final = "42P01"
TABLE: Final = "roster_erasures"
_ENTRIES: Final = Table(
    TABLE,
    MetaData(),
    Column("id", BigInteger(), Identity(always=True), primary_key=True),
    Column("state", Text(), nullable=False),
    Column("erasure", Uuid(), nullable=False),
    Column("user_id", BigInteger(), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("random_id", Uuid()),
    Column("at", DateTime(timezone=True), nullable=False),
)
_CREATE: Final = CreateTable(_ENTRIES, if_not_exists=True)
_READ: Final = select(*_ENTRIES.c).order_by(_ENTRIES.c.id)
_PAGE: Final = 10_000
# Also for a role or database with synchronous_commit=off: an entry must survive a crash.
_DURABLE: Final = text(
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
_IS_WRITABLE: Final = text(
    "SELECT NOT pg_is_in_recovery() AND CASE WHEN to_regclass('roster_erasures') IS NULL "
    "THEN has_schema_privilege(current_schema(), 'CREATE') "
    "ELSE has_table_privilege('roster_erasures', 'INSERT') END"
)
_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_CREATION: Final = int.from_bytes(b"erasures")  # two processes may create the table


class TableLedger:
    """`timeout` is in seconds. It limits each append."""

    def __init__(self, database: Database, name: str, timeout: float = 5.0) -> None:
        self._database = database
        self._name = name
        self._timeout = timeout

    @property
    def name(self) -> str:
        return self._name

    async def append(self, entries: Collection[Entry]) -> None:
        if entries:
            rows = [_row(entry) for entry in entries]
            await self._in_time(self._append(rows))

    async def read(self) -> Erasures:
        return await self._reported(self._read())

    async def check_writable(self) -> None:
        async def ask() -> bool:
            async with self._database.session() as session:
                return bool(await session.scalar(_IS_WRITABLE))

        if not await self._in_time(ask()):
            raise LedgerError(f"{self._name} accepts no entries from this role")

    def observe(self, observe: Observe) -> None:
        self._database.observe(observe, LEDGER)

    async def close(self) -> None:
        await self._database.close()

    async def _append(self, rows: list[dict[str, Any]]) -> None:
        try:
            await self._insert(rows)
        except ProgrammingError as error:
            if not _lacks_table(error):
                raise
            await self._create()
            await self._insert(rows)

    async def _insert(self, rows: list[dict[str, Any]]) -> None:
        async with self._database.session() as session, session.transaction():
            await session.execute(_DURABLE)
            await session.execute(insert(_ENTRIES), rows)

    async def _create(self) -> None:
        async with self._database.session() as session, session.transaction():
            await session.execute(_LOCK, {"key": _CREATION})
            await session.execute(_CREATE)

    async def _read(self) -> Erasures:
        erasures, last = Erasures(), 0
        async with self._database.session() as session:
            while True:
                page = _READ.where(_ENTRIES.c.id > last).limit(_PAGE)
                try:
                    rows = (await session.execute(page)).all()
                except ProgrammingError as error:
                    if _lacks_table(error):
                        return erasures
                    raise
                if not rows:
                    return erasures
                for row in rows:
                    erasures.add(_entry(row))
                last = rows[-1].id

    async def _in_time(self, job: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(self._reported(job), self._timeout)
        except TimeoutError:
            raise LedgerError(f"{self._name} does not answer") from None

    async def _reported(self, job: Awaitable[T]) -> T:
        try:
            return await job
        except Exception as error:
            if isinstance(error, TimeoutError) or not is_of_database(error):
                raise
            raise LedgerError(f"cannot use {self._name}: {message_of(error)}") from None


def _lacks_table(error: ProgrammingError) -> bool:
    return getattr(error.orig, "sqlstate", None) == _UNDEFINED_TABLE


def _entry(row: Row[Any]) -> Entry:
    identity = RowIdentity(row.user_id, row.created_at, row.random_id)
    return Entry(State(row.state), row.erasure.hex, identity, row.at)


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "state": str(entry.state),
        "erasure": UUID(entry.erasure),
        "user_id": entry.row.user_id,
        "created_at": entry.row.created_at,
        "random_id": entry.row.random_id,
        "at": entry.at,
    }
