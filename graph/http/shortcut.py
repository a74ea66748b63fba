"""A shortcut from the middleware to GraphQL's endpoints, past FastAPI's routing."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from graph.http.endpoint import GraphQLEndpoint


class GraphQLShortcut:
    """Calls the endpoint of a GraphQL request directly. The innermost middleware.

    Nearly all requests are for one path. FastAPI's exception handling, router and dependencies
    have nothing to do for these, and take a quarter more of the server's time for a lookup by id.
    The endpoints are routes of the application as well.
    """

    def __init__(
        self, app: ASGIApp, *, path: str, endpoint: GraphQLEndpoint, sockets: ASGIApp
    ) -> None:
        self.app = app
        self.path = path
        self.endpoint = endpoint
        self.sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or scope["path"] != scope.get("root_path", "") + self.path:
            await self.app(scope, receive, send)
        elif kind == "websocket":
            await self.sockets(scope, receive, send)
        elif scope["method"] in {"GET", "POST"}:
            response = await self.endpoint.respond(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)
