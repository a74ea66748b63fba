"""Checks of the connections to PostgreSQL: what Roster uses is tried."""

import asyncio
import secrets
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from db.checks.check import Caution, Failure
from db.checks.inspected import Server, ask
from db.connector import Connector, connecting
from db.errors import message_of
from db.notifications import close
from db.poolers import Pooler
from db.pooling import NOT_SET, OTHER_DATABASE, PoolerError, Pooling, check_urls, plain
from db.timing import DEFAULT

_HEARD_SECONDS: Final = 2.0
_ROUNDS: Final = 5
_STATEMENT: Final = "SELECT $1::int"
_STATEMENTS: Final = "in PgBouncer set pool_mode = transaction, or session"
_KEYS: Final = 2**62
_TOO_FAR: Final = 30.0  # seconds; the default of ROSTER_AUTH_LEEWAY
_FAR: Final = 2.0
_OLD_POOLER: Final = (
    "set ROSTER_DATABASE_POOLER=transaction, or max_prepared_statements in PgBouncer 1.21 or newer"
)
_RESET: Final = "in PgBouncer set server_reset_query = DISCARD ALL"
_LEFT: Final = """
  SELECT (SELECT count(*) FROM pg_prepared_statements),
    (SELECT count(*) FROM pg_listening_channels()),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"""


async def connection(server: Server) -> str:
    begun = time.monotonic()
    await server.connection()
    milliseconds = (time.monotonic() - begun) * 1000
    [[user, database]] = await server.query("SELECT current_user::text, current_database()::text")
    return f"{user} is connected to {database} after {milliseconds:.0f} ms"


async def direct_connection(server: Server) -> str:
    if not server.has_direct_url:
        return "ROSTER_DATABASE_DIRECT_URL is not set: ROSTER_DATABASE_URL is used for everything"
    [[user, database]] = await ask(
        await server.direct(), "SELECT current_user::text, current_database()::text"
    )
    return f"{user} is connected to {database}"


async def primary(server: Server) -> str:
    [[standby, read_only]] = await server.query(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
    )
    if standby:
        raise Failure(
            "the server is a standby, which accepts no writes",
            "ROSTER_DATABASE_URL has to lead to the primary; list several hosts to follow it",
        )
    if read_only == "on":
        raise Failure(
            "transactions are read-only",
            "reset default_transaction_read_only of the server, the database and the role",
        )
    return "the server is a primary and accepts writes"


async def pooler(server: Server) -> str:
    try:
        server.pooling = await check_urls(server.url, server.direct_url, server.pooler)
    except PoolerError as error:
        raise Failure(error.detail, error.fix) from None
    if server.pooler is not Pooler.NONE and server.pooling is Pooling.DIRECT:
        raise Caution(
            "ROSTER_DATABASE_URL leads to PostgreSQL without a pooler",
            "unset ROSTER_DATABASE_POOLER, which makes statements slower",
        )
    return {
        Pooling.DIRECT: "there is none",
        Pooling.SESSION: "a pooler in session mode",
        Pooling.TRANSACTION: "a pooler in transaction mode",
    }[server.pooling]


async def session_reset(server: Server) -> str:
    if server.pooling is Pooling.DIRECT:
        return "each connection is a new session"
    driver = await plain(server.url)()
    try:
        rows = [*await server.query(_LEFT), *await ask(driver, _LEFT)]
    finally:
        await close(driver, DEFAULT)
    statements, channels, locks = (sum(column) for column in zip(*rows, strict=True))
    if server.pooling is Pooling.SESSION and statements:
        raise Failure("a new connection has prepared statements of an earlier client", _RESET)
    if channels or locks:
        raise Caution("a new connection has locks or channels of another client", _RESET)
    return "a new connection has nothing of an earlier client"


async def listen(server: Server) -> str:
    """Notify on a connection as requests have, and listen on one as the feed has."""
    channel, heard = f"roster_check_{secrets.token_hex(8)}", asyncio.Event()
    driver = await server.direct()

    def hear(*_: object) -> None:
        heard.set()

    await driver.add_listener(channel, hear)
    try:
        begun = time.monotonic()
        await server.query("SELECT pg_notify($1::text, '')", channel)
        async with asyncio.timeout(_HEARD_SECONDS):
            await heard.wait()
    except TimeoutError:
        raise Failure(
            "a notification did not arrive: changes of other processes are seen with a delay",
            "ROSTER_DATABASE_DIRECT_URL has to lead to the same database, without a pooler in "
            "transaction mode",
        ) from None
    finally:
        await _in_time(driver, driver.remove_listener(channel, hear))
    return f"a notification arrived after {(time.monotonic() - begun) * 1000:.0f} ms"


async def advisory_lock(server: Server) -> str:
    """Take a lock that nothing else uses, in a transaction that is rolled back."""
    key, attempt = secrets.randbelow(_KEYS), "SELECT pg_try_advisory_xact_lock($1::bigint)"
    holder = await server.direct()
    transaction = holder.transaction()
    await transaction.start()
    try:
        [[held]] = await ask(holder, attempt, key)
        [[held_twice]] = await server.query(attempt, key)
    finally:
        await _in_time(holder, transaction.rollback())
    [[free]] = await server.query(attempt, key)
    if held_twice:
        raise Failure(OTHER_DATABASE.detail, OTHER_DATABASE.fix)
    if not held or not free:
        raise Failure("a lock could not be taken or was not released")
    return "a lock was taken, respected and released"


async def _in_time(driver: asyncpg.Connection, work: Coroutine[Any, Any, None]) -> None:
    """End what a check has begun, or the whole session."""
    try:
        async with asyncio.timeout(DEFAULT.answer):
            await work
    except Exception:  # noqa: BLE001 - the session ends in any case
        driver.terminate()


async def prepared_statements(server: Server) -> str:
    """Run statements as requests do, while a transaction keeps a connection from them.

    A pooler in transaction mode then uses another one.
    """
    connect = connecting(server.url, Connector(pooler=server.pooler))
    one, other = await connect(), await connect()
    transaction = other.transaction()
    named = server.pooler is not Pooler.TRANSACTION
    try:
        await ask(one, _STATEMENT, 0)
        await transaction.start()
        for number in range(_ROUNDS):
            for driver in (other, one):
                await ask(driver, _STATEMENT, number)
    except TimeoutError:
        raise Failure(
            "a statement waited for a connection: another client kept one for its transaction",
            "in PgBouncer raise default_pool_size",
        ) from None
    except asyncpg.PostgresError as error:
        raise Failure(
            f"statements do not work: {message_of(error)}",
            NOT_SET.fix if server.pooler is Pooler.NONE else _OLD_POOLER if named else _STATEMENTS,
        ) from None
    finally:
        for driver in (other, one):
            await close(driver, DEFAULT)
    return "named statements work" if named else "statements without a name work"


async def clock(server: Server) -> str:
    before = datetime.now(UTC)
    [[there]] = await server.query("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    seconds = (there - (before + (after - before) / 2)).total_seconds()
    said = f"the server's clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    fix = "synchronise the clocks of all machines, for example with chrony"
    if abs(seconds) > _TOO_FAR:
        raise Failure(said, fix)
    if abs(seconds) > max(_FAR, (after - before).total_seconds()):
        raise Caution(said, fix)
    return "the clocks of the server and of this machine agree"
