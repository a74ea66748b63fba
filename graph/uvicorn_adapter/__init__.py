"""Extends uvicorn's protocols; the only package that uses their internals.

`http.py` uses the parser, the state of the request that is read (`cycle`, `scope`, `headers`,
`url`), the queue of pipelined requests (`pipeline`) and how a request is refused or becomes a
WebSocket: a request has to end where its head says (ADR 18), and responses have to come in order.

`websocket.py` uses the state of the handshake and of the close, the frames of a message, and the
library's connection (`conn`): many frames are one write (ADR 8), and the other side can read why a
socket is closed.

`tests/graph/uvicorn_adapter/test_internals.py` lists the attributes, and fails when they change.
On another server, the application works without this package.
"""
