"""The application: its lifespan, its routes and its middleware."""

import gc
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import structlog
from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from feed.feed import Feed
from graph import logging
from graph.auth.authenticator import Authenticator
from graph.auth.guard import Guard
from graph.environment import InvalidSettings
from graph.execution.field_arguments import FieldArguments
from graph.execution.schema import build_schema
from graph.http import health
from graph.http.batching import BatchExecutor
from graph.http.body import BodyLimits
from graph.http.cors import CrossOrigin
from graph.http.endpoint import GraphQLEndpoint
from graph.http.graphiql import add_graphiql, explanation, graphiql
from graph.http.hints import OriginHints
from graph.http.middleware import CommonMiddleware, http_error
from graph.http.origins import Origins, SecurityHeaders
from graph.http.shortcut import GraphQLShortcut
from graph.http.user_export import PARAMETERS, UserExport
from graph.http.user_export import PATH as EXPORT_PATH
from graph.limits.shared import Timing
from graph.limits.storage import load_digest, open_shared_limits
from graph.limits.throttle import RateLimiter
from graph.metrics.exposition import PROCESS
from graph.metrics.observer import Metrics
from graph.observation import Observer, Operations, observer_of_requests
from graph.settings import Mode, Settings, load
from graph.shutdown import SHUTDOWN_MARGIN, Shutdown, on_signals, stop_with_parent
from graph.streaming.streams import ResultStreams
from graph.tracing.traces import NO_TELEMETRY, Traces, open_traces
from graph.websocket.connection import ConnectionLimits
from graph.websocket.endpoint import WebSocketEndpoint
from graph.websocket.operation import Services

log = structlog.get_logger("roster")

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
PATH: Final = "/graphql"


def create_app(
    settings: Settings, observers: Sequence[Observer] = (), traces: Traces | None = None
) -> FastAPI:
    """Create an ordinary FastAPI application. Routes, middleware and handlers are added as usual.

    A host application that mounts it must enter `app.router.lifespan_context(app)` in its lifespan.
    """
    development = settings.mode is Mode.DEVELOPMENT
    shutdown = Shutdown(settings.shutdown_timeout)
    origins = _origins(settings)
    observers = [*observers, traces] if traces else observers
    operations = Operations([observer.operations for observer in observers])
    rate_limiter = _rate_limiter(settings)
    endpoint, sockets, export = _endpoints(settings, origins, shutdown, operations, rate_limiter)
    app = FastAPI(
        title="Roster",
        lifespan=partial(_lifespan, settings, shutdown, observers, rate_limiter, traces),
        openapi_url=None,
        redirect_slashes=False,  # the redirect would contain the Host header of the request
        telemetry=traces.telemetry if traces else NO_TELEMETRY,
    )
    router = APIRouter()
    router.add_api_route(PATH, endpoint.respond, methods=["GET", "POST"])
    router.routes.append(WebSocketRoute(PATH, sockets))
    router.add_api_route(EXPORT_PATH, export.respond, methods=["GET", "HEAD"])
    router.include_router(health.router)
    app.include_router(router)
    if development:
        add_graphiql(app, PATH)
    app.add_exception_handler(HTTPException, http_error)
    # Middleware that is added first is innermost. Middleware added by users surrounds all of ours.
    app.add_middleware(
        GraphQLShortcut, path=PATH, endpoint=endpoint, sockets=sockets, is_traced=traces is not None
    )
    if settings.cors_origins or development:  # it explains rejected preflights to developers
        app.add_middleware(CrossOrigin, origins=settings.cors_origins, explain=origins.explanation)
    security = SecurityHeaders(https_only=not development)
    app.add_middleware(
        CommonMiddleware,
        origins=origins,
        security=security,
        shutdown=shutdown,
        observer=observer_of_requests(observers),
    )
    return app


