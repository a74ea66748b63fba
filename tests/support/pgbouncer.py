"""A real PgBouncer (Debian: pgbouncer) in front of a PostgreSQL server.

The variable PGBOUNCER names another program, to test a newer version.
"""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import URL, make_url

from tests.support.nginx import proxy_process
from tests.support.process import free_port

PROGRAM = os.environ.get("PGBOUNCER", "pgbouncer")


def version() -> tuple[int, ...]:
    """Return PgBouncer's version, or nothing if it is not installed."""
    program = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return ()
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - our own argument
    return tuple(map(int, re.findall(r"\d+", printed.stdout.splitlines()[0])))


@dataclass(frozen=True)
class PgBouncer:
    port: int
    url: str  # of the same database, through PgBouncer

    async def command(self, text: str) -> None:
        """Run a command of its console, such as RECONNECT."""
        console = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="postgres", database="pgbouncer"
        )
        try:
            await console.execute(text)
        finally:
            await console.close()


def configuration(folder: Path, port: int, target: URL, settings: dict[str, str]) -> Path:
    users = folder / "userlist.txt"
    users.write_text('"postgres" ""\n')
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": str(users),
        "admin_users": "postgres",
        "server_check_delay": "0",
        **settings,
    }
    if os.geteuid() == 0:
        lines["user"] = "nobody"  # it refuses to run as root
        for path in (folder, users):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    text = "\n".join(f"{name} = {value}" for name, value in lines.items())
    file = folder / "pgbouncer.ini"
    server = f"host={target.host or target.query['host']} port={target.port or 5432}"
    file.write_text(f"[databases]\n* = {server}\n[pgbouncer]\n{text}\n")
    return file


@asynccontextmanager
async def pgbouncer(
    folder: Path, database_url: str, *, port: int | None = None, **settings: str
) -> AsyncIterator[PgBouncer]:
    """Run PgBouncer in front of the server of a database, with its defaults or other settings."""
    target = make_url(database_url)
    port = port or free_port()
    home = folder / f"pgbouncer-{port}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    file = configuration(home, port, target, settings)
    near = target.set(host="127.0.0.1", port=port, query={})
    async with proxy_process(port, PROGRAM, "-q", str(file)):
        bouncer = PgBouncer(port, near.render_as_string(hide_password=False))
        try:
            yield bouncer
        finally:
            # Since 1.23, SIGTERM waits for the clients.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await bouncer.command("SHUTDOWN")
