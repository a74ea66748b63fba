"""Command for the change feed: `roster feed renew-epoch`."""

from typing import Annotated

import typer

from db.engine import Database
from db.models import REASON_LENGTH
from feed import epochs
from graph.cli.database import CliError, begin, console, database_name, prepare_existing, run
from users.clock import now

app = typer.Typer(help="The feed of changes.", no_args_is_help=True)

_MEANING = (
    "a new epoch of the feed makes every cursor of an event invalid that was issued before. "
    "Clients that follow the feed, or read events page by page, get INVALID_CURSOR and must "
    "start again from a list. Cursors of user lists stay valid."
)


@app.callback()
def feed() -> None:
    """Keep `renew-epoch` a subcommand: Typer would merge a single command into its group."""


@app.command()
def renew_epoch(
    reason: Annotated[
        str | None, typer.Option(help=f"Why, for the record: at most {REASON_LENGTH} characters.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,  # noqa: FBT002 - a flag in Typer
) -> None:
    """Invalidate all event cursors after a restore or failover that lost events.

    Cursors of lost events become invalid without this command. Run it if events may be missing
    before one that still exists: clients could keep data of events that are lost.
    """
    if reason is not None and not 0 < len(reason.strip()) <= REASON_LENGTH:
        raise CliError(f"a reason has from 1 to {REASON_LENGTH} characters")
    settings = begin()
    prepare_existing(settings)
    console.print(f"{database_name(settings)}: {_MEANING}", markup=False)
    if not yes:
        typer.confirm("Start a new epoch?", abort=True)

    async def renew(database: Database) -> int:
        async with database.session() as session, session.transaction():
            epoch = await epochs.renew(session, now=now(), reason=reason and reason.strip())
        await database.notify("renew-epoch")  # otherwise servers notice it with their next poll
        return epoch

    epoch = run(settings, renew)
    console.print(f"Started epoch {epoch}.")
