"""The observer that counts and measures: `create_app(settings, [Metrics(registry, path)])`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from db.engine import Database
from db.observation import DatabaseObserver, Server
from feed.feed import Feed
from graph.metrics.database import DatabaseMetrics
from graph.metrics.instruments import Instruments
from graph.metrics.operations import OperationMetrics
from graph.metrics.requests import RequestMetrics
from graph.metrics.sampler import Sampler
from graph.observation import Load, PublishedKeys


class Metrics:
    """Registers its metrics in `registry`. `route` is the path of the GraphQL endpoint."""

    def __init__(self, registry: CollectorRegistry, route: str) -> None:
        self._instruments = Instruments(registry)
        self.operations = OperationMetrics(self._instruments)
        self.requests = RequestMetrics(self._instruments, route)

    def database(self, server: Server) -> DatabaseObserver:
        return DatabaseMetrics(self._instruments, server)

    @asynccontextmanager
    async def watch(
        self, database: Database, feed: Feed, load: Load, keys: Sequence[PublishedKeys]
    ) -> AsyncIterator[None]:
        sampler = Sampler(
            self._instruments, self.requests, self.operations, database, feed, load, keys
        )
        task = asyncio.create_task(sampler.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._instruments.timings.add()
