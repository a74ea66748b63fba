"""Extends uvicorn's protocols. No other package uses uvicorn's internals.

`http.py` enforces request boundaries (ADR 18) and the order of responses. It uses the parser, the
state of the current request (`cycle`, `scope`, `headers`, `url`), the queue of pipelined requests
(`pipeline`), and the methods that reject a request or upgrade it to a WebSocket.

`websocket.py` sends many frames in one write (ADR 8), and ensures that the client can read the
close reason. It uses the state of the handshake and of the close, the frames of a message, and the
connection of the websockets library (`conn`).

`tests/graph/uvicorn_adapter/test_internals.py` lists the attributes and fails if one changes. On
other servers, the application works without this package.
"""
