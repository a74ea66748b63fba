"""Results as WebSocket frames, and on servers without direct frame writes."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from graph.app import create_app
from graph.settings import Settings
from graph.streaming.chunks import ResultBatch, portions
from tests.support.sockets import PROTOCOL

# The payload length takes one, three or nine bytes.
texts = st.lists(
    st.integers(0, 70_000).map(lambda size: b"x" * size)
    | st.sampled_from([118, 119, 120, 65_528, 65_529, 65_530]).map(lambda size: b"y" * size),
    max_size=5,
)


@given(texts, st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_frames_equal_those_of_websockets(texts: list[bytes], beginnings: list[bytes]) -> None:
    results = ResultBatch(texts)
    for before in beginnings:
        whole = [Frame(Opcode.TEXT, before + t + b"}").serialize(mask=False) for t in texts]
        assert results.frames(before, b"}") == b"".join(whole)


@given(texts)
def test_portions_contain_all_results_in_order_and_are_bounded(texts: list[bytes]) -> None:
    results = list(portions(texts, range(len(texts))))
    assert [id_ for some in results for id_ in some.ids] == list(range(len(texts)))
    parts = [list(some.texts) for some in results]
    assert [text for part in parts for text in part] == texts
    assert all(sum(map(len, part[:-1])) < 64 * 1024 for part in parts)
    assert all(parts)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_server_without_frames_sends_each_message_separately(database_url: str) -> None:
    app = create_app(Settings(database_url=database_url, _env_file=None))
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    scope = {
        "type": "websocket",
        "path": "/graphql",
        "headers": [(b"host", b"localhost")],
        "subprotocols": [PROTOCOL],
        "client": ("127.0.0.1", 1),
    }

    async def hear() -> Any:
        async with asyncio.timeout(60):
            message = await heard.get()
        return json.loads(message["text"]) if message["type"] == "websocket.send" else message

    def say(message: object) -> None:
        said.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async with app.router.lifespan_context(app):
        said.put_nowait({"type": "websocket.connect"})
        running = asyncio.create_task(app(scope, said.get, heard.put))
        assert (await hear())["type"] == "websocket.accept"
        say({"type": "connection_init"})
        assert await hear() == {"type": "connection_ack"}
        say({"id": "1", "type": "subscribe", "payload": {"query": "{ __typename }"}})
        answer = {"data": {"__typename": "Query"}}
        assert await hear() == {"id": "1", "type": "next", "payload": answer}
        assert await hear() == {"id": "1", "type": "complete"}
        say({"type": "nonsense"})
        close = {"type": "websocket.close", "code": 4400, "reason": "Invalid message"}
        assert await hear() == close
        await running
