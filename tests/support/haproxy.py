"""A real HAProxy with the sample of docs/proxy, in a folder and on a port of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.nginx import Nginx, certify, proxy_process, trust
from tests.support.process import free_port

SAMPLE = Path(__file__).parents[2] / "docs" / "proxy" / "haproxy.cfg"


@asynccontextmanager
async def haproxy(folder: Path, *upstreams: int) -> AsyncIterator[Nginx]:
    """Run HAProxy in front of two ports."""
    port = free_port()
    certify(folder)
    pem = folder / "roster.pem"
    pem.write_bytes((folder / "roster.crt").read_bytes() + (folder / "roster.key").read_bytes())
    text = SAMPLE.read_text()
    changes = {":443": f"127.0.0.1:{port}", "/etc/haproxy/roster.pem": str(pem)}
    changes |= {f"10.0.0.{n}:8000": f"127.0.0.1:{up}" for n, up in enumerate(upstreams, 7)}
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(text)
    async with proxy_process(port, "haproxy", "-db", "-f", str(configuration)):
        yield Nginx(0, port, trust(folder))
