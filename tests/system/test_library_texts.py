"""Error messages contain no texts of Python or of libraries, on any transport."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.support.library_texts import (
    FOREIGN,
    LONG,
    TYPES,
    VALUES,
    document_with_variable,
    errors_of,
)
from tests.support.process import http_client, serving_process
from tests.support.sockets import receive_message, send_message, socket, subscribe
from tests.system.test_closing import MASK, raw_websocket

NUMBERS = [LONG, f"-{LONG}", "1e999999", f"{LONG}.5", f"1e{LONG}", "2147483648"]
IN_DOCUMENTS = [
    "{{ users(first: {0}) {{ totalCount }} }}",
    "{{ users(first: [{0}]) {{ totalCount }} }}",
    "query ($n: Int = {0}) {{ users(first: $n) {{ totalCount }} }}",
    "query ($n: Int @skip(if: {0})) {{ users(first: $n) {{ totalCount }} }}",
    "query @include(if: {0}) {{ __typename }}",
    "{{ __typename @skip(if: {0}) }}",
    "{{ ...A @skip(if: {0}) }} fragment A on Query {{ __typename }}",
    "{{ user(id: {0}) {{ id }} }}",
    "{{ nodes(ids: [{0}]) {{ id }} }}",
    "{{ userBy(by: {{ databaseId: {0} }}) {{ id }} }}",
    "query ($n: BigInt! = {0}) {{ userBy(by: {{ databaseId: $n }}) {{ id }} }}",
    "{{ users(filter: {{ createdAt: {{ gte: {0} }} }}) {{ totalCount }} }}",
    "{{ users(filter: {{ status: [{0}] }}) {{ totalCount }} }}",
    "{{ users(filter: {{ databaseId: [{0}] }}) {{ totalCount }} }}",
    "{{ users(filter: {{ isActive: {0} }}) {{ totalCount }} }}",
    "{{ users(filter: {0}) {{ totalCount }} }}",
    "{{ users(search: {0}) {{ totalCount }} }}",
    "{{ users(after: {0}) {{ totalCount }} }}",
    "{{ users(orderBy: [{{ field: {0} }}]) {{ totalCount }} }}",
    'mutation {{ createUser(input: {{ username: {0}, email: "a@b.c" }}) {{ errors {{ code }} }} }}',
    'mutation {{ updateUser(input: {{ id: "x", expectedVersion: {0} }}) {{ errors {{ code }} }} }}',
    'mutation {{ deleteUser(input: {{ id: "x", eraseAfter: {0} }}) {{ errors {{ code }} }} }}',
    "mutation {{ bulkUsers(input: {{ operations: {0} }}) {{ errors {{ code }} }} }}",
    "subscription {{ userEvents(after: {0}) {{ cursor }} }}",
    "subscription {{ userEvents(filter: {{ at: {{ gte: {0} }} }}) {{ cursor }} }}",
]
OTHER_DOCUMENTS = [
    "{ users(orderBy: [null]) { totalCount } }",
    "{ user(id: null) { id } }",
    "{ user { id } }",
    "{ userBy(by: {}) { id } }",
    "{ userBy(by: { username: null }) { id } }",
    'mutation { updateUser(input: { id: "x", username: null }) { errors { code message } } }',
    'mutation { createUser(input: { username: "", email: "a@b@c" }) { errors { code message } } }',
    "{" * 300,
    "{ a " * 300 + "}" * 300,
    "{ users(filter: " + "{ not: " * 300 + "{}" + "}" * 300 + ") { totalCount } }",
    "{ users(filter: { id: " + "[" * 300 + "]" * 300 + " }) { totalCount } }",
    '{ users(search: "\\u{110000}") { totalCount } }',
    '{ users(search: "\\uD800") { totalCount } }',
    "\0",
    "{ é }",
    "{ users(first: 0x1) { totalCount } }",
    "{ users(first: 01) { totalCount } }",
    "fragment A on User { ...A } query { users { nodes { ...A } } }",
    "query ($x: Nope) { __typename }",
    "query ($ids: [ID!] = []) { nodes(ids: $ids) { id } }",
]
DOCUMENTS = [t.format(n) for t in IN_DOCUMENTS for n in NUMBERS] + OTHER_DOCUMENTS
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    *((document, {}) for document in DOCUMENTS),
    *((document_with_variable(type_), {"v": value}) for type_ in TYPES for value in VALUES),
    *((document_with_variable(type_), {}) for type_ in TYPES),
    ("query ($ids: [ID!] = []) { nodes(ids: $ids) { id } }", {"ids": None}),
    ("subscription ($v: String) { userEvents(after: $v) { cursor } }", {"v": 10**4299}),
    ("subscription ($v: String) { userEvents(after: $v) { cursor } }", {"v": "\0"}),
]


SETTINGS: dict[str, str] = {}


async def test_errors_of_documents_and_variables_contain_no_library_texts(server_url: str) -> None:
    async with (
        http_client(server_url) as http,
        socket(server_url) as live,
        asyncio.timeout(300),
    ):
        for n, (query, variables) in enumerate(REQUESTS):
            body = {"query": query, "variables": variables}
            posted = errors_of((await http.post("/graphql", json=body)).text)
            params = {"query": query, "variables": json.dumps(variables)}
            fetched = await http.get("/graphql", params=params)
            if not query.startswith(("mutation", "subscription")) and fetched.status_code != 400:
                assert errors_of(fetched.text) == posted, query
            if query.startswith("subscription") and not posted:
                continue
            headers = {"accept": "text/event-stream"}
            streamed = await http.post("/graphql", json=body, headers=headers)
            await send_message(live, {"id": str(n), "type": "subscribe", "payload": body})
            message = await receive_message(live)
            if message["type"] == "next":
                assert await receive_message(live) == {"id": str(n), "type": "complete"}
            socket_payload = message["payload"]
            if isinstance(socket_payload, list):
                socket_payload = {"errors": socket_payload}
            [data] = re.findall(r"^data: (.+)$", streamed.text, re.MULTILINE)
            socket_errors = errors_of(json.dumps(socket_payload))
            assert errors_of(data) == socket_errors, query
            if not query.startswith("subscription"):
                assert socket_errors == posted, query


MESSAGES = [
    "",
    "{",
    "\ufeff{}",
    LONG,
    "[" * 90_000,
    "NaN",
    f'{{"type":{LONG}}}',
    '{"type":"\\ud800"}',
]


async def test_close_reasons_of_invalid_messages_contain_no_library_texts(server_url: str) -> None:
    for text in MESSAGES:
        async with socket(server_url) as live:
            await live.send(text)
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(live.recv(), 60)
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 4400
        assert FOREIGN.search(caught.value.rcvd.reason) is None


FRAMES = {
    "not masked": (b"\x81\x02hi", (1002, "RFC 6455 does not allow this frame")),
    "an unknown opcode": (b"\x83\x80" + MASK, (1002, "RFC 6455 does not allow this frame")),
    "not UTF-8": (b"\x81\x81" + MASK + b"\xff", (1007, "not UTF-8")),
    "a reason that is not UTF-8": (b"\x88\x84" + MASK + b"\x03\xe8\xff\xfe", (1007, "not UTF-8")),
    "too long": (
        b"\x81\xff\0\0\0\0\0\x04\0\x01" + MASK,
        (1009, "a message has at most 262144 bytes"),
    ),
    "too many": (
        Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
        + 1_001 * Frame(Opcode.CONT, b"", fin=False).serialize(mask=True),
        (1009, "more than 1000 frames in a message"),
    ),
}


async def test_close_reasons_of_invalid_frames_contain_no_library_texts(server_url: str) -> None:
    async with asyncio.timeout(60):
        for name, (sent, expected) in FRAMES.items():
            async with raw_websocket(server_url) as (reader, writer):
                writer.write(sent)
                head = await reader.readexactly(2)
                assert (name, head[0]) == (name, 0x88)
                data = await reader.readexactly(head[1])
                assert (int.from_bytes(data[:2]), data[2:].decode()) == expected


async def test_close_reason_with_a_long_id_fits_into_its_frame(tmp_path: Path) -> None:
    settings = {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    async with serving_process(None, **settings) as (process, url):
        for sign in ("x", "é", "😀", "\ud800"):
            async with socket(url) as live:
                for _ in range(2):
                    await subscribe(live, sign * 100)
                with pytest.raises(ConnectionClosed) as caught:
                    await asyncio.wait_for(live.recv(), 60)
            assert caught.value.rcvd
            assert caught.value.rcvd.code == 4409
            shown = sign.encode(errors="replace").decode()
            assert caught.value.rcvd.reason.startswith(f"Subscriber for {shown * 20}")
        process.terminate()
        log, _ = await process.communicate()
    assert b"Traceback" not in log


HANDSHAKE = {
    "Host": "127.0.0.1",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "graphql-transport-ws",
}


WRONG_HANDSHAKES = [
    *({"Sec-WebSocket-Key": key} for key in ("", "x", "é", LONG)),
    *({"Sec-WebSocket-Version": version} for version in ("", "9", LONG)),
    {"Sec-WebSocket-Protocol": ",;"},
]


async def test_errors_of_invalid_handshakes_contain_no_library_texts(server_url: str) -> None:
    async with asyncio.timeout(60):
        for changed in WRONG_HANDSHAKES:
            lines = "".join(f"{name}: {v}\r\n" for name, v in (HANDSHAKE | changed).items())
            reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server_url).port)
            writer.write(f"GET /graphql HTTP/1.1\r\n{lines}\r\n".encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
            writer.close()
            assert head.startswith("HTTP/1.1 400 ")
            assert body.startswith("This is not the opening handshake of a WebSocket: see RFC 6455")
            assert f"Content-Length: {len(body)}\r\n" in f"{head}\r\n"
