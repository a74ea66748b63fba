"""PostgreSQL: how it is connected to, and what only it needs."""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final

import asyncpg
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.errors import ReadOnlyError
from db.libpq import ConnectOptions, connect_options
from db.outcome import Write
from db.pool import PostgresPool, renew, watch
from db.reader import Reader
from db.statements.users import ADD_USER_WITH_EVENT

AUTOCOMMIT: Final[Mapping[str, Any]] = {"isolation_level": "AUTOCOMMIT"}
IDLE_TRANSACTION_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 3.0  # for each host
# After a host has not answered, connections that others wait for are not tried for so long: each
# would take as long again, and a request that waits for the pool would wait for all of them.
_REST_SECONDS: Final = 0.5
_ROLLBACK_SECONDS: Final = 2.0  # which costs a server next to nothing, whatever it undoes

# Seconds after which the operating system reports that the other side is gone: it probes a silent
# connection, and gives one up whose data is not acknowledged. Without these, Linux takes two hours
# and a quarter of an hour. The server's own are longer, since nobody waits for it to notice.
_CLIENT_TCP: Final[Mapping[str, int]] = {
    "SO_KEEPALIVE": 1,
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPALIVE": 5,  # what macOS calls the same
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 5_000,  # milliseconds
}
_SERVER_TCP: Final[Mapping[str, int]] = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}


def engine(
    url: URL,
    connector: "Connector",
    *,
    statement_timeout: float | None = None,
    pool_pre_ping: bool = False,
    pool_max_age: float = inf,
    **options: Any,
) -> AsyncEngine:
    """Make an engine; with `pool_pre_ping` a connection that has rested is tried before use."""
    made = create_async_engine(
        url,
        connect_args={
            "async_creator_fn": connector,
            "command_timeout": statement_timeout,
        },
        poolclass=PostgresPool,
        **options,
    )
    renew(made.sync_engine, max_age=pool_max_age)
    watch(made.sync_engine, pings=pool_pre_ping)
    return made


def fetch(driver: Any, text: str, arguments: Sequence[Any]) -> Awaitable[list[Any]]:
    found: Awaitable[list[Any]] = driver.fetch(text, *arguments)
    return found


async def insert_user(reader: Reader, values: Mapping[str, Any], write: Write) -> list[Any]:
    """Insert a user and their event; neither, and return no row, if a unique value is taken."""
    compiled = ADD_USER_WITH_EVENT.on(reader.dialect)
    arguments = compiled.arguments(values)

    async def ask(driver: Any) -> list[Any]:
        with write.committing():
            rows: list[Any] = await driver.fetch(compiled.text, *arguments)
        return rows

    return await reader.run(compiled.text, ask)


async def checkpoint(_: AsyncEngine) -> bool:
    """Leave the server's files to its administrator: dead rows to a vacuum, the log to archival."""
    return True


async def check_writable(driver: Any) -> None:
    """Raise ReadOnlyError on a standby, and where the administrator has writes refused."""
    if await driver.fetchval("SHOW transaction_read_only") == "on":
        raise ReadOnlyError


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that notices if the other side is gone, by its socket and by ROLLBACK."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *arguments: Any) -> None:
        super().__init__(protocol, transport, *arguments)
        self.socket: socket.socket | None = transport.get_extra_info("socket")
        keep_alive(self.socket)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        if timeout is None and query.startswith("ROLLBACK"):
            timeout = _ROLLBACK_SECONDS
        done: str = await super().execute(query, *args, timeout=timeout)
        return done


def keep_alive(connected: socket.socket | None, options: Mapping[str, int] = _CLIENT_TCP) -> None:
    """Set what the platform has of TCP's limits; a Unix socket needs none."""
    if connected is None or connected.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    for name, value in options.items():
        level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
        if (option := getattr(socket, name, None)) is not None:
            with suppress(OSError):  # the option exists in the headers, and not in this kernel
                connected.setsockopt(level, option, value)


