"""The command line: `roster serve`, `migrate` etc. Each command group has its own module."""

import json
import os
import sys
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from typing import Annotated

import typer
from rich.progress import Progress

from db.engine import Database
from db.models import User
from db.statements.users import users_count
from graph.cli import api_keys, backups, erasures, external_ids, feed
from graph.cli.check import check
from graph.cli.database import (
    CliError,
    begin,
    console,
    database_name,
    errors,
    prepare,
    prepare_existing,
    run,
)
from graph.cli.events import events
from graph.cli.exchange import INTERRUPTED, output_reported
from graph.cli.exports import export
from graph.cli.imports import import_
from graph.cli.migrate import migrate
from graph.cli.settings_table import settings_table
from graph.cli.tokens import token
from graph.environment import InvalidSettings
from graph.logging import configure as configure_logs
from graph.metrics.folder import values_in_files
from graph.tracing.variables import ignore_propagators
from users.retention import erase_due as erase_due_users

app = typer.Typer(
    rich_markup_mode="markdown",  # which joins the lines of a paragraph of a docstring
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(api_keys.app, name="key")
app.add_typer(external_ids.app, name="external-id")
app.add_typer(feed.app, name="feed")


def main() -> None:
    """Run a command. CliError and InvalidSettings print their message and exit with code 1."""
    configure_logs("text")  # until the settings are read: a traceback has no values, too
    try:
        with output_reported():
            app()
    except (CliError, InvalidSettings) as error:
        errors.print(f"roster: {error}", style="red", markup=False)
        sys.exit(getattr(error, "code", 1))


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
    """Serve the API until it is stopped. An SQLite database is migrated first."""
    # Worker processes read the settings from the environment.
    for name, given in (("ROSTER_HOST", host), ("ROSTER_PORT", port)):
        if given is not None:
            os.environ[name] = str(given)
    settings = begin()
    ignore_propagators()
    with ExitStack() as stack:
        folder = None
        if settings.management_port is not None:
            files = values_in_files(has_workers=settings.workers > 1)
            folder = stack.enter_context(files)
        # The server's libraries are imported only if the settings are right.
        from graph.cli.serving import serve_until_stopped  # noqa: PLC0415

        serve_until_stopped(settings, folder)
    console.print("Stopped.")


app.command()(migrate)


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many to add.")] = 1000,
) -> None:
    """Add generated users, to try the API."""
    settings = begin()
    run(settings, prepare)
    before = run(settings, _count_users)
    try:
        run(settings, partial(_populate, users))
    except KeyboardInterrupt:
        # Also the batch whose commit was interrupted, if it was done.
        added = run(settings, _count_users) - before
        errors.print(f"Stopped. Added {added} of {users} users to {database_name(settings)}.")
        raise typer.Exit(INTERRUPTED) from None
    console.print(f"Added {users} users to {database_name(settings)}.")


@app.command()
def erase_due() -> None:
    """Erase deleted users that are due, and delete expired idempotency keys.

    For cron. Concurrent runs are safe, and it can be interrupted at any time.
    """
    settings = begin()
    prepare_existing(settings)
    erased = run(settings, _erase_due)
    console.print(f"Erased {erased} users in {database_name(settings)}.")


@app.command()
def schema(
    *,
    possible_types: Annotated[
        bool,
        typer.Option(
            "--possible-types",
            help="Print possibleTypes and the keys of types instead, as JSON, for clients with a "
            "normalised cache.",
        ),
    ] = False,
    federation: Annotated[
        bool,
        typer.Option("--federation", help="Print the schema that ROSTER_FEDERATION=on serves."),
    ] = False,
) -> None:
    """Print the GraphQL schema."""
    # Only this command needs these.
    from graph.cli.cache_types import cache_types  # noqa: PLC0415
    from graph.execution.schema import FederatedSchema, Schema  # noqa: PLC0415
    from graph.strawberry_adapter import core_schema  # noqa: PLC0415

    printed = FederatedSchema() if federation else Schema()
    if possible_types:
        text = json.dumps(cache_types(core_schema(printed)), indent=2)
    else:
        text = printed.as_str()
    print(text)  # noqa: T201 - the output is written to a file


app.command()(check)
app.command()(token)
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(erasures.erase_replay)
app.command()(erasures.after_restore)
app.command("import")(import_)
app.command()(export)
app.command()(events)


@app.command("settings")
def print_settings() -> None:
    """Print a table of all settings, with defaults and ranges, as Markdown."""
    print(settings_table())  # noqa: T201 - the output is written to a file


async def _erase_due(database: Database) -> int:
    await erasures.check_ledger(database)
    return sum([erased async for erased in erase_due_users(database)])


async def _count_users(database: Database) -> int:
    async with database.session() as session:
        return (await session.execute(users_count(User.id > 0))).scalar_one()


async def _populate(count: int, database: Database) -> None:
    from users.seed import populate  # noqa: PLC0415 - importing Faker is slow

    with Progress(console=errors) as progress:
        task = progress.add_task("Adding users", total=count)
        async for added in populate(database, count):
            progress.advance(task, added)
