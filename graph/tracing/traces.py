"""The traces of a process: an observer of operations and databases, and FastAPI's telemetry."""

import asyncio
import threading
from collections.abc import Awaitable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from fastapi.telemetry import TelemetryConfig
from opentelemetry import propagate, trace
from opentelemetry.trace import TracerProvider
from starlette.types import ASGIApp, Receive, Scope, Send

from db.observation import DatabaseObserver, Server
from graph.environment import InvalidSettings, set_from_file
from graph.fastapi_adapter import skip_telemetry
from graph.observation import RequestObserver
from graph.tracing import sampling, variables
from graph.tracing.propagation import TraceParent
from graph.tracing.sampling import Sampler
from graph.tracing.spans import OperationSpans, StatementSpans, is_recording
from graph.tracing.variables import text_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
_TRACED: Final = "roster.traced"
_METHODS: Final = frozenset({"GET", "POST", "WS"})
_PACKAGES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_FLUSH_SECONDS: Final = 1.5  # uvicorn allows two seconds between the last request and the end


class Traces:
    """An observer for `create_app`. `untraced` are paths without spans."""

    requests: RequestObserver | None = None  # FastAPI has the spans of requests

    def __init__(
        self, provider: TracerProvider, sampler: Sampler, untraced: Collection[str] = ()
    ) -> None:
        self._provider = provider
        self._sampler = sampler
        self._untraced = frozenset(untraced)
        self._tracer = provider.get_tracer("roster", version("roster"))
        self.operations = OperationSpans(self._tracer)

    @property
    def telemetry(self) -> TelemetryConfig:
        return {
            "tracer_provider": self._provider,
            "tracing": True,
            "metrics": False,
            "logs": False,  # it has messages of exceptions
            "operation_spans": False,
            "auto_configure": False,
            "exclude": self._is_excluded,
        }

    def database(self, server: Server) -> DatabaseObserver:
        return StatementSpans(self._tracer, server)

    def watch(self, *_: object) -> AbstractAsyncContextManager[None]:
        return nullcontext()  # everything is traced where it happens

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return the application of a server, which takes less time for untraced requests."""

        def skip_untraced(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            if scope["type"] != "lifespan" and self._is_excluded(scope):
                skip_telemetry(scope)
            return app(scope, receive, send)

        return skip_untraced

    def _is_excluded(self, scope: Scope) -> bool:
        if _TRACED in scope:
            return False
        path: str = scope["path"]
        if path.removeprefix(scope.get("root_path", "")) in self._untraced:
            return True
        if not self._sampler.samples(scope):
            return True
        scope[_TRACED] = True
        return False

    async def close(self) -> None:
        """Export the remaining spans. A collector that does not answer is waited for briefly."""
        # A thread of `asyncio.to_thread` would delay the end of the process.
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def flush() -> None:
            self._shut_down()
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=flush, name="flush-traces", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await done.wait()
        except TimeoutError:
            pass

    def _shut_down(self) -> None:
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown:
            shutdown()


def check(*, enabled: bool, per_second: float) -> bool:
    """Return whether the process has traces. Raises InvalidSettings if they cannot be exported."""
    if not enabled:
        return False
    set_from_file("OTEL_")
    variables.ignore_propagators()  # of the file: FastAPI imports them in each worker
    disabled = text_of("OTEL_SDK_DISABLED").lower() == "true"
    if disabled or text_of("OTEL_TRACES_EXPORTER").lower() == "none":
        return False
    if not all(map(_is_installed, _PACKAGES)):
        raise InvalidSettings("ROSTER_TRACES: needs the extra `otel`: pip install 'roster[otel]'")
    variables.check()
    sampling.from_environment(per_second)
    return True


def open_traces(
    *, enabled: bool, per_second: float, untraced: Collection[str] = ()
) -> Traces | None:
    """Create the traces of this process, which OpenTelemetry's variables configure."""
    if not check(enabled=enabled, per_second=per_second):
        return None
    propagate.set_global_textmap(TraceParent())
    return Traces(_provider(), sampling.from_environment(per_second), untraced)


def _provider() -> "SdkTracerProvider":
    # The packages of the extra, which are slow to import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    from graph.tracing.exporter import KnownAttributes  # noqa: PLC0415
    from graph.tracing.failures import ReportedFailures  # noqa: PLC0415

    resource = Resource.create(
        {"service.version": version("roster"), "service.instance.id": str(uuid4())}
    )
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "roster"}))
    # The sampler of `Traces` has decided already.
    provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
    exporter = ReportedFailures(KnownAttributes(OTLPSpanExporter()), OTLPSpanExporter.__module__)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def set_route(scope: Scope, route: str) -> None:
    """Name the span of a request as FastAPI's router would, which has not seen the request."""
    if is_recording():
        span = trace.get_current_span()
        method = scope["method"] if scope["type"] == "http" else "WS"
        span.set_attribute("http.route", route)
        if method in _METHODS:  # others can be any text
            span.update_name(f"{method} {route}")
