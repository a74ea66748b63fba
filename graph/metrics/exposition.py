"""The management port: publishes the metrics of all server processes.

A thread of the main process of `roster serve` answers on it, from before the server waits for its
database until all workers have ended. With one server process, that is the main process, and
prometheus-client keeps the values in its memory. With several, each writes its values into files,
which this process adds up.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import uvicorn
from prometheus_client import CollectorRegistry, Metric, make_asgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from graph.metrics.processes import ProcessesCollector

PATH: Final = "/metrics"
# The metrics of this process, if it is the only server process.
PROCESS: Final = CollectorRegistry()
_GAUGES: Final = "gauge_live*_*.db"
_PID: Final = re.compile(r"_([0-9]+)\.db$")
_CLOSE_SECONDS: Final = 2
_ATTEMPTS: Final = 20
_PAUSE: Final = 0.01


class Workers(Protocol):
    @property
    def pids(self) -> Collection[int]:
        """The ids of the current worker processes."""

    @property
    def restarts(self) -> int:
        """The number of workers that were replaced."""

    def has_ended(self, pid: int, /) -> bool:
        """Return whether this is no worker, and none that is about to replace one."""


@dataclass
class ServerState:
    """What the main process knows. `workers` is None if it has none."""

    is_waiting: bool = True
    workers: Workers | None = None

    @property
    def worker_pids(self) -> Collection[int]:
        return self.workers.pids if self.workers else ()


class _StateCollector(Collector):
    def __init__(self, state: ServerState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state
        yield InfoMetricFamily("roster", "The version.", {"version": version("roster")})
        yield GaugeMetricFamily(
            "roster_waiting_for_database",
            "1 while the server has not started, because it waits for its database.",
            int(state.is_waiting),
        )
        processes = len(state.workers.pids) if state.workers else int(not state.is_waiting)
        yield GaugeMetricFamily("roster_workers", "Server processes.", processes)
        yield CounterMetricFamily(
            "roster_worker_restarts",
            "Server processes that were replaced, because they ended or did not answer.",
            state.workers.restarts if state.workers else 0,
        )


class _WorkersCollector(MultiProcessCollector):
    """Adds up the values of all workers. Gauges of workers that have ended do not count."""

    def __init__(self, folder: str, state: ServerState) -> None:
        super().__init__(None, folder)  # type: ignore[no-untyped-call]  # it has no types
        self._folder = folder
        self._state = state

    def collect(self) -> Iterator[Metric]:
        self._forget_ended()
        for _ in range(_ATTEMPTS):
            # For a moment, the file of a worker that is starting is empty, or removed again because
            # there is no space.
            with suppress(struct.error, FileNotFoundError):
                return self._collect()
            time.sleep(_PAUSE)
        return self._collect()

    def _collect(self) -> Iterator[Metric]:
        found: Iterator[Metric] = iter(super().collect())  # type: ignore[no-untyped-call]  # as above
        return found

    def _forget_ended(self) -> None:
        workers = self._state.workers
        for path in Path(self._folder).glob(_GAUGES):
            found = _PID.search(path.name)
            if found and workers and workers.has_ended(int(found[1])):
                with suppress(OSError):  # the folder has become read-only
                    mark_process_dead(int(found[1]), self._folder)


class _Endpoint:
    """A class: Starlette would call a function with a request."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._app = make_asgi_app(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # `name[]` selects none of the metrics of workers, whose names are not known in advance.
        await self._app({**scope, "query_string": b""}, receive, send)


@contextmanager
def published(
    listening: socket.socket, state: ServerState, folder: str | None = None
) -> Iterator[None]:
    """Answer on a listening socket, in a thread. `folder` has the values of several workers."""
    registry = CollectorRegistry()
    registry.register(_StateCollector(state))
    registry.register(ProcessesCollector(lambda: state.worker_pids))
    registry.register(_WorkersCollector(folder, state) if folder else PROCESS)
    server = uvicorn.Server(_config(registry))
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _config(registry: CollectorRegistry) -> uvicorn.Config:
    return uvicorn.Config(
        Starlette(routes=[Route(PATH, _Endpoint(registry), methods=["GET", "HEAD"])]),
        lifespan="off",
        ws="none",
        log_config=None,  # `graph.logging` configures it
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )
