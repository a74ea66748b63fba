"""The command line: `roster serve`, `migrate` and so on; groups of commands are apart."""

import errno
import os
import socket
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from math import ceil
from typing import Annotated, Final

import typer
import uvicorn
from rich.progress import Progress
from uvicorn.supervisors import Multiprocess

from db import migrations
from db.engine import Database
from graph.cli import api_keys, external_ids, feed
from graph.cli.database import (
    CliError,
    begin,
    check_newer,
    console,
    database_name,
    errors,
    prepare,
    prepare_existing,
    run,
)
from graph.environment import InvalidSettings
from graph.settings import Mode, Settings
from graph.shutdown import SHUTDOWN_MARGIN
from graph.uvicorn_adapter.http import HTTPProtocol
from graph.uvicorn_adapter.websocket import WebSocketProtocol
from users.retention import erase_due as erase_due_users

_PORT_ERRORS: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
_OTHER_HOST: Final = "ROSTER_HOST chooses another address"
_MODE_NOTES = {Mode.DEVELOPMENT: " (no sign-in, this machine only)", Mode.PRODUCTION: ""}

_INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells have it

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(api_keys.app, name="key")
app.add_typer(external_ids.app, name="external-id")
app.add_typer(feed.app, name="feed")


class _Server(uvicorn.Server):
    """Says where it is as soon as it can be asked."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self.settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _greet(self.settings)


class _Supervisor(Multiprocess):
    """Stops listening with its workers, so that no connection waits for a worker in vain."""

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def main() -> None:
    """Run a command; what its user can mend is a line on standard error, and exit code 1."""
    try:
        app()
    except (CliError, InvalidSettings) as error:
        errors.print(f"roster: {error}", style="red", markup=False)
        sys.exit(1)


def _print_version(*, asked: bool) -> None:
    if asked:
        console.print(f"roster {version('roster')}")
        raise typer.Exit


@app.callback()
def roster(
    *,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """A user directory with a GraphQL API."""  # noqa: D401 - it is the program's help


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on, instead of ROSTER_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on, instead of ROSTER_PORT.")
    ] = None,
) -> None:
    """Serve the API until it is stopped; SQLite is migrated first."""
    # In the environment, where worker processes find them too.
    for name, given in (("ROSTER_HOST", host), ("ROSTER_PORT", port)):
        if given is not None:
            os.environ[name] = str(given)
    settings = begin()
    run(settings, prepare)
    listening = _listen(settings)
    config = _config(settings)
    try:
        if settings.workers == 1:
            _Server(config, settings).run(sockets=[listening])
        else:
            _greet(settings)
            _Supervisor(config, sockets=[listening]).run()
    except KeyboardInterrupt:
        pass  # how uvicorn hands on the Ctrl-C by which it was stopped
    finally:
        listening.close()
    console.print("Stopped.")


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        "graph.app:from_environment",
        factory=True,
        workers=settings.workers,
        log_config=None,  # `logs` has configured it
        log_level="warning",
        access_log=False,  # its lines are below that level, and cost a tenth of the server's time
        server_header=False,
        timeout_keep_alive=settings.keep_alive_timeout,
        timeout_graceful_shutdown=ceil(settings.shutdown_timeout) + SHUTDOWN_MARGIN,
        # A worker that is busy, or still starting on a busy machine, is not ended and started anew.
        timeout_worker_healthcheck=30,
        http=HTTPProtocol,
        ws=WebSocketProtocol,
        ws_max_size=256 * 1024,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        ws_per_message_deflate=False,  # it would hold on to memory for each idle socket
    )


@app.command()
def migrate() -> None:
    """Bring the database to the newest revision."""
    settings = begin()
    revision = run(settings, _migrate)
    _limit_idle_transactions(settings)
    console.print(f"{database_name(settings)} is at revision {revision}.")


async def _migrate(database: Database) -> str:
    found = await migrations.current(database)
    if migrations.is_known(found):
        return await migrations.upgrade(database)
    await check_newer(database, found)
    return f"{found}, of a newer version that this one is compatible with"


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many to add.")] = 1000,
) -> None:
    """Add believable users, so that there is something to explore."""
    settings = begin()
    run(settings, prepare)
    added = 0

    async def populate(database: Database) -> None:
        nonlocal added
        async for number in _populate(database, users):
            added += number

    try:
        run(settings, populate)
    except KeyboardInterrupt:
        errors.print(f"Stopped. Added {added} of {users} users to {database_name(settings)}.")
        raise typer.Exit(_INTERRUPTED) from None
    console.print(f"Added {users} users to {database_name(settings)}.")


@app.command()
def erase_due() -> None:
    """Erase deleted users whose date has come, and drop expired idempotency keys.

    For cron. It can run twice at once, and be ended at any time.
    """
    settings = begin()
    prepare_existing(settings)
    erased = run(settings, _erase_due)
    console.print(f"Erased {erased} users in {database_name(settings)}.")


@app.command()
def schema() -> None:
    """Print the GraphQL schema."""
    from graph.execution.schema import Schema  # noqa: PLC0415 - the other commands do without it

    print(Schema().as_str())  # noqa: T201 - it goes into a file


def _limit_idle_transactions(settings: Settings) -> None:
    """Cover connections of other programs, too; see `ROSTER_SET_DATABASE_IDLE_TIMEOUT`."""
    seconds = settings.idle_transaction_timeout

    async def limit(database: Database) -> bool:
        return not database.is_sqlite and await migrations.limit_idle_transactions(
            database, seconds
        )

    if not (settings.set_database_idle_timeout and seconds):
        return
    try:
        if run(settings, limit):
            console.print(f"Transactions idle for {seconds:g} seconds are ended in this database.")
    except migrations.MayNotAlter as statement:
        errors.print(
            f"roster: idle transactions of other programs have no limit: {statement} takes the "
            "database's owner",
            markup=False,
        )


async def _erase_due(database: Database) -> int:
    return sum([erased async for erased in erase_due_users(database)])


async def _populate(database: Database, count: int) -> AsyncIterator[int]:
    from users.seed import populate  # noqa: PLC0415 - Faker takes a while to import

    with Progress(console=errors) as progress:
        task = progress.add_task("Adding users", total=count)
        async for added in populate(database, count):
            progress.advance(task, added)
            yield added


def _listen(settings: Settings) -> socket.socket:
    """Listen on one address: IPv4 if a name has one, and `::` on both families."""
    host = settings.host
    try:
        found = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError):
        raise CliError(
            f"ROSTER_HOST: {settings.host} is neither an address nor a name of this machine"
        ) from None
    family, *_, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(address[:2], family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        hint = "ROSTER_PORT chooses another port" if error.errno in _PORT_ERRORS else _OTHER_HOST
        raise CliError(
            f"cannot listen on {_netloc(settings)}: {os.strerror(error.errno or 0)}. {hint}"
        ) from None


def _netloc(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def _greet(settings: Settings) -> None:
    console.print("Roster is running. Ctrl-C stops it.")
    console.print(f"  address   http://{_netloc(settings)}/graphql", markup=False)
    console.print(f"  database  {database_name(settings)}")
    console.print(f"  mode      {settings.mode}{_MODE_NOTES[settings.mode]}")
