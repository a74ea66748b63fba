"""Rate limits that processes and servers share, and what happens if their storage fails.

A request waits for the storage at most for `Timing.answer`, and only while the storage works: after
the first failure all requests are counted by this process alone, until an attempt in the background
succeeds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond

from db.error_summary import summarize
from graph.limits.sliding_window import Quota

log = structlog.get_logger("roster")


class Hit(NamedTuple):
    """A request to be counted. The key contains no personal data."""

    rate: RateLimitItem
    kind: str
    key: str


# Hits of one command. Each occupies the server for 3 to 7 µs, so other clients wait for 7 ms at
# most. Further hits wait for another command, which takes long if the storage is far away.
MAX_BATCH: Final = 1000
# They are always admitted, so they find out whether the storage can be written. There are two: a
# server of Redis Cluster accepts a command for one caller, and rejects one for several.
PROBES: Final = [Hit(RateLimitItemPerSecond(10**9), "probe", key) for key in ("1", "2")]


Digest = Callable[[str], str]
LoadDigest = Callable[[], Awaitable[Digest]]
Waiting = tuple[Hit, "asyncio.Future[Quota | None]"]


class Windows(Protocol):
    async def hit(self, hits: Sequence[Hit]) -> list[Quota]: ...
    async def disconnect(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds. `answer` limits a command, `connect` another one for a new connection."""

    answer: float
    connect: float = 1.0
    retry: float = 1.0


class SharedLimits:
    """Counts requests in a storage. Without it, `hit` returns None.

    `is_available`, `failures` and `local_hits` are for metrics: whether the storage is used, how
    often it failed while it was, and how many hits were counted by this process alone.
    """

    def __init__(self, windows: Windows, timing: Timing) -> None:
        self.is_available = False
        self.failures = 0
        self.local_hits = 0
        self._windows = windows
        self._load_digest: LoadDigest
        self._timing = timing
        self._digest: Digest | None = None
        self._waiting: list[Waiting] = []
        self._sending: asyncio.Task[None] | None = None
        self._restoring: asyncio.Task[None] | None = None

    async def start(self, load_digest: LoadDigest) -> None:
        """Connect, or begin to try."""
        self._load_digest = load_digest
        try:
            await self._connect()
        except Exception as error:  # noqa: BLE001 - the server starts without the storage
            self._fall_back(error)

    async def close(self) -> None:
        self.is_available = False
        tasks = [task for task in (self._sending, self._restoring) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._give_up()
        await self._disconnect()

    async def hit(self, rate: RateLimitItem, kind: str, key: str) -> Quota | None:
        """Count a request. Returns None if this process has to count it alone."""
        if not self.is_available or self._digest is None:
            self.local_hits += 1
            return None
        answer: asyncio.Future[Quota | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((Hit(rate, kind, self._digest(key)), answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        """Send all that wait. Hits that arrive during a command are sent together by the next."""
        batch: list[Waiting] = []
        try:
            while batch := self._take():
                quotas = await self._ask([hit for hit, _ in batch], self._timing.answer)
                for (_, answer), quota in zip(batch, quotas, strict=True):
                    if not answer.done():  # its request was cancelled
                        answer.set_result(quota)
        except Exception as error:  # noqa: BLE001 - whatever fails, requests are served
            self._fall_back(error)
        finally:
            self._sending = None
            self._answer_locally(batch)

    def _take(self) -> list[Waiting]:
        taken, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        return taken

    async def _ask(self, hits: Sequence[Hit], seconds: float) -> list[Quota]:
        asking = asyncio.ensure_future(self._windows.hit(hits))
        try:
            # In two halves: if this process was busy for all of the first, the answer is probably
            # there already, and is read during the second.
            for _ in range(2):
                done, _ = await asyncio.wait({asking}, timeout=seconds / 2)
                if done:
                    return asking.result()
        finally:
            asking.cancel()
            asking.add_done_callback(_ignore)
        raise TimeoutError(f"no answer within {seconds:g} seconds")

    def _fall_back(self, error: Exception) -> None:
        self.is_available = False
        self.failures += 1
        log.warning("rate limits are counted by each process", cause=summarize(error))
        self._give_up()
        self._restoring = asyncio.create_task(self._restore())

    def _give_up(self) -> None:
        while batch := self._take():
            self._answer_locally(batch)

    def _answer_locally(self, batch: list[Waiting]) -> None:
        for _, answer in batch:
            if not answer.done():
                self.local_hits += 1
                answer.set_result(None)

    async def _restore(self) -> None:
        while not self.is_available:
            await self._disconnect()
            await asyncio.sleep(self._timing.retry)
            with suppress(Exception):  # the first failure is in the log
                await self._connect()

    async def _connect(self) -> None:
        """Use the storage if it takes hits, in the time that a request would wait for it."""
        if self._digest is None:
            async with asyncio.timeout(self._timing.connect):
                self._digest = await self._load_digest()
        await self._ask(PROBES, self._timing.connect + self._timing.answer)
        await self._ask(PROBES, self._timing.answer)
        self.is_available = True
        log.info("rate limits are shared")

    async def _disconnect(self) -> None:
        with suppress(Exception):  # the connection is given up
            async with asyncio.timeout(self._timing.connect):
                await self._windows.disconnect()


def _ignore(asking: "asyncio.Future[list[Quota]]") -> None:
    if not asking.cancelled():
        asking.exception()
