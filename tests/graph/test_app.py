"""Middleware, routes and handlers that users add to the application apply to every request."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.testclient import TestClient
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from graph.app import create_app
from graph.http.health import get_database
from graph.http.origins import SECURITY_HEADERS
from graph.settings import Settings
from tests.support.sockets import PROTOCOL

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
QUERY = {"query": "{ __typename }"}
RESULT = {"data": {"__typename": "Query"}}
CREATE = 'mutation { createUser(input: {username: "ada", email: "a@b.example"}) { user { id } } }'
ORIGIN = "https://app.example"
PREFLIGHT = {"origin": ORIGIN, "access-control-request-method": "POST"}


@pytest.fixture
def app(database_url: str) -> FastAPI:
    settings = Settings(
        database_url=database_url,
        cors_origins=[ORIGIN],
        allowed_hosts=["testserver"],
        max_batch_size=2,
    )
    return create_app(settings)


@contextmanager
def serving(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


class RecordingMiddleware:
    """A pure ASGI middleware that records messages and adds a header to each response."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def recording_receive() -> Message:
            message = await receive()
            self.seen.append(message["type"])
            return message

        async def recording_send(message: Message) -> None:
            self.seen.append(message["type"])
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-added"] = "yes"
            if message["type"] == "websocket.send":
                message["text"] = message["text"].replace("Query", "Changed")
            await send(message)

        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            self.seen.append(f"{scope.get('method', scope['type'])} {scope['path']}")
            await self.app(scope, recording_receive, recording_send)


REQUESTS: dict[str, tuple[dict[str, Any], int]] = {
    "GET": ({"method": "GET", "params": QUERY}, 200),
    "POST": ({"method": "POST", "json": QUERY}, 200),
    "batch": ({"method": "POST", "json": [QUERY, QUERY]}, 200),
    "mutation": ({"method": "POST", "json": {"query": CREATE}}, 200),
    "mutation by GET": ({"method": "GET", "params": {"query": CREATE}}, 405),
    "invalid": ({"method": "POST", "content": "x"}, 415),
    "not acceptable": ({"method": "POST", "headers": {"accept": "image/png"}}, 406),
    "wrong host": ({"method": "POST", "json": QUERY, "headers": {"host": "evil.example"}}, 421),
    "other origin": ({"method": "POST", "json": QUERY, "headers": {"origin": "https://e"}}, 403),
    "page": ({"method": "GET", "headers": {"accept": "text/html"}}, 200),
    "stream": (
        {"method": "POST", "json": QUERY, "headers": {"accept": "text/event-stream"}},
        200,
    ),
    "preflight": ({"method": "OPTIONS", "headers": PREFLIGHT}, 200),
    "other method": ({"method": "DELETE"}, 405),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_asgi_middleware_sees_every_request_and_changes_its_response(
    app: FastAPI, kind: str
) -> None:
    seen: list[str] = []
    app.add_middleware(RecordingMiddleware, seen=seen)
    request, status = REQUESTS[kind]
    with serving(app) as client:
        response = client.request(url="/graphql", **request)
    assert response.status_code == status
    assert response.headers["x-added"] == "yes"
    assert seen[0] == f"{request['method']} /graphql"
    assert seen.count("http.response.start") == 1
    assert seen[-1] in {"http.response.body", "http.disconnect"}


@pytest.mark.parametrize("kind", REQUESTS)
def test_http_middleware_changes_requests_and_responses(app: FastAPI, kind: str) -> None:
    paths: list[str] = []

    @app.middleware("http")
    async def change(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        paths.append(request.url.path)
        request.scope["headers"].append((b"x-request-id", b"from-middleware"))
        response = await call_next(request)
        response.headers["x-added"] = response.headers["x-request-id"]
        response.status_code += 100
        return response

    request, status = REQUESTS[kind]
    with serving(app) as client:
        response = client.request(url="/graphql", **request)
    assert paths == ["/graphql"]
    assert (response.status_code, response.headers["x-added"]) == (status + 100, "from-middleware")


def test_http_middleware_replaces_the_body(app: FastAPI) -> None:
    @app.middleware("http")
    async def upper(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response: Any = await call_next(request)
        body = b"".join([part async for part in response.body_iterator])
        return Response(body.upper(), response.status_code, media_type="text/plain")

    with serving(app) as client:
        assert (
            client.post("/graphql", json=QUERY).text
            == json.dumps(RESULT, separators=(",", ":")).upper()
        )


def test_http_middleware_can_respond_instead_of_graphql(app: FastAPI) -> None:
    @app.middleware("http")
    async def refuse(_: Request, __: object) -> Response:
        return Response("closed", 503)

    with serving(app) as client:
        response = client.post("/graphql", json={"query": CREATE})
        assert (response.status_code, response.text) == (503, "closed")


class SmallBodyMiddleware:
    def __init__(self, app: ASGIApp, status: int) -> None:
        self.app = app
        self.status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_small() -> Message:
            message = await receive()
            if len(message.get("body", b"")) > 100:
                raise HTTPException(self.status, headers={"x-limit": "100"})
            return message

        await self.app(scope, receive_small, send)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (409, "CONFLICT", "Conflict."),
        (413, "CONTENT_TOO_LARGE", "Content Too Large."),
        (499, "HTTP_499", "HTTP 499."),
    ],
)
def test_http_exception_that_a_middleware_raises_in_receive_becomes_the_response(
    app: FastAPI, status: int, code: str, message: str
) -> None:
    app.add_middleware(SmallBodyMiddleware, status=status)
    with serving(app) as client:
        assert client.post("/graphql", json=QUERY).json() == RESULT
        answer = client.post("/graphql", json={"query": "{ __typename }" + " " * 100})
        assert (answer.status_code, answer.headers["x-limit"]) == (status, "100")
        assert answer.json() == {"errors": [{"message": message, "extensions": {"code": code}}]}


def test_asgi_middleware_sees_and_changes_websocket_messages(app: FastAPI) -> None:
    seen: list[str] = []
    app.add_middleware(RecordingMiddleware, seen=seen)
    with serving(app) as client, client.websocket_connect("/graphql", [PROTOCOL]) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}
        socket.send_json({"id": "1", "type": "subscribe", "payload": QUERY})
        changed = {"data": {"__typename": "Changed"}}
        assert socket.receive_json() == {"id": "1", "type": "next", "payload": changed}
        assert socket.receive_json() == {"id": "1", "type": "complete"}
    assert seen[0] == "websocket /graphql"
    assert seen.count("websocket.send") == 3


