"""The internals of uvicorn and websockets that the adapter uses are listed and unchanged.

If this fails after an upgrade: read what changed in the library, adapt `graph/uvicorn_adapter`, run
its tests, and then update the digest.
"""

import ast
import hashlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.websockets import websockets_sansio_impl
from websockets import server

ADAPTER = Path(__file__).parents[3] / "graph/uvicorn_adapter"
# For request boundaries (ADR 18), pipelined requests and the end of the server.
HTTP = {
    "_unset_keepalive_if_required",
    *("cycle", "handle_websocket_upgrade", "headers", "loop", "parser", "pipeline"),
    *("scope", "send_400_response", "transport", "url"),
    *("keep_alive", "response_complete", "response_started", "disconnected", "message_event"),
}
# For many frames in one write (ADR 8), closing with a reason, and what precedes the handshake.
WEBSOCKET = {
    *("close_sent", "close_timer", "conn", "curr_msg_data_type", "disconnected", "frames"),
    *("handshake_complete", "handshake_initiated", "loop", "queue"),
    *("read_paused", "response", "scope", "transport", "writable"),
}
DIGESTS: dict[str, tuple[Any, str]] = {
    "http": (httptools_impl, "1d4e1c579df41684"),
    "websocket": (websockets_sansio_impl, "8b32a97a1608788b"),
    "websockets": (server, "ee41092f540414ef"),
}


def used(module: str) -> set[str]:
    """The attributes of protocols and cycles that a module uses and does not define."""
    tree = ast.parse((ADAPTER / module).read_text())
    nodes = list(ast.walk(tree))
    functions = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    found = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in {"self", "self.cycle", "cycle"}
    }
    return found - functions


@pytest.mark.parametrize(
    ("module", "listed", "library"),
    [
        ("http.py", HTTP, httptools_impl),
        ("websocket.py", WEBSOCKET, websockets_sansio_impl),
    ],
)
def test_internals_used_by_the_adapter_are_listed(
    module: str, listed: set[str], library: Any
) -> None:
    source = inspect.getsource(library)
    assert {name for name in used(module) if f"self.{name}" in source} == listed


@pytest.mark.parametrize("name", DIGESTS)
def test_source_of_the_internals_is_unchanged(name: str) -> None:
    library, digest = DIGESTS[name]
    assert hashlib.sha256(inspect.getsource(library).encode()).hexdigest()[:16] == digest
