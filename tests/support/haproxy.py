"""A real HAProxy with a sample of docs/proxy, in a folder and on a port of its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.nginx import Nginx, certify, proxy_process, trust
from tests.support.process import free_port

_SAMPLES = Path(__file__).parents[2] / "docs" / "proxy"
SAMPLE, POSTGRESQL = _SAMPLES / "haproxy.cfg", _SAMPLES / "haproxy-postgresql.cfg"


@asynccontextmanager
async def haproxy(folder: Path, *upstreams: int) -> AsyncIterator[Nginx]:
    """Run HAProxy in front of two ports."""
    port = free_port()
    certify(folder)
    pem = folder / "roster.pem"
    pem.write_bytes((folder / "roster.crt").read_bytes() + (folder / "roster.key").read_bytes())
    changes = {":443": f"127.0.0.1:{port}", "/etc/haproxy/roster.pem": str(pem)}
    changes |= {f"10.0.0.{n}:8000": f"127.0.0.1:{up}" for n, up in enumerate(upstreams, 7)}
    configuration = _changed(SAMPLE, folder, changes)
    async with proxy_process(port, "haproxy", "-db", "-f", str(configuration)):
        yield Nginx(0, port, trust(folder))


@asynccontextmanager
async def haproxy_postgresql(
    folder: Path, servers: Sequence[tuple[int, int]]
) -> AsyncIterator[int]:
    """Run HAProxy in front of three servers, given their ports and those of their APIs.

    Yields its port.
    """
    port = free_port()
    changes = {"bind 127.0.0.1:5000": f"bind 127.0.0.1:{port}"}
    changes |= {
        f"10.0.0.{n}:5432": f"127.0.0.1:{server} port {api}"
        for n, (server, api) in enumerate(servers, 11)
    }
    configuration = _changed(POSTGRESQL, folder, changes)
    async with proxy_process(port, "haproxy", "-q", "-db", "-f", str(configuration)):
        yield port


def _changed(sample: Path, folder: Path, changes: Mapping[str, str]) -> Path:
    text = sample.read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    configuration = folder / sample.name
    configuration.write_text(text)
    return configuration
