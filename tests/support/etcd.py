"""A real etcd with one member."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.background import begin, end, program, wait_until_listening
from tests.support.process import free_port


@asynccontextmanager
async def etcd(folder: Path) -> AsyncIterator[int]:
    """Run etcd with its data in a folder; yields the port of its clients."""
    port = free_port()
    clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    process = await begin(
        folder / "etcd.log",
        *(
            program("etcd"),
            "--name=one",
            f"--data-dir={folder / 'etcd'}",
            f"--initial-cluster=one={peers}",
        ),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
        *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
    )
    try:
        await wait_until_listening(process, port, folder / "etcd.log")
        yield port
    finally:
        await end(process)
