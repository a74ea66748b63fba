"""Production mode of a real server process: access requires valid credentials."""

import asyncio
import json
import signal
import sqlite3
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.client import CREATE
from tests.support.cursors import cursor_at
from tests.support.process import http_client, run, serving_process
from tests.support.signing import EC, ISS, PRIVATE, pem, token
from tests.support.sockets import (
    FEED,
    PROTOCOL,
    address,
    event,
    receive_message,
    send_message,
    subscribe,
)
from tests.system.test_serve import wired

COUNT = "{ users { totalCount } }"
VIEWER = "{ viewer { username externalId isViewer } users(first: 5) { nodes { isViewer } } }"
EVERYTHING = "users:read users:write users:history users:erase users:link"
DEACTIVATE = (
    """mutation ($id: ID!) { deactivateUser(input: {id: $id}) { changed errors { code } } }"""
)
SETTINGS = {
    "ROSTER_MODE": "production",
    "ROSTER_AUTH_ISSUER": ISS,
    "ROSTER_AUTH_AUDIENCE": "roster",
    "ROSTER_AUTH_PUBLIC_KEY": pem(EC),
    "ROSTER_AUTH_LEEWAY": "0",
    "ROSTER_AUTH_RECHECK_INTERVAL": "0.2",
}
UNAUTHENTICATED_MESSAGE = "A bearer token is required."
NOT_ACCEPTED = "This token is not accepted."
CHALLENGE = 'Bearer realm="roster"'
INVALID = f'{CHALLENGE}, error="invalid_token"'


def bearer(scope: str = EVERYTHING, **claims: Any) -> str:
    return f"Bearer {token(EC, 'ES256', scope=scope, **claims)}"


def error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


@dataclass
class Server:
    """A server process in production mode; its log must not contain `secrets`."""

    process: Process
    url: str
    http: httpx.AsyncClient
    settings: dict[str, Any]
    secrets: list[str] = field(default_factory=list)

    async def send(self, authorization: str | None, query: str, **variables: Any) -> httpx.Response:
        headers = {} if authorization is None else {"authorization": authorization}
        body = {"query": query, "variables": variables}
        return await self.http.post("/graphql", json=body, headers=headers)

    async def ask(self, authorization: str, query: str, **variables: Any) -> Any:
        answer = await self.send(authorization, query, **variables)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"data"}, answer.text
        return answer.json()["data"]

    async def add(self, name: str, **fields: Any) -> str:
        values = {"username": name, "email": f"{name}@example.com"} | fields
        payload = (await self.ask(bearer(sub="admin"), CREATE, input=values))["createUser"]
        assert payload["errors"] == []
        return str(payload["user"]["id"])

    async def key(self, scope: str = "users:read") -> str:
        code, output = await run("key", "create", "import", "--scope", scope, **self.settings)
        assert code == 0
        text = output.splitlines()[-1]
        assert text.startswith("roster_")
        self.secrets.append(text)
        return f"Bearer {text}"

    async def until_rejected(self, authorization: str) -> None:
        """Repeats a request until it is rejected."""
        async with asyncio.timeout(60):
            while (answer := await self.send(authorization, "{ __typename }")).status_code == 200:
                assert answer.json() == {"data": {"__typename": "Query"}}
        assert answer.status_code == 401
        assert answer.json() == error("UNAUTHENTICATED", NOT_ACCEPTED)

    @asynccontextmanager
    async def socket(
        self, init: dict[str, Any] | None, **headers: str
    ) -> AsyncIterator[ClientConnection]:
        async with connect(
            address(self.url),
            subprotocols=[PROTOCOL],  # type: ignore[list-item] # a NewType of str
            additional_headers=headers,
        ) as connection:
            if init is not None:
                await send_message(connection, {"type": "connection_init", "payload": init})
            yield connection

    @asynccontextmanager
    async def stream(
        self, authorization: str, query: str = FEED, *, replay: bool = True
    ) -> AsyncIterator[httpx.Response]:
        headers = {"authorization": authorization, "accept": "text/event-stream"}
        after = await self.first_cursor() if replay else None
        body = {"query": query, "variables": {"after": after}}
        async with self.http.stream("POST", "/graphql", json=body, headers=headers) as response:
            yield response

    async def first_cursor(self) -> str:
        return await cursor_at(self.settings["ROSTER_DATABASE_URL"], 1)

    async def log(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(self.process.communicate(), 60)
        return output.decode()


@asynccontextmanager
async def production(database_url: str, **settings: str) -> AsyncIterator[Server]:
    values: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url} | SETTINGS | settings
    async with (
        serving_process(**values) as (process, url),
        http_client(url) as http,
    ):
        yield Server(process, url, http, values)


