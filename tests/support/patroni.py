"""A Patroni cluster of three PostgreSQL servers, whose connections can go silent.

Everything that leads to a server or from it goes through a relay of its own: clients, other
servers, Patroni's API and etcd. A server is cut off by silencing its relays.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from tests.support.background import begin, children, end, send
from tests.support.etcd import etcd
from tests.support.postgres import Programs, programs
from tests.support.process import free_port
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv-stage"
_PYTHON: Final = _ENVIRONMENT / "bin" / "python"
# The shortest times that Patroni accepts: it promotes a standby 20 s after a leader was last heard.
_DCS: Final = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "primary_start_timeout": 0}
_PARAMETERS: Final = {
    "fsync": "off",  # the data need not outlive a power cut; that of a killed server does
    "max_connections": 100,
    "wal_keep_size": "256MB",
    "wal_log_hints": "on",
}
_RUNNING: Final = frozenset({"running", "streaming"})


class Node:
    """One server with its Patroni."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.name = name
        self.port, self.api_port = free_port(), free_port()
        self.folder = cluster.programs.folder(name)
        self.clients, self.peers = relay(self.port), relay(self.port)
        self.api, self.etcd = relay(self.api_port), relay(cluster.etcd_port)
        self.log = self.folder / "patroni.log"
        self._cluster = cluster
        self._process: Process | None = None
        self._stopped: Sequence[int] = ()

    @property
    def relays(self) -> Sequence[Proxy]:
        return (self.clients, self.peers, self.api, self.etcd)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def is_killed(self) -> bool:
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        configuration = self.folder / "patroni.json"
        configuration.write_text(json.dumps(self._configuration()))
        user = self._cluster.programs.user
        command = (str(_PYTHON), "-m", "patroni", str(configuration))
        environment = {"HOME": str(self.folder)}
        self._process = await begin(self.log, *command, user=user, environment=environment)

    async def stop(self) -> None:
        if self._process:
            self.thaw()
            await end(self._process, 20)
            send(signal.SIGKILL, *self._server())

    async def kill(self) -> None:
        """Kill the server and its Patroni, as when their machine loses power."""
        assert self._process
        send(signal.SIGKILL, self._process.pid, *self._server())
        await self._process.wait()

    def freeze(self) -> None:
        """Stop all processes of the machine: connections stay open, and nothing is answered."""
        assert self._process
        self._stopped = (self._process.pid, *self._server())
        send(signal.SIGSTOP, *self._stopped)

    def thaw(self) -> None:
        send(signal.SIGCONT, *self._stopped)
        self._stopped = ()

    async def is_primary(self) -> bool:
        try:
            async with asyncio.timeout(0.5):
                connection = await asyncpg.connect(self.url)
                try:
                    return not await connection.fetchval("SELECT pg_is_in_recovery()")
                finally:
                    connection.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    async def query(self, statement: str) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            found: list[Any] = await connection.fetch(statement)
            return found
        finally:
            await connection.close()

    def _server(self) -> list[int]:
        """Return the server's processes."""
        try:
            pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return []
        return [pid, *children(pid)] if _is_postgres(pid) else []

    def _configuration(self) -> dict[str, Any]:
        own = f"127.0.0.1:{self.api_port}"
        superuser = {"username": "postgres", "password": "not checked"}
        return {
            "scope": "roster",
            "name": self.name,
            "restapi": {"listen": own, "connect_address": f"127.0.0.1:{self.api.port}"},
            # Without `use_proxies`, Patroni asks etcd for its addresses, and goes around the relay.
            "etcd3": {"hosts": [f"127.0.0.1:{self.etcd.port}"], "use_proxies": True},
            "bootstrap": {
                "dcs": {
                    **_DCS,
                    "synchronous_mode": self._cluster.is_synchronous,
                    "postgresql": {"use_pg_rewind": True, "parameters": _PARAMETERS},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.peers.port}",
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(self._cluster.programs.bin),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {"superuser": superuser, "replication": superuser},
                "parameters": {"unix_socket_directories": str(self.folder)},
                "pg_hba": [
                    f"host {name} all 127.0.0.1/32 trust" for name in ("all", "replication")
                ],
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }


class Cluster:
    def __init__(self, installed: Programs, etcd_port: int, *, is_synchronous: bool) -> None:
        self.programs = installed
        self.etcd_port = etcd_port
        self.is_synchronous = is_synchronous
        self.nodes = [Node(self, name) for name in ("one", "two", "three")]

    @property
    def url(self) -> str:
        """The URL that names all servers."""
        hosts = ",".join(f"127.0.0.1:{node.clients.port}" for node in self.nodes)
        return f"postgresql://postgres@{hosts}/postgres"

    async def primary(self, *, besides: Node | None = None) -> Node:
        """Wait until a server is the primary, and return it."""
        async with asyncio.timeout(120):
            while True:
                for node in self.nodes:
                    if node is not besides and await node.is_primary():
                        return node
                await asyncio.sleep(0.02)

    async def switch_over(self, old: Node) -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            body = {"leader": old.name}
            answer = await http.post(f"http://127.0.0.1:{old.api_port}/switchover", json=body)
            assert answer.status_code == 200, answer.text

    async def is_healthy(self) -> bool:
        """Return whether one server leads, the others stream from it, and one is synchronous."""
        try:
            leader = await self._leader()
            members = (await _get(leader, "cluster"))["members"]
        except (httpx.HTTPError, LookupError, ValueError):
            return False
        roles = [member["role"] for member in members]
        wanted = ["leader", "replica", "sync_standby" if self.is_synchronous else "replica"]
        return (
            sorted(roles) == sorted(wanted)
            and len({member.get("timeline") for member in members}) == 1
            and {member["state"] for member in members} <= _RUNNING
        )

    async def _leader(self) -> Node:
        for node in self.nodes:
            if await node.is_primary():
                return node
        raise LookupError

    async def until_healthy(self) -> None:
        await wait_for(self.is_healthy, "the cluster is not healthy", self)


async def _get(node: Node, path: str) -> Any:
    async with httpx.AsyncClient(timeout=2) as http:
        return (await http.get(f"http://127.0.0.1:{node.api_port}/{path}")).json()


def relay(port: int) -> Proxy:
    return Proxy(make_url(f"postgresql://127.0.0.1:{port}"))


def _is_postgres(pid: int) -> bool:
    with suppress(OSError):
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def wait_for(
    condition: Callable[[], Awaitable[bool]], failure: str, cluster: Cluster, seconds: float = 120
) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.1)
    except TimeoutError:
        started = [node for node in cluster.nodes if node.log.exists()]
        logs = "\n".join(f"{node.name}:\n{node.log.read_text()[-3000:]}" for node in started)
        pytest.fail(f"{failure}\n{logs}")


@asynccontextmanager
async def patroni(*, is_synchronous: bool = True) -> AsyncIterator[Cluster]:
    """Run a cluster of three servers, from when all of them replicate."""
    if not _PYTHON.exists():
        pytest.fail("This test needs Patroni: `make stage` installs it.")
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"  # noqa: S108 - a folder of its own is made in it
    async with AsyncExitStack() as stack:
        installed = stack.enter_context(programs(folder))
        etcd_port = await stack.enter_async_context(etcd(installed.home))
        cluster = Cluster(installed, etcd_port, is_synchronous=is_synchronous)
        for node in cluster.nodes:
            stack.push_async_callback(node.stop)
            for one in node.relays:
                await one.start()
                stack.push_async_callback(one.stop)
        for node in cluster.nodes:
            await node.start()
            await wait_for(lambda: _exists(cluster), "there is no primary", cluster)
        await cluster.until_healthy()
        yield cluster


async def _exists(cluster: Cluster) -> bool:
    return any([await node.is_primary() for node in cluster.nodes])
