"""Compares servers with and without metrics, traces and JSON logs: `make bench-telemetry`.

One process each, on one PostgreSQL with 100,000 users. In each round, each operation runs on all
servers in sequence. Traces are exported to a collector that discards them, within this process.
"""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks import databases, options, stage
from benchmarks.contenders import PRODUCTION, Contender
from benchmarks.load import CannotMeasure, wrk
from benchmarks.operations import OPERATIONS
from benchmarks.rounds import Measured, measure
from benchmarks.truth import Truth
from tests.support.process import free_port

_OPERATIONS: Final = ("user", "list20", "create")
_console = Console(width=150, highlight=False)


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _collector() -> Iterator[str]:
    """Run a collector, and yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _servers(folder: str, collector: str) -> Sequence[Contender]:
    def server(name: str, title: str, **settings: str) -> Contender:
        environment = {**PRODUCTION.environment, **settings}
        return replace(PRODUCTION, name=name, title=title, environment=environment)

    traces = {"ROSTER_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    logs = {"ROSTER_LOG_FORMAT": "json"}
    # As in each of several workers. The name in lower case has effect with one process, too.
    files = {"prometheus_multiproc_dir": folder}
    return (
        server("without", "without"),
        server("metrics", "metrics", **_metrics()),
        server("files", "metrics in files", **_metrics(), **files),
        server("traces", "traces", **traces),
        server("everything", "everything", **_metrics(), **files, **traces, **logs),
    )


def _metrics() -> dict[str, str]:
    return {"ROSTER_MANAGEMENT_PORT": str(free_port())}


async def bench(wanted: options.Options) -> Measured:
    wrk()
    async with AsyncExitStack() as stack:
        admin = stack.enter_context(databases.server())
        url = await stack.enter_async_context(databases.scratch(admin, "roster_telemetry"))
        await stage.fill(url)
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        collector = stack.enter_context(_collector())
        servers = stack.enter_context(ExitStack())
        up, _ = stage.start(servers, _servers(folder, collector), url, await stage.key(url), _say)
        operations = [named for named in OPERATIONS if named.name in (wanted.only or _OPERATIONS)]
        return await measure(
            up, operations, Truth(connection), _say, rounds=wanted.rounds, seconds=wanted.seconds
        )


def _say(what: object) -> None:
    _console.print(what)
    sys.stdout.flush()


def _table(operation: str, measured: Measured) -> Table:
    made = Table("server", "requests/s", "of without", "CPU ms", "of without", title=operation)
    plain = measured[operation]["without"]
    for name, done in measured[operation].items():
        rate, busy = done.rate / plain.rate, done.busy / plain.busy
        made.add_row(name, f"{done.rate:.0f}", f"{rate:.2f}", f"{done.busy:.3f}", f"{busy:.2f}")
    return made


def main() -> None:
    try:
        measured = asyncio.run(bench(options.read(__doc__)))
    except CannotMeasure as error:
        sys.exit(f"make bench-telemetry: {error}")
    for operation in measured:
        _say(_table(operation, measured))


if __name__ == "__main__":
    main()
