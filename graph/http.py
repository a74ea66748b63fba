"""The HTTP around GraphQL: request ids, health, and GraphiQL's page."""

import re
from importlib.resources import files
from typing import Any
from uuid import uuid4

from cross_web import AsyncHTTPRequestAdapter, HTTPException
from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strawberry.fastapi import GraphQLRouter
from strawberry.http import GraphQLRequestData

from db.engine import is_unreachable
from graph.context import Context

_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")  # GraphQL, section 2.1.9
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The package holds GraphiQL's published bundles and nothing that runs here; ADR 1.
GRAPHIQL_FILES = files("graphene_django_graphiql_static") / (
    "static/graphene_django_graphiql_static"
)
_GRAPHIQL_PAGE = files("graph") / "graphiql.html"


class RequestId:
    """Name each request: by its `X-Request-Id` where it has a plain one, else by a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


class GraphQLDoor(GraphQLRouter[Context, None]):
    """Strawberry's router, with a GraphiQL that needs no other host."""

    @property
    def graphql_ide_html(self) -> str:
        return _GRAPHIQL_PAGE.read_text("utf-8")

    def parse_json(self, data: str | bytes) -> Any:
        """Read a body, or the variables of a GET: an object, or null, which is as good as none."""
        try:
            value = self.decode_json(data)
        except (ValueError, RecursionError):  # not UTF-8, too many digits or too deep, too
            raise HTTPException(400, "The request is not JSON that can be read.") from None
        if not isinstance(value, dict | None):
            raise HTTPException(400, "The request has to be a JSON object.")
        return value or {}

    async def parse_http_body(
        self, request: AsyncHTTPRequestAdapter
    ) -> GraphQLRequestData | list[GraphQLRequestData]:
        data = await super().parse_http_body(request)
        name = data.operation_name if isinstance(data, GraphQLRequestData) else None
        if name and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise HTTPException(400, "The operationName has to be the name of an operation.")
        return data


health = APIRouter(prefix="/health")


@health.get("/live")
async def live() -> dict[str, str]:
    """Tell that the process runs."""
    return {"status": "ok"}


@health.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, Any]:
    """Tell whether the database answers: 200, or 503."""
    try:
        await request.app.state.database.ping()
    except Exception as error:
        if not is_unreachable(error):
            raise
        response.status_code = 503
        return {"status": "unavailable", "database": "unreachable"}
    return {"status": "ok", "database": "ok"}
