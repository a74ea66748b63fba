"""The application: the engine for as long as it runs, and what is mounted where."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles

from db.models import ActorKind
from graph import http, logs, signals
from graph.context import Context
from graph.event_stream import EventStream
from graph.live import Live
from graph.schema import schema
from graph.settings import Mode, Settings, load
from graph.sockets import Limits, Sockets
from users.events import Actor
from users.feed import Feed
from users.policy import EVERY_SCOPE, Caller

# Nobody signs in yet: whoever reaches a development server on this machine is its developer.
DEVELOPER = Caller(Actor(ActorKind.SYSTEM, label="development"), EVERY_SCOPE)


def create_app(settings: Settings) -> FastAPI:
    development = settings.mode is Mode.DEVELOPMENT

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = database = settings.database()
        app.state.feed = feed = Feed(database)
        try:
            with signals.before_shutdown(feed.stop):
                yield
        finally:
            await feed.close()
            await database.close()

    app = FastAPI(title="Roster", lifespan=lifespan, openapi_url=None)
    live = Live(schema)
    limits = Limits(
        init_seconds=settings.socket_init_timeout,
        send_seconds=settings.send_timeout,
        operations=settings.socket_operations,
        sockets=settings.sockets_per_caller,
    )
    app.add_middleware(EventStream, path="/graphql", live=live, context=_context)
    app.add_middleware(http.RequestId)
    app.router.routes.append(WebSocketRoute("/graphql", Sockets(live, limits, _context)))
    app.include_router(
        http.GraphQLDoor(
            schema,
            path="/graphql",
            context_getter=_context,
            graphql_ide="graphiql" if development else None,
            subscription_protocols=(),
        )
    )
    app.include_router(http.health)
    if development:
        app.mount("/graphiql", StaticFiles(directory=str(http.GRAPHIQL_FILES)))
        app.add_api_route("/", lambda: RedirectResponse("/graphql"))
    return app


def from_environment() -> FastAPI:
    """Make the application for a server process, by the settings in its environment."""
    loaded = load()
    logs.configure(loaded.log_format)
    app = create_app(loaded)
    # A sixth of the time went into looking for garbage among what never becomes any: modules, the
    # schema, idle sockets. So that is left out, and the rest is looked through less often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    return app


async def _context(connection: HTTPConnection) -> Context:
    state = connection.app.state
    return Context(state.database, state.feed, DEVELOPER, connection.state.request_id)
