"""GraphQL over WebSocket: the protocol graphql-transport-ws.

Messages and close codes: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from typing import Final

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from graph.http.origins import Origins
from graph.protocol.errors import InvalidRequest, RequestError
from graph.websocket.close_codes import CloseCode
from graph.websocket.connection import Connection, ConnectionLimits
from graph.websocket.operation import Services
from graph.websocket.sender import Sender

PROTOCOL: Final = "graphql-transport-ws"


class WebSocketEndpoint:
    """The ASGI application that serves all WebSocket connections of the process."""

    def __init__(self, services: Services, origins: Origins, limits: ConnectionLimits) -> None:
        self._services = services
        self._origins = origins
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        try:
            self._origins.check(websocket.headers)
        except RequestError as refused:
            self._services.reject(refused)
            await websocket.close()  # before the handshake, so the response is HTTP 403
            return
        if PROTOCOL not in websocket.scope["subprotocols"]:
            reason = f"Subprotocol must be {PROTOCOL}"
            self._services.reject(InvalidRequest(reason))
            await websocket.accept()
            await websocket.close(CloseCode.NO_SUCH_PROTOCOL, reason)
            return
        await websocket.accept(PROTOCOL)
        sender = Sender(websocket, send, self._limits.send_seconds)
        await Connection(self._services, self._limits, websocket, sender).serve()
