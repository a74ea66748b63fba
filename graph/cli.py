"""The command line: `roster serve`, `migrate`, `demo` and `schema`."""

import asyncio
import socket
import sys
from typing import Annotated, Any, TypeVar

import typer
import uvicorn
from rich.console import Console
from rich.progress import Progress
from uvicorn.supervisors import Multiprocess

from db import migrate as migrations
from db.engine import Database, is_unreachable
from graph import logs
from graph.settings import Settings, WrongSettings, load

T = TypeVar("T")

app = typer.Typer(help="A user directory with a GraphQL API.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


class CannotStart(Exception):
    """One line for whoever typed the command: what is wrong and what to do."""


def main() -> None:
    """Run a command; what its user can mend is one line on standard error, and exit code 1."""
    try:
        app(standalone_mode=False)
    except (CannotStart, WrongSettings) as error:
        errors.print(f"roster: {error}", style="red", markup=False)
        sys.exit(1)
    except (typer.Exit, typer.Abort) as end:
        sys.exit(getattr(end, "exit_code", 1))
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def serve() -> None:
    """Serve the API until it is stopped; SQLite is migrated first."""
    settings = load()
    logs.configure(settings.log_format)
    _run(settings, _prepare)
    listening = _listen(settings)
    config = uvicorn.Config(
        "graph.app:from_environment",
        factory=True,
        workers=settings.workers,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    _greet(settings)
    try:
        if settings.workers == 1:
            uvicorn.Server(config).run(sockets=[listening])
        else:
            Multiprocess(config, sockets=[listening]).run()
    except KeyboardInterrupt:
        pass  # how uvicorn hands on the Ctrl-C by which it was stopped
    finally:
        listening.close()
    console.print("Stopped.")


@app.command()
def migrate() -> None:
    """Bring the database to the newest revision."""
    settings = load()
    revision = _run(settings, migrations.upgrade)
    console.print(f"{_database_name(settings)} is at revision {revision}.")


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many to add.")] = 1000,
) -> None:
    """Add believable users, so that there is something to explore."""
    settings = load()
    _run(settings, _prepare)
    _run(settings, lambda database: _populate(database, users))
    console.print(f"Added {users} users to {_database_name(settings)}.")


@app.command()
def schema() -> None:
    """Print the GraphQL schema."""
    from graph.schema import schema as ours  # noqa: PLC0415 - the other commands do without it

    print(ours.as_str())  # noqa: T201 - it goes into a file


async def _prepare(database: Database) -> None:
    """See that the database can be used: SQLite migrates itself, PostgreSQL on command."""
    if database.is_sqlite:
        await migrations.upgrade(database)
        return
    found, wanted = await migrations.current(database), migrations.newest(database)
    if found != wanted:
        raise CannotStart(
            f"the database is at revision {found or 'none'}, not {wanted}: run `roster migrate`"
        )


async def _populate(database: Database, count: int) -> None:
    from users.demo import populate  # noqa: PLC0415 - Faker takes a while to import

    with Progress(console=console) as progress:
        task = progress.add_task("Adding users", total=count)
        async for added in populate(database, count):
            progress.advance(task, added)


def _run(settings: Settings, job: Any) -> Any:
    """Do one job on the database, and turn what is wrong with it into a line."""

    async def run() -> Any:
        database = settings.database()
        try:
            return await job(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except Exception as error:
        if not is_unreachable(error):
            raise
        cause = getattr(error, "orig", None) or error
        detail = " ".join(str(cause).split()) or type(cause).__name__
        raise CannotStart(f"cannot reach {_database_name(settings)}: {detail}") from None


def _listen(settings: Settings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.port), backlog=2048)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "ROSTER_PORT chooses another port"
        ) from None


def _greet(settings: Settings) -> None:
    console.print("Roster is running. Ctrl-C stops it.")
    console.print(f"  address   http://{settings.host}:{settings.port}/graphql")
    console.print(f"  database  {_database_name(settings)}")
    console.print(f"  mode      {settings.mode} (no sign-in, this machine only)")


def _database_name(settings: Settings) -> str:
    url = settings.database().url
    return f"SQLite {url.database}" if "sqlite" in url.drivername else f"PostgreSQL {url!s}"
