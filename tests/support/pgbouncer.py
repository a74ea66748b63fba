"""A real PgBouncer (Debian: pgbouncer) in front of a PostgreSQL server with a Unix socket.

The variable PGBOUNCER names another program, to test a newer version.
"""

import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from tests.support.nginx import proxy_process
from tests.support.process import free_port

PROGRAM = os.environ.get("PGBOUNCER", "pgbouncer")


@dataclass(frozen=True)
class PgBouncer:
    port: int
    url: str  # of the same database, through PgBouncer

    async def command(self, text: str) -> list[asyncpg.Record]:
        """Run a command of its console, such as RECONNECT or SHOW SERVERS."""
        console = await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            database="pgbouncer",
            statement_cache_size=0,
        )
        try:
            return await _simple_query(console, text)
        finally:
            await console.close()


async def _simple_query(console: asyncpg.Connection, text: str) -> list[asyncpg.Record]:
    # The console only knows simple queries, and asyncpg returns no rows of those.
    await console.execute(text)
    return []


def configuration(folder: Path, port: int, socket_folder: str, settings: dict[str, str]) -> Path:
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
    file.write_text(f"[databases]\n* = host={socket_folder}\n[pgbouncer]\n{text}\n")
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
    file = configuration(home, port, str(target.query["host"]), settings)
    near = target.set(host="127.0.0.1", port=port, query={})
    async with proxy_process(port, PROGRAM, "-q", str(file)):
        yield PgBouncer(port, near.render_as_string(hide_password=False))
