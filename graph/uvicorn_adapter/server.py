"""Extends uvicorn's server and supervisor, which have no documented hooks for this.

`tests/system/test_serve.py` and `test_shutdown.py` fail if uvicorn changes these methods.
"""

import socket
from collections.abc import Callable, Collection

import uvicorn
from uvicorn.supervisors import Multiprocess


class Server(uvicorn.Server):
    """Calls `on_started` when the server accepts requests."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


class Supervisor(Multiprocess):
    """Closes its listening sockets with its workers, so that no client waits for a worker.

    `restarts` is the number of workers that were replaced.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.restarts = 0
        self._replaced: Collection[int] | None = None  # by SIGHUP, one after another

    @property
    def pids(self) -> Collection[int]:
        """The ids of the current workers, for any thread."""
        return [process.pid for process in list(self.processes) if process.pid is not None]

    def has_ended(self, pid: int) -> bool:
        """Return whether this is no worker, and none that is about to replace one."""
        # Read before `pids`: the new workers are in there when it becomes None again.
        replaced = self._replaced
        return pid not in self.pids and (replaced is None or pid in replaced)

    def restart_all(self) -> None:
        # A new worker starts before the old one ends, and is in `processes` only afterwards.
        self._replaced = self.pids
        try:
            super().restart_all()
        finally:
            self._replaced = None

    def keep_subprocess_alive(self) -> None:
        before = set(self.pids)
        super().keep_subprocess_alive()
        self.restarts += len(set(self.pids) - before)

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()
