"""Rates of requests and invalid tokens, open connections, concurrent operations.

All are counted by each process. Rates are counted in a storage, too, if one is configured: then its
count decides while it is available.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from limits import parse

from graph.limits.shared import SharedLimits
from graph.limits.sliding_window import SlidingWindow
from graph.protocol.errors import RequestError

# Checks of unknown credentials per second, for a network with too many invalid ones. 50 checks take
# at most 1 % of a process's time, or 50 index lookups.
EXTRA_CHECKS: Final = 50
_MANY_NETWORKS: Final = 10_000  # before those below the limit again are forgotten


class RateLimiter:
    """The limits of one process. `rate` is a text such as `6000/minute`, or None for no limit."""

    def __init__(
        self,
        rate: str | None,
        operations: int,
        connections: int,
        shared: SharedLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shared = shared
        self._asked = self._wrong = None
        if rate:
            self._rate = parse(rate)
            amount, seconds = self._rate.amount, self._rate.get_expiry()
            self._asked, self._wrong = [SlidingWindow(amount, seconds, clock) for _ in range(2)]
            self._policy = f'"caller";q={amount};w={seconds}'
        self._exhausted: dict[str, float] = {}  # by network, until when
        self._clock = clock
        self._extra_checks = SlidingWindow(EXTRA_CHECKS, 1, clock)
        self._operations = operations
        self._connections = connections
        self._running = 0
        self._open: Counter[str] = Counter()
        self._waiting: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    @property
    def running(self) -> int:
        """The number of operations that run."""
        return self._running

    @property
    def open_connections(self) -> int:
        """The number of open WebSockets and streams, including those whose caller is checked."""
        return self._open.total()

    def check_auth_attempts(self, network: str) -> bool:
        """Return whether a network may send further invalid tokens, as far as is known here.

        This does not ask the storage, so that each request does at most once. What other processes
        have counted is known from the answer to the last failure in this one.
        """
        if self._wrong is None:
            return True
        if self._exhausted.get(network, 0) > self._clock():
            return False
        return self._wrong.has_room(network)

    async def record_auth_failure(self, network: str) -> None:
        if self._wrong is None:
            return
        self._wrong.hit(network)
        if self.shared is not None:
            quota = await self.shared.hit(self._rate, "invalid token", network)
            if quota is not None and not quota.left:
                self._block(network, quota.reset)

    def _block(self, network: str, seconds: float) -> None:
        now = self._clock()
        if len(self._exhausted) >= _MANY_NETWORKS:
            self._exhausted = {n: until for n, until in self._exhausted.items() if until > now}
        self._exhausted[network] = now + seconds

    def acquire_extra_check(self, network: str) -> bool:
        """Return whether a network above the limit may have unknown credentials checked."""
        return self._extra_checks.hit(network).admitted

    async def acquire(self, caller: str) -> dict[str, str]:
        """Count a request of a caller and return the rate limit headers.

        Waits for nothing without a storage. Raises RequestError (429) if the rate is exceeded. The
        headers are described in
        https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
        """
        if not self._asked:
            return {}
        admitted, left, reset = self._asked.hit(caller)
        if self.shared is not None:
            shared = await self.shared.hit(self._rate, "caller", caller)
            if shared is not None:
                admitted, left, reset = shared
        wait = max(1, math.ceil(reset))
        headers = {"ratelimit-policy": self._policy, "ratelimit": f'"caller";r={left};t={wait}'}
        if not admitted:
            retry = headers | {"retry-after": str(wait)}
            raise RequestError(
                "RATE_LIMITED", "Too many requests. Wait until `Retry-After`.", 429, retry
            )
        return headers

    @contextmanager
    def connection_slot(self, caller: str) -> Iterator[None]:
        """Count an open WebSocket or stream. Raises RequestError (429) above the limit."""
        if self._open[caller] >= self._connections:
            raise RequestError("TOO_MANY_CONNECTIONS", "Too many sockets are open", 429)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    @contextmanager
    def handshake_slot(self, address: str, push_out: Callable[[], None]) -> Iterator[None]:
        """Count an unauthenticated connection. Above the limit, close the oldest one."""
        # Clients authenticate immediately. Connections that wait longer must not block others.
        if len(self._waiting[address]) >= self._connections:
            self._waiting[address].pop(0)()
        self._waiting[address].append(push_out)
        try:
            yield
        finally:
            with suppress(ValueError):  # it was closed as the oldest
                self._waiting[address].remove(push_out)
            if not self._waiting[address]:
                del self._waiting[address]

    def begin_operation(self) -> None:
        """Count an operation until `end_operation`. Raises RequestError (503) above the limit."""
        if self._running >= self._operations:
            message = "The server is busy: try again in a moment."
            raise RequestError("OVERLOADED", message, 503, {"retry-after": "1"})
        self._running += 1

    def end_operation(self) -> None:
        self._running -= 1
