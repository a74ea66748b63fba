"""Connecting to PostgreSQL: several hosts, a time limit for each, and the session's settings."""

import asyncio
import random
import socket
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from math import inf
from typing import Any, Final, Protocol

import asyncpg
from sqlalchemy import URL

from db.connect_options import ConnectOptions, connect_options
from db.poolers import Pooler, driver_options
from db.timelines import Timeline, Timelines
from db.timing import DEFAULT, Timing

IDLE_TRANSACTION_SECONDS: Final = 30.0

# TCP keepalive, in seconds: the operating system probes an idle connection, and drops one whose
# data is not acknowledged. Linux's defaults are two hours and a quarter of an hour. The server's
# values are longer, because no request waits for the server to notice.
_CLIENT_TCP: Final[Mapping[str, int]] = {
    "SO_KEEPALIVE": 1,
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPALIVE": 5,  # macOS's name of TCP_KEEPIDLE
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


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is untyped
    """A connection that detects a dead server: with TCP keepalive and a timeout for ROLLBACK."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *arguments: Any) -> None:
        super().__init__(protocol, transport, *arguments)
        self.socket: socket.socket | None = transport.get_extra_info("socket")
        self.rollback_timeout: float | None = None
        self.host: Any = None  # the one of several hosts that it leads to
        self.timeline: Timeline | None = None
        keep_alive(self.socket)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's signature
        if timeout is None and query.startswith("ROLLBACK"):
            timeout = self.rollback_timeout
        done: str = await super().execute(query, *args, timeout=timeout)
        return done


def keep_alive(connected: socket.socket | None, options: Mapping[str, int] = _CLIENT_TCP) -> None:
    # A Unix socket needs no keepalive.
    if connected is None or connected.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    for name, value in options.items():
        level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
        if (option := getattr(socket, name, None)) is not None:
            with suppress(OSError):  # the headers define the option, but this kernel lacks it
                connected.setsockopt(level, option, value)


def session_settings(idle_transaction_timeout: float) -> str:
    """Return the statements that set up a session, as one text for one round trip.

    Poolers such as PgBouncer reject most of these settings as startup parameters.
    """
    settings: dict[str, Any] = {
        "timezone": "'UTC'",
        "jit": "off",
        "idle_in_transaction_session_timeout": round(idle_transaction_timeout * 1000),
        **_SERVER_TCP,
    }
    return "; ".join(f"SET {name} = {value}" for name, value in settings.items())


class ConnectionCheck(Protocol):
    """Decides which connections are made. Both methods raise an OSError to refuse one."""

    def check_usable(self) -> None: ...

    async def check_connection(self, driver: asyncpg.Connection, /) -> None: ...


class Connector:
    """Connects to the first of several hosts that answers and has the target_session_attrs.

    asyncpg has one timeout for all hosts, which a silent first host uses up. Here each host has its
    own timeout, and hosts that were silent recently come last: a primary that is frozen, or that
    the network hides, would otherwise delay each connection to its successor.
    """

    def __init__(
        self,
        idle_transaction_timeout: float = IDLE_TRANSACTION_SECONDS,
        timing: Timing = DEFAULT,
        pooler: Pooler = Pooler.NONE,
        check: ConnectionCheck | None = None,
        timelines: Timelines | None = None,
    ) -> None:
        self.pooler = pooler
        self._timelines = timelines
        self._timing = timing
        self._check = check
        self._setup = session_settings(idle_transaction_timeout)
        self._silent: dict[Any, float] = {}  # when a host was silent, on the monotonic clock

    def __call__(self, *arguments: Any, **options: Any) -> "_Connecting":
        return _Connecting(self, arguments, options)

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        """Connect and set up the session.

        Raises OSError (including TimeoutError) or the server's error.
        """
        if self._check:
            self._check.check_usable()
        begun = self._timing.clock()
        failure: Exception | None = None
        wanted = self._parsed(options)
        for attempt in sorted(_attempts(wanted), key=self._comes_last):
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

    async def knock(self, hosts: Collection[Any], **options: Any) -> None:
        """Connect to each of these hosts, whatever its role.

        Raises TimeoutError if one does not answer; an error is an answer.
        """
        for failure in await self._visit(lambda host: host in hosts, options):
            if isinstance(failure, TimeoutError):
                raise failure

    def skip(self, hosts: Collection[Any]) -> None:
        """Refuse connections to these hosts for a moment, as after one that did not answer."""
        self._silent.update(dict.fromkeys(hosts, self._timing.clock()))

    async def look_around(self, known: Collection[Any], **options: Any) -> None:
        """Connect to the hosts that are not known, or to a single one, to see a promotion."""
        await self._visit(lambda host: host not in known, options)

    async def _visit(
        self, wanted: Callable[[Any], bool], options: Mapping[str, Any]
    ) -> Sequence[BaseException | None]:
        """Connect to hosts at the same time. Returns the error of each."""
        parsed = self._parsed(options)
        attempts = {_host(attempt): attempt for attempt in _attempts(parsed)}
        begun = self._timing.clock()

        async def visit(attempt: dict[str, Any]) -> None:
            # Here and not by the caller, who may be cancelled while it waits for other hosts.
            (await self._connect_to(attempt, begun, parsed)).terminate()

        visits = [
            visit({**attempt, "target_session_attrs": "any"})
            for host, attempt in attempts.items()
            if wanted(host) or len(attempts) == 1
        ]
        return await asyncio.gather(*visits, return_exceptions=True)

    def _parsed(self, options: Mapping[str, Any]) -> ConnectOptions:
        wanted = connect_options(options, self._timing.connect)
        wanted.arguments.update(driver_options(self.pooler))
        return wanted

    async def _connect_to(
        self, attempt: dict[str, Any], begun: float, wanted: ConnectOptions, *arguments: Any
    ) -> Connection:
        host = _host(attempt)
        if begun < self._silent.get(host, -inf) + self._timing.skip_silent_host:
            raise TimeoutError("the database server did not answer a moment ago")
        try:
            async with asyncio.timeout(wanted.timeout):
                connection: Connection = await asyncpg.connect(
                    *arguments,
                    timeout=None,
                    connection_class=Connection,
                    **wanted.arguments | attempt,
                )
                connection.rollback_timeout = self._timing.rollback
                connection.host = host
                if wanted.tcp:
                    keep_alive(connection.socket, wanted.tcp)
                await self._set_up(connection)
        except TimeoutError:
            self._silent[host] = self._timing.clock()
            raise TimeoutError("the database server does not answer") from None
        self._silent.pop(host, None)
        return connection

    async def _set_up(self, connection: Connection) -> None:
        # In transaction mode, SET would change a server connection that other clients use, too.
        try:
            if self.pooler is Pooler.NONE:
                await connection.execute(self._setup)
                if self._timelines:
                    connection.timeline = await self._timelines.check(connection)
            if self._check:
                await self._check.check_connection(connection)
        except BaseException:
            connection.terminate()
            raise

    def _comes_last(self, attempt: Mapping[str, Any]) -> bool:
        silent_at = self._silent.get(_host(attempt), -inf)
        return self._timing.clock() < silent_at + self._timing.avoid_silent_host


def _host(attempt: Mapping[str, Any]) -> Any:
    return attempt["host"], attempt["port"]


def connecting(url: URL, connector: Connector) -> Callable[[], Awaitable[Connection]]:
    _, options = url.get_dialect()().create_connect_args(url)

    async def connect() -> Connection:
        return await connector.connect(**options)

    return connect


class _Connecting:
    """An awaitable that connects when it is awaited, and not before.

    The reader first checks whether the pool has an open connection (`db.reader`). It may then drop
    this object, and a dropped coroutine would log that it was never awaited.
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
    """Yield each host as one attempt.

    For `prefer-standby`, all hosts are tried as a standby first.
    """
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
