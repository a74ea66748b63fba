"""The application: the engine for as long as it runs, and what is mounted where."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection
from starlette.staticfiles import StaticFiles

from db.models import ActorKind
from graph import http, logs
from graph.context import Context
from graph.schema import schema
from graph.settings import Mode, Settings, load
from users.events import Actor

# Nobody signs in yet: whoever reaches a development server on this machine is its developer.
DEVELOPER = Actor(ActorKind.SYSTEM, label="development")


def create_app(settings: Settings) -> FastAPI:
    development = settings.mode is Mode.DEVELOPMENT

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = settings.database()
        try:
            yield
        finally:
            await app.state.database.close()

    app = FastAPI(title="Roster", lifespan=lifespan, openapi_url=None)
    app.add_middleware(http.RequestId)
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
    return create_app(loaded)


async def _context(connection: HTTPConnection) -> Context:
    return Context(connection.app.state.database, DEVELOPER, connection.state.request_id)
