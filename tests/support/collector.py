"""An OpenTelemetry collector for tests: it keeps what it receives by OTLP over HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Collector:
    url: str = ""
    status: int = 200
    requests: list[bytes] = field(default_factory=list)

    def parsed(self) -> Iterator[Any]:
        for body in self.requests:
            yield from ExportTraceServiceRequest.FromString(body).resource_spans

    def spans(self) -> list[Any]:
        return [
            span for found in self.parsed() for scope in found.scope_spans for span in scope.spans
        ]

    def resource(self, name: str) -> set[str]:
        """Returns the values of an attribute of the processes."""
        return {
            attribute.value.string_value
            for found in self.parsed()
            for attribute in found.resource.attributes
            if attribute.key == name
        }


@contextmanager
def collecting(*, silent: bool = False) -> Iterator[Collector]:
    """Serves a collector. A silent one accepts requests and does not answer them."""
    collector = Collector()
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.requests.append(self.rfile.read(int(self.headers["content-length"])))
            if silent:
                ended.wait()
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