async def closed(connection: ClientConnection) -> tuple[int, str]:
    """Returns the close code and reason; the close must be the next message."""
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(connection.recv(), 60)
    assert caught.value.rcvd
    return caught.value.rcvd.code, caught.value.rcvd.reason


class StreamLines:
    """The lines of a stream, without ids and keep-alives."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self._read: list[str] = []

    async def until(self, part: str) -> None:
        """Waits for a line with this part."""
        async with asyncio.timeout(60):
            async for line in self._lines:
                self._read.append(line)
                if part in line:
                    return

    async def all(self) -> list[str]:
        """Returns the lines from the beginning to the end of the stream."""
        async with asyncio.timeout(60):
            lines = self._read + [line async for line in self._lines]
        return [line for line in lines if line and line != ":" and not line.startswith("id: ")]


def final_lines(code: str, message: str) -> list[str]:
    text = json.dumps(error(code, message), separators=(",", ":"))
    return ["event: next", f"data: {text}", "event: complete", "data:"]


async def test_requests_without_a_token_are_rejected(database_url: str) -> None:
    async with production(database_url) as server:
        post, get = {"content": b"no JSON"}, {"params": {"query": COUNT}}
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "application/json", post),
            ("POST", "text/event-stream", post),
            ("GET", "application/json", get),
            ("GET", "text/event-stream", get),
            ("GET", "*/*", {}),
        ]
        for method, accept, values in requests:
            answer = await server.http.request(
                method, "/graphql", headers={"accept": accept}, **values
            )
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == CHALLENGE
            assert answer.json() == error("UNAUTHENTICATED", UNAUTHENTICATED_MESSAGE)
        for path in ("/", "/graphiql/app.js", "/docs", "/openapi.json"):
            assert (await server.http.get(path)).status_code == 404
        async with server.socket({}) as live:
            assert await closed(live) == (4403, UNAUTHENTICATED_MESSAGE)
        async with server.socket(None) as live:
            await subscribe(live)
            assert await closed(live) == (4401, "Unauthorized")


async def test_request_without_a_token_is_rejected_before_its_body_arrives(tmp_path: Path) -> None:
    async with production(f"sqlite:///{tmp_path}/roster.db") as server:
        url = httpx.URL(server.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n"  # and no body
        )
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_invalid_token_is_rejected_on_every_transport(tmp_path: Path) -> None:
    async with production(f"sqlite:///{tmp_path}/roster.db") as server:
        now = int(time.time())
        wrong = {
            "none at all": "Bearer x",
            "another scheme": "Basic YWRhOnMzY3JldA==",
            "expired": bearer(exp=now - 1),
            "another audience": bearer(aud="other"),
            "another issuer": bearer(iss="https://elsewhere.example"),
            "not yet": bearer(nbf=now + 3600),
            "another key": f"Bearer {token(PRIVATE['RS256'], 'RS256')}",
            "no signature": f"Bearer {token(None, 'none')}",
            "no such key": "Bearer roster_" + "A" * 43,
        }
        for name, authorization in wrong.items():
            answer = await server.send(authorization, COUNT)
            assert (name, answer.status_code) == (name, 401)
            assert answer.headers["www-authenticate"] == INVALID
            assert answer.json() == error("UNAUTHENTICATED", NOT_ACCEPTED)
            async with server.stream(authorization, replay=False) as response:
                assert response.status_code == 401
            async with server.socket({"authorization": authorization}) as live:
                assert await closed(live) == (4403, NOT_ACCEPTED)
            async with server.socket({}, authorization=authorization) as live:
                assert await closed(live) == (4403, NOT_ACCEPTED)
        good = bearer()
        assert await server.ask(good, COUNT) == {"users": {"totalCount": 0}}
        async with server.socket({"authorization": good}) as live:
            assert await receive_message(live) == {"type": "connection_ack"}
        async with server.socket({}, authorization=good) as live:
            assert await receive_message(live) == {"type": "connection_ack"}


async def test_subject_of_a_token_is_the_viewer_and_read_scope_cannot_write(
    database_url: str,
) -> None:
    async with production(database_url) as server:
        await server.add("ada", externalId="hr-1")
        await server.add("bob")
        own = {"username": "ada", "externalId": "hr-1", "isViewer": True}
        reader = bearer("users:read", sub="hr-1")
        whole = {"viewer": own, "users": {"nodes": [{"isViewer": False}, {"isViewer": True}]}}
        assert await server.ask(reader, VIEWER) == whole
        alone = {"viewer": own, "users": {"nodes": [{"isViewer": True}]}}
        assert await server.ask(bearer("", sub="hr-1"), VIEWER) == alone
        key = await server.key()
        others = {"nodes": [{"isViewer": False}] * 2}
        assert await server.ask(key, VIEWER) == {"viewer": None, "users": others}
        values = {"username": "eve", "email": "eve@example.com"}
        expected_error = {"code": "FORBIDDEN", "message": "Missing scope `users:write`."}
        for caller in (reader, key):
            payload = (await server.ask(caller, CREATE, input=values))["createUser"]
            assert payload["user"] is None
            assert [{k: e[k] for k in expected_error} for e in payload["errors"]] == [
                expected_error
            ]
        assert await server.ask(key, COUNT) == {"users": {"totalCount": 2}}


UPDATE = """mutation ($input: UpdateUserInput!) { updateUser(input: $input) {
  user { id } errors { code path } } }"""


async def test_caller_cannot_set_their_own_subject_as_external_id(database_url: str) -> None:
    async with production(database_url) as server:
        user = await server.add("ada")
        for scope in ("users:read users:write", EVERYTHING):
            sync = bearer(scope, sub="sync")
            payload = await server.ask(sync, UPDATE, input={"id": user, "externalId": "sync"})
            expected_error = {"code": "FORBIDDEN", "path": ["input", "externalId"]}
            assert payload == {"updateUser": {"user": None, "errors": [expected_error]}}
            found = await server.ask(sync, "{ viewer { id } users { nodes { externalId } } }")
            assert found == {"viewer": None, "users": {"nodes": [{"externalId": None}]}}


async def test_expired_token_ends_its_streams_and_sockets(tmp_path: Path) -> None:
    async with production(
        f"sqlite:///{tmp_path}/roster.db", ROSTER_AUTH_RECHECK_INTERVAL="3600"
    ) as server:
        await server.add("bob")
        short = bearer(exp=int(time.time()) + 8)
        async with (
            server.stream(short) as response,
            server.socket({"authorization": short}) as live,
        ):
            assert await receive_message(live) == {"type": "connection_ack"}
            await subscribe(live, after=await server.first_cursor())
            await server.add("ada")
            assert (await event(live))["type"] == "CREATED"
            lines = await StreamLines(response).all()
            assert lines[2:] == final_lines("UNAUTHENTICATED", "This token has expired.")
            assert '"type":"CREATED"' in lines[1]
            payload = error("UNAUTHENTICATED", "This token has expired.")["errors"]
            assert await receive_message(live) == {"id": "1", "type": "error", "payload": payload}
            assert await closed(live) == (4401, "Unauthorized: come back with a new token")
        assert (await server.send(short, COUNT)).status_code == 401


async def test_deactivated_user_is_rejected_and_disconnected(database_url: str) -> None:
    async with production(database_url) as server:
        user = await server.add("ada", externalId="hr-1")
        await server.add("bob")
        own = bearer("users:read users:history", sub="hr-1")
        async with server.stream(own) as response, server.socket({"authorization": own}) as live:
            assert await receive_message(live) == {"type": "connection_ack"}
            await subscribe(live, after=await server.first_cursor())
            assert (await event(live))["type"] == "CREATED"
            streamed = StreamLines(response)
            await streamed.until('"type":"CREATED"')
            done = {"deactivateUser": {"changed": True, "errors": []}}
            assert await server.ask(bearer(sub="admin"), DEACTIVATE, id=user) == done
            await server.until_rejected(own)
            lines = await streamed.all()
            received = await receive_message(live)
            assert (received["id"], received["type"]) == ("1", "error")
            assert [e["extensions"]["code"] for e in received["payload"]] == ["UNAUTHENTICATED"]
            assert (await closed(live))[0] == 4401
        assert sum('"type":"CREATED"' in line for line in lines) == 1
        assert not any("DEACTIVATED" in line for line in lines)
        assert '"code":"UNAUTHENTICATED"' in lines[-3]
        assert lines[-2:] == ["event: complete", "data:"]


BULK = """mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) {
  succeeded errors { code } } }"""


async def assert_rejected_everywhere(server: Server, own: str) -> None:
    """Asserts that a token is rejected on every transport."""
    for accept in ("application/json", "text/event-stream"):
        headers = {"authorization": own, "accept": accept}
        answer = await server.http.post("/graphql", headers=headers, json={"query": VIEWER})
        assert answer.status_code == 401
        assert answer.json() == error("UNAUTHENTICATED", NOT_ACCEPTED)
    async with server.socket({"authorization": own}) as live:
        assert await closed(live) == (4403, NOT_ACCEPTED)


@pytest.mark.parametrize("end", ["delete", "change", "replace"])
async def test_former_user_is_rejected_on_every_transport(database_url: str, end: str) -> None:
    """If the external id moves to another user, the token belongs to that user."""
    async with production(database_url) as server:
        user, other = await server.add("ada", externalId="hr-1"), await server.add("bob")
        own = bearer(sub="hr-1")
        clear = {"update": {"id": user, "externalId": None}}
        ends: dict[str, list[dict[str, Any]]] = {
            "delete": [{"delete": {"id": user}}],
            "change": [clear],
            "replace": [clear, {"update": {"id": other, "externalId": "hr-1"}}],
        }
        operations = ends[end]
        async with server.stream(own) as response, server.socket({"authorization": own}) as live:
            assert await receive_message(live) == {"type": "connection_ack"}
            await subscribe(live, after=await server.first_cursor())
            assert (await event(live))["type"] == "CREATED"
            admin, values = bearer(sub="admin"), {"operations": operations}
            done = {"bulkUsers": {"succeeded": len(operations), "errors": []}}
            assert await server.ask(admin, BULK, input=values) == done
            assert '"code":"UNAUTHENTICATED"' in (await StreamLines(response).all())[-3]
            while (received := await receive_message(live))[
                "type"
            ] == "next":  # events from before the re-check
                pass
            assert [e["extensions"]["code"] for e in received["payload"]] == ["UNAUTHENTICATED"]
            assert (await closed(live))[0] == 4401
        if end == "replace":
            viewer = await server.ask(own, "{ viewer { username } }")
            assert viewer == {"viewer": {"username": "bob"}}
        else:
            await assert_rejected_everywhere(server, own)
            await assert_rejected_everywhere(server, bearer(sub="hr-1", jti="new"))
        log = await server.log()
    assert "hr-1" not in log
    assert ("the subject was a user" in log) is (end != "replace")


async def test_issuer_without_services_accepts_only_users(database_url: str) -> None:
    async with production(database_url) as server:
        await server.add("ada", externalId="hr-1")
    async with production(database_url, ROSTER_AUTH_SERVICES="false") as server:
        viewer = await server.ask(bearer(sub="hr-1"), "{ viewer { username } }")
        assert viewer == {"viewer": {"username": "ada"}}
        await assert_rejected_everywhere(server, bearer(sub="sync"))


@pytest.mark.parametrize("watch", ["0.2", "3600"])
async def test_revoked_key_is_rejected_and_disconnected(database_url: str, watch: str) -> None:
    """With a re-check interval of an hour, the next event ends the stream."""
    async with production(database_url, ROSTER_AUTH_RECHECK_INTERVAL=watch) as server:
        admin = await server.key("users:read")
        await server.add("cleo")
        code, output = await run(
            "key",
            "create",
            "feed",
            "--scope",
            "users:read",
            "--scope",
            "users:history",
            **server.settings,
        )
        assert code == 0
        key = f"Bearer {output.splitlines()[-1]}"
        async with server.stream(key) as response, server.socket({"authorization": key}) as live:
            assert await receive_message(live) == {"type": "connection_ack"}
            await subscribe(live, after=await server.first_cursor())
            await server.add("ada")
            assert (await event(live))["type"] == "CREATED"
            streamed = StreamLines(response)
            await streamed.until('"type":"CREATED"')
            code, output = await run("key", "revoke", "2", **server.settings)
            assert (code, output) == (0, "Revoked key 2, feed.\n")
            await server.until_rejected(key)
            await server.add("bob")
            lines = await streamed.all()
            received = await receive_message(live)
            assert (received["id"], received["type"]) == ("1", "error")
            assert [e["extensions"]["code"] for e in received["payload"]] == ["UNAUTHENTICATED"]
            if watch == "0.2":
                assert (await closed(live))[0] == 4401
        assert sum('"type":"CREATED"' in line for line in lines) == 1
        assert lines[-2:] == ["event: complete", "data:"]
        assert await server.ask(admin, COUNT) == {"users": {"totalCount": 3}}


async def test_introspection_suggestions_and_graphiql_are_disabled(tmp_path: Path) -> None:
    async with production(f"sqlite:///{tmp_path}/roster.db") as server:
        for query in ("{ __schema { types { name } } }", '{ __type(name: "User") { name } }'):
            answer = (await server.send(bearer(), query)).json()
            assert [e["extensions"]["code"] for e in answer["errors"]] == ["INTROSPECTION_DISABLED"]
            assert "data" not in answer
        answer = (await server.send(bearer(), "{ userz { totalCount } }")).json()
        assert answer["errors"][0]["message"] == "Cannot query field 'userz' on type 'Query'."
        headers = {"authorization": bearer(), "accept": "text/html"}
        assert (await server.http.get("/graphql", headers=headers)).status_code == 406


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_unreachable_database_is_reported_as_503_until_it_is_back(database_url: str) -> None:
    async with (
        wired(database_url) as (wire, near),
        production(near, ROSTER_AUTH_RECHECK_INTERVAL="0.1") as server,
    ):
        known, other = bearer(), bearer(jti="not seen before")
        async with server.socket({"authorization": known}) as live:
            assert await receive_message(live) == {"type": "connection_ack"}
            await wire.cut()
            answer = await server.send(other, COUNT)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "2"
            message = "The database is unavailable right now. Try again in a moment."
            assert answer.json() == error("DATABASE_UNAVAILABLE", message)
            async with server.socket({"authorization": other}) as rejected:
                assert await closed(rejected) == (1013, message)
            await wire.mend()
            assert await server.ask(other, COUNT) == {"users": {"totalCount": 0}}
            await send_message(
                live, {"type": "ping"}
            )  # its token could not be re-checked meanwhile
            assert await receive_message(live) == {"type": "pong"}


async def test_unreachable_issuer_is_reported_as_503(tmp_path: Path) -> None:
    settings: dict[str, Any] = {n: v for n, v in SETTINGS.items() if n != "ROSTER_AUTH_PUBLIC_KEY"}
    settings |= {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    async with (
        serving_process(**settings, ROSTER_AUTH_JWKS_URL="http://127.0.0.1:1/") as (process, url),
        http_client(url) as http,
    ):
        server = Server(process, url, http, settings)
        answer = await server.send(bearer(), COUNT)
        message = "Tokens cannot be checked right now. Try again in a moment."
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == error("AUTHENTICATION_UNAVAILABLE", message)
        async with server.socket({"authorization": bearer()}) as live:
            assert await closed(live) == (1013, message)


@pytest.mark.usefixtures("installed_program")
@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_log_contains_no_personal_data_and_no_secrets(
    database_url: str, log_format: str
) -> None:
    async with production(database_url, ROSTER_LOG_FORMAT=log_format) as server:
        good, key = bearer(), await server.key()
        wrong = [bearer(aud="other", email="eve@example.com"), f"{key}x", "Basic YWRhOnMzY3JldA=="]
        await server.add("grace", externalId="hr-1", displayName="Grace Hopper")
        for authorization in (good, key, *wrong):
            await server.send(authorization, COUNT)
            await server.http.get("/graphql", params={"query": COUNT, "access_token": "s3cret"})
            async with server.socket({"authorization": authorization}) as live:
                await live.close()
        search = '{ users(search: "grace@example.com") { nodes { email } }'
        await server.send(good, search)
        await server.send(good, "query ($id: ID!) { user(id: $id) { email } }", id="grace@example")
        await server.send(good, CREATE, input={"username": "grace", "email": "grace@example.com"})
        if make_url(database_url).get_backend_name() == "sqlite":
            _break(make_url(database_url).database or "")
            answer = (
                await server.send(
                    good, CREATE, input={"username": "alan", "email": "alan@example.com"}
                )
            ).json()
            assert answer["errors"][0]["extensions"]["code"] == "INTERNAL_ERROR"
        log = await server.log()
    assert "refused a token" in log
    secrets = [a.partition(" ")[2] for a in (good, *wrong)] + server.secrets
    parts = [part for text in secrets for part in text.split(".")]
    named = ["@example", "s3cret", "Grace", "grace", "alan", "hr-1", "PUBLIC KEY"]
    assert [text for text in (*parts, *named) if text in log] == []


def _break(path: str) -> None:
    """Makes the next write fail with an unexpected error."""
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE users RENAME COLUMN display_name TO other")
    connection.close()
