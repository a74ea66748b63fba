"""Sets the gauges of a server process once a second.

A gauge that changed with each request would cost more than all other metrics together.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import structlog

from db.engine import Database
from db.errors import is_unreachable
from db.observation import PRIMARY
from db.pool import FairPool
from db.replication.servers import Replica
from feed.feed import Feed
from graph.metrics.instruments import Instruments
from graph.metrics.labels import OTHER, holder_of
from graph.metrics.operations import OperationMetrics
from graph.metrics.requests import RequestMetrics
from graph.observation import Load, PublishedKeys

log = structlog.get_logger("roster")

_SECONDS: Final = 1.0
_ASK_AGAIN: Final = 5  # samples after which the holders of the feed are asked for again


class Sampler:
    def __init__(
        self,
        instruments: Instruments,
        requests: RequestMetrics,
        operations: OperationMetrics,
        database: Database,
        feed: Feed,
        load: Load,
        keys: Sequence[PublishedKeys],
    ) -> None:
        self._instruments = instruments
        self._requests = requests
        self._operations = operations
        self._database = database
        self._feed = feed
        self._load = load
        self._keys = keys
        self._fetch_failures = [0] * len(keys)  # those that were counted
        self._holders = _Holders(instruments, database, feed)
        self._failures = self._unshared = 0  # those that were counted

    async def run(self) -> None:
        while True:
            try:
                self._sample()
                await self._holders.sample()
            except Exception as error:
                if not is_unreachable(error):
                    log.exception("metrics could not be sampled")
            await asyncio.sleep(_SECONDS)

    def _sample(self) -> None:
        found = self._instruments
        found.timings.add()  # also those whose event loop has ended
        for kind, number in self._requests.active.items():
            found.http_active.labels(*kind).set(number)
        for type_, number in self._operations.active.items():
            found.operations_active.labels(type_).set(number)
        found.running.set(self._load.running)
        found.connections.set(self._load.open_connections)
        found.followers.set(self._feed.followers)
        found.lag.set(self._feed.lag)
        for name, pool in self._pools():
            usage = pool.usage()
            found.connection_count.labels(name, "used").set(usage.used)
            found.connection_count.labels(name, "idle").set(usage.idle)
            found.connection_max.labels(name).set(usage.most)
            found.connections_pending.labels(name).set(usage.waiting)

        for replica in self._replicas():
            found.replica_used.labels(replica.name).set(replica.is_used)
            found.replica_lag.labels(replica.name).set(replica.lag)
        self._sample_keys()
        if storage := self._load.shared:
            found.storage_available.labels("redis").set(storage.is_available)
            found.storage_failures.inc(storage.failures - self._failures)
            found.unshared.inc(storage.local_hits - self._unshared)
            self._failures, self._unshared = storage.failures, storage.local_hits

    def _sample_keys(self) -> None:
        found = self._instruments
        for number, keys in enumerate(self._keys):
            failures = keys.failures
            counted = found.key_failures.labels(keys.host)
            counted.inc(failures - self._fetch_failures[number])
            self._fetch_failures[number] = failures
            if keys.age is not None:
                found.keys_age.labels(keys.host).set(keys.age)

    def _pools(self) -> Iterable[tuple[str, FairPool]]:
        yield PRIMARY, self._database.pool
        for replica in self._replicas():
            yield replica.name, replica.pool

    def _replicas(self) -> Sequence[Replica]:
        return self._database.replicas.replicas if self._database.replicas else ()


class _Holders:
    """The transactions that hold back the feed."""

    def __init__(self, instruments: Instruments, database: Database, feed: Feed) -> None:
        self._gauge = instruments.held_back
        self._database = database
        self._feed = feed
        self._names: frozenset[str] = frozenset()
        self._holders: set[tuple[str, str]] = set()
        self._samples = 0
        self._known: set[tuple[str, str]] = set()

    async def sample(self) -> None:
        if self._feed.holders and not self._feed.followers:
            await self._feed.poll()  # without followers, nothing else notices the end
        seconds, names = self._feed.held_back_seconds, self._feed.holders
        if names:
            await self._ask(names)
        else:
            self._holders = set()
        self._known |= self._holders
        for holder in self._known:
            self._gauge.labels(*holder).set(seconds if holder in self._holders else 0)

    async def _ask(self, names: frozenset[str]) -> None:
        self._samples += 1
        if names == self._names and self._samples % _ASK_AGAIN:
            return
        self._names, self._holders = names, {(OTHER, OTHER)}
        found: Sequence[Any] = await self._database.describe_event_writers(names)
        self._holders = set(map(holder_of, found)) or self._holders