@asynccontextmanager
async def _lifespan(
    settings: Settings,
    shutdown: Shutdown,
    observers: Sequence[Observer],
    rate_limiter: RateLimiter,
    traces: Traces | None,
    app: FastAPI,
) -> AsyncIterator[None]:
    app.state.shutdown = shutdown
    app.state.rate_limiter = rate_limiter
    app.state.database = database = settings.database()
    for observer in observers:
        database.observe(observer.database)
    database.watch()
    app.state.authenticator = authenticator = Authenticator(
        database,
        settings.issuers(),
        api_keys=settings.auth_api_keys,
        development_tokens=settings.mode is Mode.DEVELOPMENT,
    )
    app.state.feed = feed = Feed(database)
    app.state.username_emails = settings.username_emails
    if rate_limiter.shared:
        await rate_limiter.shared.start(partial(load_digest, database))
    try:
        with (
            shutdown.announced_to(feed.stop),
            on_signals(shutdown, settings.drain_period),
        ):
            async with AsyncExitStack() as watching:
                watched = database, feed, rate_limiter, authenticator.published_keys
                for observer in observers:
                    await watching.enter_async_context(observer.watch(*watched))
                yield
    finally:
        await shutdown.finish()
        if rate_limiter.shared:
            await rate_limiter.shared.close()
        await feed.close()
        await authenticator.close()
        await database.close()
        if traces:
            await traces.close()


def _rate_limiter(settings: Settings) -> RateLimiter:
    url, shared = settings.rate_limit_storage, None
    if url and settings.rate_limit:
        timing = Timing(answer=settings.rate_limit_storage_timeout)
        shared = open_shared_limits(url.get_secret_value(), timing)
    return RateLimiter(
        settings.rate_limit,
        settings.max_concurrent_operations,
        settings.max_connections_per_caller,
        shared,
    )


def _endpoints(
    settings: Settings,
    origins: Origins,
    shutdown: Shutdown,
    operations: Operations,
    rate_limiter: RateLimiter,
) -> tuple[GraphQLEndpoint, WebSocketEndpoint, UserExport]:
    development = settings.mode is Mode.DEVELOPMENT
    guard = Guard(
        rate_limiter, allow_anonymous=development, recheck_seconds=settings.auth_recheck_interval
    )
    schema = build_schema(settings, rate_limiter, shutdown)
    live = ResultStreams()
    endpoint = GraphQLEndpoint(
        guard,
        origins,
        rate_limiter,
        schema,
        live,
        BatchExecutor(settings.max_batch_size, guard, rate_limiter, schema, operations),
        BodyLimits(settings.max_body_bytes, settings.body_timeout),
        shutdown,
        page=graphiql if development else explanation,
        needs_token=not development,
        operations=operations,
    )
    limits = ConnectionLimits(
        init_seconds=settings.ws_init_timeout,
        send_seconds=settings.send_timeout,
        operations=settings.max_operations_per_connection,
    )
    services = Services(guard, rate_limiter, schema, live, shutdown, operations)
    sockets = WebSocketEndpoint(services, origins, limits)
    arguments = FieldArguments(schema, "users", PARAMETERS, suggestions=settings.introspection)
    return endpoint, sockets, UserExport(guard, origins, rate_limiter, arguments, shutdown)


def _origins(settings: Settings) -> Origins:
    hosts = frozenset(settings.allowed_hosts)
    development = settings.mode is Mode.DEVELOPMENT
    if development:
        own = f"[{settings.host}]" if ":" in settings.host else settings.host
        hosts |= _LOOPBACK | {own}
    origins = frozenset(settings.cors_origins)
    return Origins(hosts or None, origins, OriginHints(settings) if development else None)


def from_environment() -> ASGIApp:
    """Create the application of a server process from the settings in its environment."""
    try:
        return _from_environment()
    except InvalidSettings as error:
        sys.exit(f"roster: {error}")
    except Exception:
        # The process of a worker would print the exception with its message.
        log.exception("the application cannot be created")
        sys.exit(1)


def _from_environment() -> ASGIApp:
    loaded = load()
    logging.configure(loaded.log_format)
    stop_with_parent(loaded.drain_period + loaded.shutdown_timeout + 2 * SHUTDOWN_MARGIN)
    observers = [] if loaded.management_port is None else [Metrics(PROCESS, PATH)]
    traces = open_traces(**loaded.tracing(), untraced=health.PATHS)
    app = create_app(loaded, observers, traces)
    # With the default settings, garbage collection takes a sixth of the CPU time. Most of the
    # scanned objects are permanent: modules and the schema. `freeze` excludes these from
    # collection, and the higher threshold runs it less often for the rest, such as idle sockets.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    return traces.around(app) if traces else app
