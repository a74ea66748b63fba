"""No answer quotes Python, or a library's exception, over any transport."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import GraphQLError, parse
from graphql.execution.values import get_variable_values
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.exceptions import StrawberryInputCoercionError
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from graph.api.errors import MAX_ERRORS, MAX_MESSAGE, client_message
from graph.documents.variable_errors import variable_errors
from graph.settings import Settings
from tests.graph.websocket.test_closing import MASK, opened
from tests.support.client import serving
from tests.support.process import serving_process, visiting
from tests.support.schema import CORE
from tests.support.sockets import hear, say, socket, subscribe

# Of Python's own texts, of the libraries' that are used, and Python's notation of values.
FOREIGN = re.compile(
    r"sys\.|int_max|limit \(4300|encountered error|Traceback|codec|byte 0x|at position|Expecting "
    r"|\b(None|True|False|Undefined|NoneType)\b|\w(Error|Exception)\b|recursion|invalid literal"
    r"|Invalid base64|unhashable|\w+ instance>|<class|Maybe\[|\.py\b"
    r"|(?i:pydantic|orjson|asyncpg|sqlite|sqlalchemy|starlette|uvicorn|websockets|strawberry)"
)
LONG = "9" * 4301
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
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**63, 10**4299, "", "x", "x" * 500, "\0"),
    *([], [None], [1, "x"], [[None, True, {"x": None}]], {}, {"a": None, "b": [True]}),
    {"id": None, "username": True, "operations": [None]},
    {"field": "NOPE", "direction": 1},
]
TYPES = {
    "Int": "users(first: $v) { totalCount }",
    "Int!": "users(first: $v) { totalCount }",
    "ID!": "user(id: $v) { id }",
    "[ID!]!": "nodes(ids: $v) { id }",
    "BigInt!": "userBy(by: { databaseId: $v }) { id }",
    "UserBy!": "userBy(by: $v) { id }",
    "String": "users(search: $v) { totalCount }",
    "DateTime": "users(filter: { createdAt: { gte: $v } }) { totalCount }",
    "[UserStatus!]": "users(filter: { status: $v }) { totalCount }",
    "UserFilter": "users(filter: $v) { totalCount }",
    "[UserOrder!]": "users(orderBy: $v) { totalCount }",
    "Boolean!": "__typename @skip(if: $v)",
    "CreateUserInput!": "createUser(input: $v) { errors { code } }",
    "UpsertUserInput!": "upsertUser(input: $v) { errors { code } }",
    "BulkUsersInput!": "bulkUsers(input: $v) { errors { code } }",
}


def taking(type_: str) -> str:
    field = TYPES[type_]
    kind = "mutation" if type_.endswith("Input!") else "query"
    return f"{kind} ($v: {type_}) {{ {field} }}"


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    *((document, {}) for document in DOCUMENTS),
    *((taking(type_), {"v": value}) for type_ in TYPES for value in VALUES),
    *((taking(type_), {}) for type_ in TYPES),
    ("query ($ids: [ID!] = []) { nodes(ids: $ids) { id } }", {"ids": None}),
    ("subscription ($v: String) { userEvents(after: $v) { cursor } }", {"v": 10**4299}),
    ("subscription ($v: String) { userEvents(after: $v) { cursor } }", {"v": "\0"}),
]


def errors_of(text: str) -> list[Any]:
    """Return the errors of an answer, whose text is checked as a whole."""
    errors = json.loads(text).get("errors", [])
    for error in errors:
        assert FOREIGN.search(error["message"]) is None, error
        assert len(error["message"]) <= MAX_MESSAGE
        assert error["extensions"]["code"] != "INTERNAL_ERROR"
    assert FOREIGN.search(text) is None
    return list(errors)


async def test_no_document_or_variable_is_answered_with_a_library_s_text(tmp_path: Path) -> None:
    settings = {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    async with (
        serving_process(None, **settings) as (_, url),
        visiting(url) as http,
        socket(url) as live,
        asyncio.timeout(300),
    ):
        for n, (query, variables) in enumerate(REQUESTS):
            body = {"query": query, "variables": variables}
            posted = errors_of((await http.post("/graphql", json=body)).text)
            params = {"query": query, "variables": json.dumps(variables)}
            got = await http.get("/graphql", params=params)
            if not query.startswith(("mutation", "subscription")) and got.status_code != 400:
                assert errors_of(got.text) == posted, query
            if query.startswith("subscription") and not posted:
                continue
            headers = {"accept": "text/event-stream"}
            streamed = await http.post("/graphql", json=body, headers=headers)
            await say(live, {"id": str(n), "type": "subscribe", "payload": body})
            heard = await hear(live)
            if heard["type"] == "next":
                assert await hear(live) == {"id": str(n), "type": "complete"}
            of_socket = heard["payload"]
            if isinstance(of_socket, list):
                of_socket = {"errors": of_socket}
            [data] = re.findall(r"^data: (.+)$", streamed.text, re.MULTILINE)
            told = errors_of(json.dumps(of_socket))
            assert errors_of(data) == told, query
            if not query.startswith("subscription"):
                assert told == posted, query


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            f"{{ users(first: {LONG}) {{ totalCount }} }}",
            "This number has 4301 digits; an Int is from -2147483648 to 2147483647.",
        ),
        (
            f"query ($n: Int = -{LONG}) {{ users(first: $n) {{ totalCount }} }}",
            "This number has 4301 digits; an Int is from -2147483648 to 2147483647.",
        ),
        (
            "{ user(id: null) { id } }",
            "Expected value of non-null type 'ID!' not to be null.",
        ),
    ],
)
async def test_a_literal_that_does_not_fit_is_described_in_our_words(
    tmp_path: Path, document: str, message: str
) -> None:
    async with serving(Settings(database_url=f"sqlite:///{tmp_path}/roster.db")) as client:
        answer = await client.send(document)
    [error] = answer["errors"]
    assert error["message"] == message
    assert error["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
    assert set(error) == {"message", "locations", "extensions"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GraphQLError("Int cannot represent x"), "Int cannot represent x"),
        (GraphQLError("x not to be None."), "x not to be null."),
        (
            GraphQLError("x", original_error=GraphQLError("y", original_error=ValueError("z"))),
            "The document cannot be read: a value is too long, or nested too deep.",
        ),
        (
            StrawberryInputCoercionError("Use 'Maybe[str | None]' if you need to allow null."),
            "Null is not accepted here.",
        ),
    ],
)
def test_a_message_has_nothing_of_an_exception_s(error: GraphQLError, message: str) -> None:
    assert client_message(error) == message


WORDS = {
    "Int": (True, "expected an integer from -2147483648 to 2147483647, found true."),
    "Int!": (None, "expected a value of type 'Int!', found null."),
    "ID!": (1.5, "expected a string or an integer, found 1.5."),
    "String": ({"a": None}, "expected a string, found an object."),
    "Boolean!": ("x" * 61, f'expected true or false, found "{"x" * 60}"….'),
    "UserFilter": ([None], "expected an object of type 'UserFilter', found a list."),
    "[UserStatus!]": (
        ["ACTIV", "ACTIVE"],
        "expected a value of the enum 'UserStatus', found \"ACTIV\". Did you mean 'ACTIVE'?",
    ),
}


@pytest.mark.parametrize("type_", WORDS)
@pytest.mark.parametrize("suggests", [True, False])
async def test_a_variable_that_does_not_fit_is_described_in_our_words(
    tmp_path: Path, type_: str, *, suggests: bool
) -> None:
    url = f"sqlite:///{tmp_path}/roster.db"
    value, message = WORDS[type_]
    if not suggests:
        message = re.sub(r" Did you mean .*", "", message)
    where = "$v[0]" if type_.startswith("[") else "$v"
    async with serving(Settings(database_url=url, introspection=suggests)) as client:
        answer = await client.send(taking(type_), v=value)
    assert answer == {
        "errors": [
            {
                "message": f"Variable '{where}': {message}",
                "locations": [{"line": 1, "column": 8}],
                "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
            }
        ]
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "username",
                    "email",
                    "field",
                    "direction",
                    "operations",
                    "create",
                    "by",
                    "and",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(TYPES)), st.dictionaries(st.just("v"), JSON | st.sampled_from(VALUES))
)
@settings(max_examples=500)
def test_variables_are_described_as_wrong_where_they_are(
    type_: str, variables: dict[str, Any]
) -> None:
    """graphql-core decides whether they fit; what we say of them finds the same places."""
    document: Any = parse(taking(type_))
    [operation] = document.definitions
    core = CORE
    found = get_variable_values(core, operation.variable_definitions, variables, MAX_ERRORS)
    described = variable_errors(
        core, operation, variables, max_errors=MAX_ERRORS, hide_suggestions=False
    )
    assert 1 <= len(described) <= MAX_ERRORS
    unexplained = "The variables do not fit the types of the operation."
    assert (described[0].message == unexplained) is not isinstance(found, list)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000, b"{" + b'"a":{' * 60, b"NaN"),
        *(LONG.encode(), b"1e999999", b'{"query":%b}' % LONG.encode(), b'{"query":"\\ud8"}'),
        b'{"query":"{__typename}","variables":{"a":%b}}' % LONG.encode(),
        b'{"query":"{__typename}","variables":' + b'{"a":' * 60 + b"1" + b"}" * 61,
        b'{"query":"{__typename}","operationName":1,"extensions":[]}',
    ],
)
async def test_no_body_is_answered_with_a_library_s_text(tmp_path: Path, body: bytes) -> None:
    async with serving(Settings(database_url=f"sqlite:///{tmp_path}/roster.db")) as client:
        for accept in ("application/json", "text/event-stream"):
            headers = {"content-type": "application/json", "accept": accept}
            answer = await client.http.post("/graphql", content=body, headers=headers)
            assert answer.status_code == 400
            assert errors_of(answer.text)
        for name in ("variables", "extensions"):
            params = {"query": "{__typename}", name: body[:9_000].decode("latin-1")}
            answer = await client.http.get("/graphql", params=params)
            assert answer.status_code in {200, 400}
            errors_of(answer.text)


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


async def test_no_message_is_answered_with_a_library_s_text(tmp_path: Path) -> None:
    settings = {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    async with serving_process(None, **settings) as (_, url):
        for text in MESSAGES:
            async with socket(url) as live:
                await live.send(text)
                with pytest.raises(ConnectionClosed) as caught:
                    await asyncio.wait_for(live.recv(), 20)
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


async def test_no_frame_is_answered_with_a_library_s_text(tmp_path: Path) -> None:
    settings = {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    async with serving_process(None, **settings) as (_, url), asyncio.timeout(60):
        for name, (sent, expected) in FRAMES.items():
            async with opened(url) as (reader, writer):
                writer.write(sent)
                head = await reader.readexactly(2)
                assert (name, head[0]) == (name, 0x88)
                data = await reader.readexactly(head[1])
                assert (int.from_bytes(data[:2]), data[2:].decode()) == expected


@pytest.mark.parametrize("sign", ["x", "é", "😀", "\ud800"])
async def test_a_reason_that_quotes_an_id_fits_into_its_frame(tmp_path: Path, sign: str) -> None:
    settings = {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    async with serving_process(None, **settings) as (process, url):
        async with socket(url) as live:
            for _ in range(2):
                await subscribe(live, sign * 100)
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(live.recv(), 20)
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


async def test_no_handshake_is_answered_with_a_library_s_text(tmp_path: Path) -> None:
    settings = {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    async with serving_process(None, **settings) as (_, url), asyncio.timeout(60):
        for changed in WRONG_HANDSHAKES:
            lines = "".join(f"{name}: {v}\r\n" for name, v in (HANDSHAKE | changed).items())
            reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
            writer.write(f"GET /graphql HTTP/1.1\r\n{lines}\r\n".encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
            writer.close()
            assert head.startswith("HTTP/1.1 400 ")
            assert body.startswith("This is not the opening handshake of a WebSocket: see RFC 6455")
            assert f"Content-Length: {len(body)}\r\n" in f"{head}\r\n"


async def test_no_path_is_answered_with_a_library_s_text(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/roster.db"
    origins = ["https://app.example"]
    async with serving(Settings(database_url=url, cors_origins=origins)) as client:
        for method, path, status, code in (
            ("GET", "/nothing", 404, "NOT_FOUND"),
            ("GET", "/graphiql/nothing.js", 404, "NOT_FOUND"),
            ("POST", "/graphiql/app.js", 405, "METHOD_NOT_ALLOWED"),
            ("POST", "/health/live", 405, "METHOD_NOT_ALLOWED"),
            ("PUT", "/graphql", 405, "METHOD_NOT_ALLOWED"),
        ):
            answer = await client.http.request(method, path)
            assert (path, answer.status_code) == (path, status)
            assert [error["extensions"] for error in errors_of(answer.text)] == [{"code": code}]
            assert ("allow" in answer.headers) is (status == 405)
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        preflight = await client.http.options("/graphql", headers=asked)
        assert preflight.status_code == 400
        [error] = errors_of(preflight.text)
        assert error["extensions"] == {"code": "CROSS_ORIGIN"}
        assert "access-control-allow-origin" not in preflight.headers