def session_settings(idle_transaction_timeout: float) -> str:
    """Return the statements that set up a session, as one text and so in one round trip.

    Poolers such as PgBouncer refuse most of them as startup parameters.
    """
    settings: dict[str, Any] = {
        "timezone": "'UTC'",
        "jit": "off",
        "idle_in_transaction_session_timeout": round(idle_transaction_timeout * 1000),
        **_SERVER_TCP,
    }
    return "; ".join(f"SET {name} = {value}" for name, value in settings.items())


class Connector:
    """Connects to the first of several hosts that answers and is what the URL asks for.

    asyncpg has one limit for all hosts, which the first one uses up if it is silent. Here each has
    its own, and those that were silent a moment ago come last.
    """

    def __init__(self, idle_transaction_timeout: float = IDLE_TRANSACTION_SECONDS) -> None:
        self._setup = session_settings(idle_transaction_timeout)
        self._silent: dict[Any, float] = {}  # until when a host rests, by the monotonic clock

    def __call__(self, *arguments: Any, **options: Any) -> "_Connecting":
        return _Connecting(self, arguments, options)

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        """Connect and set up the session.

        Raises OSError, of which TimeoutError is one, or what the server says.
        """
        begun = time.monotonic()
        failure: Exception | None = None
        wanted = connect_options(options, _CONNECT_SECONDS)
        for attempt in sorted(_attempts(wanted), key=self._is_silent):
            try:
                return await self._connect_to(attempt, begun, wanted, *arguments)
            except (
                OSError,
                asyncpg.PostgresConnectionError,
                asyncpg.CannotConnectNowError,
                asyncpg.TargetServerAttributeNotMatched,
            ) as error:
                failure = error
        assert failure
        raise failure

    async def _connect_to(
        self, attempt: dict[str, Any], begun: float, wanted: ConnectOptions, *arguments: Any
    ) -> Connection:
        host = (attempt["host"], attempt["port"])
        if self._silent.get(host, 0.0) > begun:
            raise TimeoutError("the database server did not answer a moment ago")
        try:
            async with asyncio.timeout(wanted.timeout):
                connection: Connection = await asyncpg.connect(
                    *arguments,
                    timeout=None,
                    connection_class=Connection,
                    **wanted.arguments | attempt,
                )
                if wanted.tcp:
                    keep_alive(connection.socket, wanted.tcp)
                try:
                    await connection.execute(self._setup)
                except BaseException:
                    connection.terminate()
                    raise
        except TimeoutError:
            self._silent[host] = time.monotonic() + _REST_SECONDS
            raise TimeoutError("the database server does not answer") from None
        self._silent.pop(host, None)
        return connection

    def _is_silent(self, attempt: Mapping[str, Any]) -> bool:
        return self._silent.get((attempt["host"], attempt["port"]), 0.0) > time.monotonic()


class _Connecting:
    """A connection to PostgreSQL that is on its way once somebody waits for it, and not before.

    A read tries first whether there is one already (`db.reading`): a coroutine would complain then
    that nobody had waited for it.
    """

    def __init__(
        self, connector: Connector, arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> None:
        self._connector = connector
        self._arguments = arguments
        self._options = options

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._connector.connect(*self._arguments, **self._options).__await__()


def _attempts(wanted: ConnectOptions) -> Iterator[dict[str, Any]]:
    """Split what asyncpg would try in turn: each host, and a primary only without a standby."""
    options = wanted.arguments
    hosts, ports = options.get("host"), options.get("port")
    role = options.get("target_session_attrs")
    if not isinstance(hosts, list):
        yield {"host": hosts, "port": ports}
        return
    order = list(range(len(hosts)))
    if wanted.in_random_order:
        random.shuffle(order)
    for attributes in ("standby", "any") if role == "prefer-standby" else (role,):
        for n in order:
            port = ports[n] if isinstance(ports, list) else ports
            yield {"host": hosts[n], "port": port, "target_session_attrs": attributes}
