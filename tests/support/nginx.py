"""A real nginx with the sample of docs/proxy, in a folder and on ports of its own."""

import shlex
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.background import begin, end, program, wait_until_listening
from tests.support.process import free_port

_DOCS = Path(__file__).parents[2] / "docs"
SAMPLE, OPERATIONS = _DOCS / "proxy" / "nginx.conf", _DOCS / "operations.md"
_AROUND = """daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 200; }}
http {{
{temporary}
{sample}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Nginx:
    plain: int  # ports
    port: int
    trusting: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


def certify(folder: Path) -> None:
    """Runs the command of docs/operations.md."""
    text = OPERATIONS.read_text().replace("\\\n", " ")
    [command] = [line for line in text.splitlines() if line.startswith("openssl ")]
    subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)  # noqa: S603 - our own page


def _configuration(folder: Path, upstream: int, plain: int, port: int, *changed: str) -> str:
    """Return the sample with its ports and files, and every `old=>new` of a test's, replaced."""
    sample = SAMPLE.read_text()
    for replaced in (
        f"listen 80;=>listen 127.0.0.1:{plain};",
        f"listen 443 ssl;=>listen 127.0.0.1:{port} ssl;",
        f"server 127.0.0.1:8000 =>server 127.0.0.1:{upstream} ",
        f"/etc/nginx/=>{folder}/",
        f"/var/log/nginx/=>{folder}/",
        *changed,
    ):
        old, _, new = replaced.partition("=>")
        assert old in sample, f"the sample has no {old}"
        sample = sample.replace(old, new)
    temporary = "\n".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY)
    return _AROUND.format(folder=folder, temporary=temporary, sample=sample)


@asynccontextmanager
async def nginx(folder: Path, upstream: int, *changed: str) -> AsyncIterator[Nginx]:
    """Run nginx in front of the port `upstream`, with parts of the sample `changed`."""
    plain, port = free_port(), free_port()
    certify(folder)
    configuration = folder / "nginx.conf"
    configuration.write_text(_configuration(folder, upstream, plain, port, *changed))
    async with proxy_process(port, "nginx", "-p", str(folder), "-c", str(configuration)):
        yield Nginx(plain, port, trust(folder))


def trust(folder: Path) -> ssl.SSLContext:
    """Returns a context that trusts the certificate of `certify`, for any host name."""
    trusting = ssl.create_default_context(cafile=str(folder / "roster.crt"))
    trusting.check_hostname = False
    return trusting


@asynccontextmanager
async def proxy_process(port: int, name: str, *arguments: str) -> AsyncIterator[None]:
    """Run a proxy, from when it listens on the port."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = await begin(log, program(name), *arguments)
        try:
            await wait_until_listening(process, port, log)
            yield
        finally:
            await end(process)