def test_custom_routes_dependencies_and_exception_handlers_take_effect(app: FastAPI) -> None:
    class TeapotError(Exception):
        pass

    @app.exception_handler(TeapotError)
    async def teapot(_: Request, __: Exception) -> Response:
        return Response("teapot", 418)

    @app.exception_handler(404)
    async def missing(_: Request, __: Exception) -> Response:
        return Response("mine", 404)

    def name(who: str = "nobody") -> str:
        return who

    @app.get("/hello")
    async def hello(name: Annotated[str, Depends(name)]) -> dict[str, str]:
        if name == "teapot":
            raise TeapotError
        return {"hello": name}

    with serving(app) as client:
        greeting = client.get("/hello", params={"who": "ada"})
        assert greeting.json() == {"hello": "ada"}
        assert greeting.headers["x-frame-options"] == SECURITY_HEADERS["x-frame-options"]
        assert len(greeting.headers["x-request-id"]) == 32
        assert client.get("/hello", params={"who": "teapot"}).status_code == 418
        assert client.get("/nothing").text == "mine"
        assert client.post("/graphql", json=QUERY).json() == RESULT


@pytest.mark.parametrize("key", [Exception, 500])
def test_custom_handler_of_exceptions_replaces_the_default_one(app: FastAPI, key: Any) -> None:
    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("secret")

    with TestClient(app, raise_server_exceptions=False) as client:
        ours = client.get("/crash")
        assert (ours.status_code, "secret" in ours.text) == (500, False)
        assert ours.json()["errors"][0]["extensions"]["code"] == "INTERNAL_ERROR"

    @app.exception_handler(key)
    async def handle(_: Request, __: Exception) -> Response:
        return Response("mine", 500)

    app.middleware_stack = None  # as before the first request
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/crash").text == "mine"


def test_dependency_override_replaces_the_database_of_health_checks(app: FastAPI) -> None:
    async def ping() -> None:
        raise ConnectionError

    app.dependency_overrides[get_database] = lambda: SimpleNamespace(ping=ping)
    with serving(app) as client:
        ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["database"]) == (503, "unreachable")


async def test_application_can_be_mounted_below_a_prefix(app: FastAPI) -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/directory", app)

    @outer.get("/graphql")
    async def own() -> str:
        return "outer"

    with TestClient(outer) as client:
        assert client.get("/graphql").json() == "outer"
        assert client.post("/directory/graphql", json=QUERY).json() == RESULT
        assert client.get("/directory/health/ready").json()["status"] == "ok"
        wrong = {"host": "evil.example"}
        assert client.get("/directory/health/live", headers=wrong).status_code == 200
        assert client.post("/directory/graphql", json=QUERY, headers=wrong).status_code == 421
        page = client.get("/directory/", headers={"accept": "text/html"})
        assert (page.url.path, page.status_code) == ("/directory/graphql", 200)
        [style] = re.findall(r'href="(/directory/graphiql/assets/[^"]+[.]css)"', page.text)
        assert client.get(style).status_code == 200
        assert '"/graphiql' not in page.text
        with client.websocket_connect("/directory/graphql", [PROTOCOL]) as socket:
            socket.send_json({"type": "connection_init"})
            assert socket.receive_json() == {"type": "connection_ack"}


async def test_routes_and_shortcut_return_the_same_responses(app: FastAPI) -> None:
    """The shortcut past FastAPI's routing only saves time."""
    without = [entry for entry in app.user_middleware if "Shortcut" not in str(entry.cls)]
    assert len(app.user_middleware) - len(without) == 1
    async with app.router.lifespan_context(app):
        found = []
        for middleware in (app.user_middleware, without):
            app.user_middleware, app.middleware_stack = middleware, None
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
                for request, _ in (REQUESTS[kind] for kind in REQUESTS if kind != "mutation"):
                    response = await http.request(url="/graphql", **request)
                    headers = dict(response.headers)
                    assert len(headers.pop("x-request-id")) == 32
                    found.append((response.status_code, headers, response.text.count("data")))
    half = len(found) // 2
    assert found[:half] == found[half:]


def test_error_of_the_start_is_logged_for_servers_that_log_only_its_text(app: FastAPI) -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        fail()
        yield

    def fail() -> None:
        raise LookupError("a value")

    app.router.lifespan_context = lifespan
    with capture_logs() as logs, pytest.raises(LookupError):
        TestClient(app).__enter__()
    event = "the application cannot start or end"
    assert logs == [{"event": event, "log_level": "error", "exc_info": True}]
