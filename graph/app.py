"""The application: the engine for as long as it runs, and what is mounted where."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from feed.feed import Feed
from graph import logging, signals
from graph.auth.authenticator import Authenticator
from graph.auth.guard import Guard
from graph.execution.schema import build_schema
from graph.http import middleware
from graph.http.batching import BatchExecutor
from graph.http.body import BodyLimits
from graph.http.endpoint import GraphQLEndpoint
from graph.http.origins import CrossOrigin, KnownHosts, Origins, Security, SecurityHeaders
from graph.limits.throttle import RateLimiter
from graph.settings import Mode, Settings, load
from graph.shutdown import SHUTDOWN_MARGIN, Shutdown, stop_with_parent
from graph.streaming.streams import ResultStreams
from graph.websocket.endpoint import Limits, WebSocketEndpoint

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PATH = "/graphql"


class Roster(FastAPI):
    """FastAPI, with GraphQL's requests past all that is its own: nearly all are such. ADR 7.

    The door is a route of its too, for whoever asks in another way than that.
    """

    door: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"] == _PATH
        if asked and scope["method"] in {"GET", "POST"}:
            scope["app"] = self
            await self.door(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> Roster:
    development = settings.mode is Mode.DEVELOPMENT
    shutdown = Shutdown(settings.shutdown_timeout)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = database = settings.database()
        database.watch()
        app.state.authenticator = authenticator = Authenticator(
            database, settings.issuers(), api_keys=settings.auth_api_keys
        )
        app.state.feed = feed = Feed(database)
        app.state.username_emails = settings.username_emails
        try:
            with (
                shutdown.announced_to(feed.stop),
                signals.before_shutdown(shutdown.begin, shutdown.interrupt),
            ):
                yield
        finally:
            await shutdown.finish()
            await feed.close()
            await authenticator.close()
            await database.close()

    # A redirect to a path with a slash would name the host that the request names.
    app = Roster(title="Roster", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    origins = _origins(settings)
    security = Security(transport=not development)
    _add_graphql(app, settings, origins, security, shutdown)
    if settings.cors_origins:
        cors = _cors(settings.cors_origins)
        app.door = CrossOrigin(app.door, **cors)
        app.add_middleware(CrossOrigin, **cors)
    app.add_exception_handler(HTTPException, middleware.http_error)
    app.include_router(middleware.health)
    if development:
        app.mount("/graphiql", StaticFiles(directory=str(middleware.GRAPHIQL_FILES)))
        app.add_api_route("/", lambda: RedirectResponse("/graphql"))
    app.add_middleware(KnownHosts, origins=origins)
    app.add_middleware(middleware.Faults)
    app.add_middleware(middleware.Interruption, shutdown=shutdown)
    app.add_middleware(middleware.RequestId)
    app.add_middleware(SecurityHeaders, security)
    return app


def _add_graphql(
    app: Roster, settings: Settings, origins: Origins, security: Security, shutdown: Shutdown
) -> None:
    development = settings.mode is Mode.DEVELOPMENT
    rate_limiter = RateLimiter(
        settings.rate_limit, settings.concurrent_operations, settings.sockets_per_caller
    )
    guard = Guard(rate_limiter, allow_anonymous=development, recheck_seconds=settings.caller_watch)
    schema = build_schema(settings, rate_limiter, shutdown)
    live = ResultStreams()
    bodies = BodyLimits(settings.body_limit, settings.body_timeout)
    batches = BatchExecutor(settings.batch_limit, guard, rate_limiter, schema)
    door = GraphQLEndpoint(
        guard,
        origins,
        rate_limiter,
        schema,
        live,
        batches,
        bodies,
        security,
        shutdown,
        graphiql=development,
    )
    limits = Limits(
        init_seconds=settings.socket_init_timeout,
        send_seconds=settings.send_timeout,
        operations=settings.socket_operations,
    )
    sockets = WebSocketEndpoint(guard, origins, rate_limiter, schema, live, limits, shutdown)
    app.router.routes.append(WebSocketRoute(_PATH, sockets))
    app.router.routes.append(Route(_PATH, door))
    app.door = door


def _cors(origins: list[str]) -> dict[str, Any]:
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "POST"],
        # Any that a page asks for: there are no cookies, so a header gives no right that the page
        # does not have already, and tracing and client libraries add headers of their own.
        "allow_headers": ["*"],
        "expose_headers": ["ratelimit", "ratelimit-policy", "retry-after", "x-request-id"],
        "max_age": 7200,
    }


def _origins(settings: Settings) -> Origins:
    hosts = frozenset(settings.allowed_hosts)
    if settings.mode is Mode.DEVELOPMENT:
        own = f"[{settings.host}]" if ":" in settings.host else settings.host
        hosts |= _LOOPBACK | {own}
    return Origins(hosts or None, frozenset(settings.cors_origins))


def from_environment() -> Roster:
    """Make the application for a server process, by the settings in its environment."""
    loaded = load()
    logging.configure(loaded.log_format)
    stop_with_parent(loaded.shutdown_timeout + 2 * SHUTDOWN_MARGIN)
    app = create_app(loaded)
    # A sixth of the time went into looking for garbage among what never becomes any: modules, the
    # schema, idle sockets. So that is left out, and the rest is looked through less often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    return app
