"""uvicorn's server and supervisor, which document no events for what is needed here.

`tests/system/test_serve.py` and `test_shutdown.py` fail if uvicorn changes them.
"""

import socket
from collections.abc import Callable

import uvicorn
from uvicorn.supervisors import Multiprocess


class Server(uvicorn.Server):
    """Calls `on_started` as soon as it accepts requests."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


class Supervisor(Multiprocess):
    """Stops listening with its workers, so that no connection waits for a worker in vain."""

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()
