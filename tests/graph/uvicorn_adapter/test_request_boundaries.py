"""Request boundaries and target hosts (RFC 9112) that llhttp and uvicorn do not check."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import product
from pathlib import Path

import pytest

from graph.settings import Mode, Settings
from tests.support.client import count
from tests.support.examples import examples
from tests.support.wire import Response, Wired, wired

TYPENAME = b'{"query":"{__typename}"}'
HEAD = b"host: 127.0.0.1\r\ncontent-type: application/json\r\nx-request-id: r\r\n"
NEXT = b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\nx-request-id: next\r\n\r\n"
LIVE = '{"status":"ok"}'


def request(
    body: bytes = TYPENAME,
    *headers: bytes,
    method: bytes = b"POST",
    target: bytes = b"/graphql",
    chunked: bool = False,
) -> bytes:
    length = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(body)
    if chunked:
        body = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (3, body[:3], len(body) - 3, body[3:])
    lines = b"".join(line + b"\r\n" for line in (*headers, length))
    return b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (method, target, HEAD, lines, body)


MUTATION = request(
    b'{"query":"mutation{createUser(input:{username:\\"eve\\",email:\\"e@e.example\\"}){changed}}"}'
)


Arrives = Callable[[bytes], list[bytes]]


def whole(text: bytes) -> list[bytes]:
    return [text]


def body_later(text: bytes) -> list[bytes]:
    end = text.index(b"\r\n\r\n") + 4
    return [text[:end], text[end:]]


def in_pieces(text: bytes) -> list[bytes]:
    return [text[n : n + 7] for n in range(0, len(text), 7)]


def shape(found: Iterable[Response]) -> list[tuple[int, frozenset[tuple[str, str]], bytes]]:
    return [(each.status, frozenset(each.headers), each.body) for each in found]


@pytest.fixture
async def server(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Wired]:
    path = shutil.copy(sqlite_template, tmp_path / "roster.db")
    async with wired(Settings(database_url=f"sqlite:///{path}")) as server:
        yield server
        assert await count(server.client.database) == (0, 0)  # no mutation was smuggled in


METHODS = [b"POST", b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"]
# Header lines that offer an upgrade, and the same lines without the offer.
OFFERS: list[tuple[list[bytes], list[bytes]]] = [
    ([b"connection: Upgrade"], []),
    ([b"connection: upgrade"], []),
    ([b"Connection: keep-alive, Upgrade"], [b"connection: keep-alive"]),
    ([b"connection: Upgrade, HTTP2-Settings", b"http2-settings: AAMAAABkAAQAAP__"], []),
    ([b"connection: Upgrade, close"], [b"connection: close"]),
    ([b"connection: close", b"connection: upgrade"], [b"connection: close"]),
    ([b"connection: UPGRADE", b"connection: keep-alive"], [b"connection: keep-alive"]),
]
UPGRADES = [
    b"h2c",
    b"websocket",
    b"WebSocket",
    b"websocket, h2c",
    b"h2c, websocket",
    b"h2c\r\nupgrade: websocket",
    b"websocket\r\nupgrade: h2c",
    b"TLS/1.0",
    b"HTTP/2.0",
    b"",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_request_that_offers_an_upgrade_is_handled_as_without_the_offer(
    server: Wired, upgrade: bytes
) -> None:
    """One response per request, for every body and timing."""
    bodies = (TYPENAME, MUTATION, b"")
    cases = list(product(METHODS, OFFERS, bodies, (False, True), TIMINGS, (b"", NEXT)))
    # In Hypothesis profiles with fewer examples, every nth case.
    step = len(cases) // examples(len(cases))
    for method, (offer, without), body, chunked, arrives, following in cases[::step]:
        if chunked and not body:
            continue
        given = {"method": method, "chunked": chunked}
        plain = request(body, *without, **given) + following  # type: ignore[arg-type]
        lines = [*offer, b"upgrade: " + upgrade]
        offering = request(body, *lines, **given) + following  # type: ignore[arg-type]
        expected = await server.exchange(plain, methods=[method])
        closes = without == [b"connection: close"]
        assert len(expected) == 1 + (following != b"" and not closes)
        found = await server.exchange(*arrives(offering), methods=[method])
        assert shape(found) == shape(expected), (offering, arrives)


TIMINGS = [whole, body_later, in_pieces]


async def test_upgrade_offer_with_expect_100_continue_gets_100_continue(
    server: Wired,
) -> None:
    wire = server.connect()
    offer = [b"connection: Upgrade", b"upgrade: h2c", b"expect: 100-continue"]
    head, body = body_later(request(TYPENAME, *offer))
    await wire.read(head)
    await wire.wait_until_written(b"\r\n\r\n")
    assert wire.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.transport.written = b""
    [answer] = await wire.exchange(body)
    assert (answer.status, answer.text) == (200, '{"data":{"__typename":"Query"}}')
    assert not wire.is_closed


async def test_many_upgrade_offers_in_one_read_each_get_a_response(
    server: Wired,
) -> None:
    offering = request(TYPENAME, b"connection: Upgrade", b"upgrade: h2c")
    found = await server.exchange(offering * 2_000)
    assert [each.status for each in found] == [200] * 2_000


HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
)


def handshake(*replaced: tuple[bytes, bytes], more: bytes = b"") -> bytes:
    text = HANDSHAKE
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return text[:-2] + more + b"\r\n"


@pytest.mark.parametrize("arrives", [whole, body_later])
@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param(handshake(more=b"origin: https://evil.example\r\n"), 403, id="origin"),
        pytest.param(handshake((b"/graphql", b"/nowhere")), 403, id="path"),
        pytest.param(handshake((b"version: 13", b"version: 8")), 400, id="version"),
        pytest.param(handshake((b"dGhlIHNhbXBsZSBub25jZQ==", b"x")), 400, id="key"),
        pytest.param(handshake(more=b"x: y\r\n" * 200), 431, id="many headers"),
        pytest.param(handshake(more=b"x: %b\r\n" % (b"y" * 9_000)), 431, id="a long header"),
        pytest.param(handshake((b"/graphql", b"/graphql?" + b"y" * 9_000)), 414, id="a long URL"),
    ],
)
async def test_rejected_handshake_gets_one_response_and_closes_the_connection(
    server: Wired, text: bytes, status: int, arrives: Arrives
) -> None:
    wire = server.connect()
    [answer] = await wire.exchange(*arrives(text + MUTATION))
    assert answer.status == status
    assert "Failed to open" not in answer.text  # the library's message
    assert wire.is_closed


@pytest.mark.parametrize("arrives", [whole, body_later, in_pieces])
@pytest.mark.parametrize(
    ("text", "body"),
    [
        pytest.param(
            handshake(more=b"content-length: %d\r\n" % len(MUTATION)), MUTATION, id="body"
        ),
        pytest.param(
            handshake(more=b"transfer-encoding: chunked\r\n"),
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(MUTATION), MUTATION),
            id="chunked",
        ),
        pytest.param(handshake((b"sec-websocket-key", b"x")), b"", id="no key"),
        pytest.param(handshake((b"upgrade: websocket", b"upgrade: websocket, h2c")), b"", id="two"),
        pytest.param(handshake((b"upgrade: websocket", b"upgrade: h2c")), b"", id="another"),
    ],
)
async def test_get_with_an_invalid_handshake_is_handled_as_a_request(
    server: Wired, text: bytes, body: bytes, arrives: Arrives
) -> None:
    wire = server.connect()
    answer, following = await wire.exchange(*arrives(text + body + NEXT))
    assert (answer.status, "documentId" in answer.text) == (400, True)
    assert (following.status, following.text) == (200, LIVE)
    assert not wire.is_closed


async def test_upgrade_in_http_1_0_is_ignored(server: Wired) -> None:
    wire = server.connect()
    [answer] = await wire.exchange(handshake((b"HTTP/1.1", b"HTTP/1.0")) + MUTATION)
    assert (answer.status, "documentId" in answer.text) == (400, True)
    assert wire.is_closed


@pytest.mark.parametrize("arrives", [whole, body_later])
async def test_bytes_after_a_handshake_are_never_a_request(server: Wired, arrives: Arrives) -> None:
    wire = server.connect()
    await wire.read(*arrives(HANDSHAKE + MUTATION))
    head, _, frames = (await wire.wait_for_answers()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert (frames[:1], frames[2:4]) == (
        b"\x88",
        b"\x03\xea",
    )  # a close frame: the bytes are not a valid frame


async def test_handshake_after_a_request_in_progress_does_not_upgrade(
    server: Wired,
) -> None:
    first, second = await server.exchange(request() + HANDSHAKE)
    assert (first.status, first.text) == (200, '{"data":{"__typename":"Query"}}')
    assert (second.status, "documentId" in second.text) == (400, True)


GOOD = request()


def edited(old: bytes, new: bytes, text: bytes = GOOD) -> bytes:
    assert old in text
    return text.replace(old, new, 1)


CHUNKED = request(chunked=True)
LENGTH = b"content-length: 24"
CODING = b"transfer-encoding: chunked"
MALFORMED = {
    "both lengths": edited(LENGTH, LENGTH + b"\r\n" + CODING),
    "both lengths, the other way round": edited(CODING, CODING + b"\r\n" + LENGTH, CHUNKED),
    "two lengths": edited(LENGTH, LENGTH + b"\r\ncontent-length: 5"),
    "the same length twice": edited(LENGTH, LENGTH + b"\r\n" + LENGTH),
    "a list of lengths": edited(LENGTH, b"content-length: 24, 24"),
    "a signed length": edited(LENGTH, b"content-length: +24"),
    "a negative length": edited(LENGTH, b"content-length: -24"),
    "a hexadecimal length": edited(LENGTH, b"content-length: 0x18"),
    "a length with a space": edited(LENGTH, b"content-length: 2 4"),
    "an empty length": edited(LENGTH, b"content-length: "),
    "a huge length": edited(LENGTH, b"content-length: " + b"9" * 30),
    "chunked twice": edited(CODING, CODING + b"\r\n" + CODING, CHUNKED),
    "chunked and identity": edited(CODING, CODING + b"\r\ntransfer-encoding: identity", CHUNKED),
    "identity and chunked": edited(CODING, b"transfer-encoding: identity\r\n" + CODING, CHUNKED),
    "identity": edited(CODING, b"transfer-encoding: identity", CHUNKED),
    "another coding": edited(CODING, b"transfer-encoding: gzip", CHUNKED),
    "another coding first": edited(CODING, b"transfer-encoding: gzip, chunked", CHUNKED),
    "another coding last": edited(CODING, b"transfer-encoding: chunked, gzip", CHUNKED),
    "a coding with a parameter": edited(CODING, b"transfer-encoding: chunked;q=1", CHUNKED),
    "a coding of another name": edited(CODING, b"transfer-encoding: xchunked", CHUNKED),
    "an empty coding": edited(CODING, b"transfer-encoding: ", CHUNKED),
    "a vertical tab": edited(CODING, b"transfer-encoding: \x0bchunked", CHUNKED),
    "chunked in HTTP/1.0": edited(b"HTTP/1.1", b"HTTP/1.0", CHUNKED),
    "a chunk of 0x": edited(b"\r\n3\r\n", b"\r\n0x3\r\n", CHUNKED),
    "a signed chunk": edited(b"\r\n3\r\n", b"\r\n+3\r\n", CHUNKED),
    "a negative chunk": edited(b"\r\n3\r\n", b"\r\n-3\r\n", CHUNKED),
    "a chunk with an underscore": edited(b"\r\n3\r\n", b"\r\n0_3\r\n", CHUNKED),
    "a space behind a chunk's size": edited(b"\r\n3\r\n", b"\r\n3 \r\n", CHUNKED),
    "a space before a chunk's size": edited(b"\r\n3\r\n", b"\r\n 3\r\n", CHUNKED),
    "a chunk's size with a bare LF": edited(b"\r\n3\r\n", b"\r\n3\n", CHUNKED),
    "a chunk's extension with a bare LF": edited(b"\r\n3\r\n", b"\r\n3;a\n", CHUNKED),
    "a chunk without an end": edited(b'{"q\r\n', b'{"q', CHUNKED),
    "a chunk that is too long": edited(b"\r\n3\r\n", b"\r\n4\r\n", CHUNKED),
    "a chunk of more than 64 bits": edited(b"\r\n3\r\n", b"\r\n11111111111111113\r\n", CHUNKED),
    "an empty chunk size": edited(b"\r\n3\r\n", b"\r\n\r\n", CHUNKED),
    "a bare LF in a trailer": CHUNKED[:-2] + b"x: y\n\r\n",
    "a bare LF in a header": edited(b"x-request-id: r\r\n", b"x-request-id: r\n"),
    "a bare LF in the request line": edited(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    "nothing but bare LF": GOOD.replace(b"\r\n", b"\n"),
    "a bare CR": edited(b"x-request-id: r", b"x: a\rb"),
    "an obsolete fold": edited(b"x-request-id: r", b"x-request-id: r\r\n s"),
    "an obsolete fold with a tab": edited(b"x-request-id: r", b"x-request-id: r\r\n\ts"),
    "a folded length": edited(LENGTH, b"content-length:\r\n 24"),
    "a space before the colon": edited(b"x-request-id:", b"x-request-id :"),
    "a space before a length's colon": edited(b"content-length:", b"content-length :"),
    "a space before a name": edited(b"x-request-id", b" x-request-id"),
    "a header without a colon": edited(b"x-request-id: r", b"x-request-id"),
    "a header without a name": edited(b"x-request-id: r", b": r"),
    "a null byte": edited(b"x-request-id: r", b"x-request-id: \0"),
    "a space before the method": b" " + GOOD,
    "another version": edited(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/2.0 in the request line": edited(b"HTTP/1.1", b"HTTP/2.0"),
    "HTTP/0.9 in the request line": edited(b"HTTP/1.1", b"HTTP/0.9"),
    "no version": b"GET /health/live\r\n\r\n",
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    "CONNECT of a path": edited(b"POST", b"CONNECT"),
    "no method that is known": edited(b"POST", b"SMUGGLE"),
    "no Host": edited(b"host: 127.0.0.1\r\n", b""),
    "several Hosts": edited(b"host: 127.0.0.1\r\n", b"host: 127.0.0.1\r\nhost: evil.example\r\n"),
    "the same Host twice": edited(b"host: 127.0.0.1\r\n", b"host: 127.0.0.1\r\n" * 2),
    "several Hosts in HTTP/1.0": edited(
        b"HTTP/1.1\r\n", b"HTTP/1.0\r\nhost: 127.0.0.1\r\n"
    ),
    "a Host with a user": edited(b"host: 127", b"host: evil@127"),
    "a Host with a path": edited(b"host: 127.0.0.1", b"host: 127.0.0.1/evil.example"),
    "a Host with a scheme": edited(b"host: 127", b"host: http://127"),
    "a list of Hosts": edited(b"host: 127.0.0.1", b"host: 127.0.0.1, evil.example"),
    "a Host with a port that is none": edited(b"host: 127.0.0.1", b"host: 127.0.0.1:evil"),
    "a Host with an open bracket": edited(b"host: 127.0.0.1", b"host: [::1"),
    "a target with a user": edited(b"/graphql", b"http://evil@127.0.0.1/graphql"),
    "a target without a host": edited(b"/graphql", b"http:///graphql"),
    "a target of another scheme": edited(b"/graphql", b"ftp://127.0.0.1/graphql"),
    "a target without a path": edited(b"/graphql", b"*"),
    "a pseudo header": edited(b"host:", b":authority:"),
}  # fmt: skip


@pytest.mark.parametrize("arrives", [whole, body_later, in_pieces])
@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_request_gets_400_and_closes_the_connection(
    server: Wired, name: str, arrives: Arrives
) -> None:
    wire = server.connect()
    [answer] = await wire.exchange(*arrives(MALFORMED[name] + MUTATION))
    assert answer.status == 400
    assert wire.is_closed


@pytest.mark.parametrize("name", MALFORMED)
async def test_request_before_a_malformed_one_gets_its_own_response(
    server: Wired, name: str
) -> None:
    """The 400 follows as the response to the second request."""
    wire = server.connect()
    first, second = await wire.exchange(GOOD + MALFORMED[name] + MUTATION)
    assert (first.status, first.text) == (200, '{"data":{"__typename":"Query"}}')
    assert second.status == 400
    assert wire.is_closed


async def test_malformed_body_after_the_response_gets_no_second_response(server: Wired) -> None:
    wire = server.connect()
    head = b"DELETE /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    [answer] = await wire.exchange(head)
    assert (answer.status, wire.is_closed) == (405, False)
    [same] = await wire.exchange(b"no chunk\r\n")
    assert same == answer
    assert wire.is_closed


async def test_trailers_are_not_treated_as_headers(server: Wired) -> None:
    forged = b"origin: https://evil.example\r\nhost: evil.example\r\nx-request-id: forged\r\n"
    expected = await server.exchange(CHUNKED + NEXT)
    for arrives in (whole, body_later, in_pieces):
        found = await server.exchange(*arrives(CHUNKED[:-2] + forged + b"\r\n" + NEXT))
        assert shape(found) == shape(expected)


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"\r\n", id="before a request"),
        pytest.param(GOOD[:40], id="in a head"),
        pytest.param(CHUNKED[:-2] + b"x: y\r\n", id="in a trailer"),
        pytest.param(CHUNKED[: CHUNKED.index(b"\r\n3\r\n") + 3] + b";a=", id="in an extension"),
    ],
)
async def test_endless_headers_trailers_and_extensions_get_400(
    server: Wired, endless: bytes
) -> None:
    wire = server.connect()
    more = b"x: y\r\n" if endless.endswith(b"\n") and endless != b"\r\n" else b"y"
    more = b"\r\n" if endless == b"\r\n" else more
    [answer] = await wire.exchange(endless, *[more * 1_000] * 100)
    assert answer.status == 400
    assert wire.is_closed


async def test_body_in_a_thousand_small_chunks_is_accepted(server: Wired) -> None:
    head = b"POST /graphql HTTP/1.1\r\n%b%b\r\n\r\n" % (HEAD, CODING)
    chunks = [b"1;%b\r\n%b\r\n" % (b"a" * 500, bytes([byte])) for byte in TYPENAME + b" " * 1_000]
    [answer] = await server.exchange(head, *chunks, b"0\r\n\r\n")
    assert (answer.status, answer.text) == (200, '{"data":{"__typename":"Query"}}')


async def test_stream_ends_with_its_connection_despite_a_pipelined_request(
    server: Wired,
) -> None:
    feed = b'{"query":"subscription { userEvents { id } }"}'
    wire = server.connect()
    await wire.read(request(feed, b"accept: text/event-stream") + NEXT)
    await wire.wait_until_written(b"\r\n\r\n")
    wire.transport.close()
    written = await wire.wait_for_answers()
    assert written.count(b"HTTP/1.1 ") == 1


async def test_absolute_target_takes_precedence_over_the_host_header(server: Wired) -> None:
    """For the host check and the origin check (RFC 9112, section 3.2.2)."""

    async def ask(target: bytes, *headers: bytes, host: bytes = b"127.0.0.1") -> int:
        text = edited(
            b"host: 127.0.0.1", b"host: " + host, request(TYPENAME, *headers, target=target)
        )
        [answer] = await server.exchange(text)
        return answer.status

    evil, own = b"http://evil.example/graphql", b"http://127.0.0.1:8000/graphql"
    assert await ask(evil) == 421
    assert await ask(own, host=b"evil.example") == 200
    assert await ask(own.replace(b"http", b"HTTP"), host=b"evil.example") == 200
    assert await ask(b"http://[::1]:8000/graphql?a=b", host=b"evil.example") == 200
    assert await ask(own, b"origin: http://127.0.0.1:8000", host=b"evil.example") == 200
    page = b"origin: http://evil.example"
    assert await ask(own, page, host=b"evil.example") == 403
    assert await ask(b"/graphql", page) == 403


async def test_handshake_with_an_absolute_target_uses_its_host(server: Wired) -> None:
    for target, host, status in (
        (b"http://evil.example/graphql", b"127.0.0.1", 403),
        (b"http://127.0.0.1/graphql", b"evil.example", 101),
    ):
        wire = server.connect()
        text = handshake((b"/graphql", target), (b"host: 127.0.0.1", b"host: " + host))
        await wire.read(text, b"\x88\x80\0\0\0\0")
        assert (await wire.wait_for_answers()).startswith(b"HTTP/1.1 %d " % status)


PATHS = [
    *(b"/graphql", b"/graphql/", b"/graphql/x", b"/graphqlx", b"//graphql", b"/%67raphql/"),
    *(b"/", b"/graphiql", b"/graphiql/", b"/graphiql/style.css", b"/nowhere/", b"/health"),
    *(b"/health/", b"/health/live/", b"/health/ready/", b"/health/livex", b"*"),
]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"HEAD", b"DELETE"])
@pytest.mark.parametrize("path", PATHS)
async def test_every_path_rejects_another_host(server: Wired, path: bytes, method: bytes) -> None:
    for host in (b"evil.example", b"evil.example:8000", b"", b"[::2]", b"127.0.0.1.evil.example"):
        text = edited(b"127.0.0.1", host, request(method=method, target=path))
        star = path == b"*" and method != b"OPTIONS"
        [answer] = await server.exchange(text, methods=[] if star else [method])
        assert answer.status == (400 if star else 421)
        # In development, the message names the setting that allows the host.
        assert "evil.example" not in str(answer.headers)


async def test_no_redirect_contains_the_requested_host(tmp_path: Path) -> None:
    """Also if any host is allowed."""
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/roster.db",
        mode=Mode.PRODUCTION,
        auth_api_keys=True,
    )
    async with wired(settings) as server:
        for path, method in product(PATHS[:-1], (b"GET", b"POST")):
            text = edited(b"127.0.0.1", b"evil.example", request(method=method, target=path))
            [answer] = await server.exchange(text)
            assert answer.status in {401, 404, 405}
            assert "location" not in dict(answer.headers)
            assert "evil.example" not in str(answer)


async def test_http_1_0_without_a_host_is_accepted_if_any_host_is_allowed(server: Wired) -> None:
    text = b"GET /health/live HTTP/1.0\r\n\r\n"
    [answer] = await server.exchange(text)
    assert (answer.status, answer.text) == (200, LIVE)
    [rejected] = await server.exchange(
        text.replace(b"/health/live", b"/graphql?query={__typename}")
    )
    assert rejected.status == 421


async def test_stopping_server_responds_on_idle_connections_and_closes_them(
    server: Wired,
) -> None:
    """The response has `connection: close`, so that the client reconnects elsewhere."""
    idle, used, half = [server.connect() for _ in range(3)]
    await used.exchange(GOOD)
    await half.read(GOOD[:60])
    for wire in (idle, used, half):
        wire.protocol.shutdown()
        assert not wire.is_closed
    for wire, rest in ((idle, GOOD), (used, GOOD), (half, GOOD[60:])):
        wire.transport.written = b""
        [answer] = await wire.exchange(rest + MUTATION)
        assert (answer.status, dict(answer.headers)["connection"]) == (200, "close")
        assert wire.is_closed


async def test_stopping_server_closes_idle_connections(server: Wired) -> None:
    idle, half = server.connect(), server.connect()
    await half.read(GOOD[:60])
    for wire in (idle, half):
        wire.protocol.idle_seconds = 0
        wire.protocol.shutdown()
    while not idle.is_closed:  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(0)
    assert not half.is_closed  # the grace period bounds it
