"""A primary and its standbys, and the faults of standbys."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from db import migrations
from db.engine import Database
from tests.conftest import opened
from tests.support.postgres import Server, programs

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "fsync": "off",
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1",
    "wal_retrieve_retry_interval": "100ms",
}


class Cluster:
    """A primary and its standbys, all of them running."""

    def __init__(self, primary: Server, standbys: Sequence[Server]) -> None:
        self.primary = primary
        self.standbys = standbys

    @property
    def read_url(self) -> str:
        return " ".join(server.url for server in self.standbys)


@contextmanager
def cluster(standbys: int = 2, *, cascading: bool = False) -> Iterator[Cluster]:
    """A migrated primary with standbys. If `cascading`, the last one follows the one before it."""
    with programs() as installed, ExitStack() as stack:
        primary = Server(installed, "primary")
        primary.init()
        start(stack, primary)
        asyncio.run(_migrate(primary.url))
        made: list[Server] = []
        for number in range(standbys):
            standby = Server(installed, f"standby{number}")
            follows_other = cascading and number == standbys - 1
            standby.copy(made[-1] if follows_other else primary, standby=True)
            start(stack, standby)
            made.append(standby)
        yield Cluster(primary, made)


def start(stack: ExitStack, server: Server) -> None:
    server.start(SETTINGS)
    stack.callback(_stop, server)


def _stop(server: Server) -> None:
    if is_running(server):
        resume(server)
        server.stop("immediate")


async def _migrate(url: str) -> None:
    async with opened(url) as database:
        await migrations.upgrade(database)


@asynccontextmanager
async def watched(url: str, read_url: str, **options: Any) -> AsyncIterator[Database]:
    async with opened(url, read_url=read_url, **options) as database:
        database.watch()
        yield database


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.url)
    try:
        yield connection
    finally:
        await connection.close()


async def query(server: Server, statement: str, *values: object) -> Any:
    async with connected(server) as connection:
        return await connection.fetchval(statement, *values)


async def pause_replay(server: Server) -> None:
    await query(server, "SELECT pg_wal_replay_pause()")
    async with connected(server) as connection:
        while await connection.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def resume_replay(server: Server) -> None:
    await query(server, "SELECT pg_wal_replay_resume()")


def is_running(server: Server) -> bool:
    try:
        os.kill(postmaster(server), 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def postmaster(server: Server) -> int:
    return int((server.data / "postmaster.pid").read_text().split()[0])


def processes(server: Server) -> list[int]:
    """Return the server's process and its children."""
    parent = postmaster(server)
    found = [parent]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def freeze(server: Server) -> None:
    """Stop all processes of a server: it accepts connections and answers nothing."""
    _signal(server, signal.SIGSTOP)


def resume(server: Server) -> None:
    _signal(server, signal.SIGCONT)


def kill(server: Server) -> None:
    """End a server without a shutdown: as after a crash, its log is replayed at the next start."""
    os.kill(postmaster(server), signal.SIGSTOP)  # it starts no more children
    ended = processes(server)
    for pid in ended:
        _send(pid, signal.SIGKILL)
    while any(_is_alive(pid) for pid in ended):  # a new server waits for none of them
        time.sleep(0.005)
    # In a container whose first process adopts no children, the number of the dead one stays used.
    for lock in (server.data / "postmaster.pid", server.home / ".s.PGSQL.5432.lock"):
        lock.unlink()


def _signal(server: Server, number: signal.Signals) -> None:
    for pid in processes(server):
        _send(pid, number)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
