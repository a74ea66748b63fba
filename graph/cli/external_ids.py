"""Commands for former external ids: `roster external-id list`, `show` and `release`."""

import getpass
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from graph.cli.database import (
    CliError,
    begin,
    console,
    format_time,
    prepare_existing,
    print_table,
    run,
)
from users import former_ids
from users.clock import now
from users.former_ids import FormerId, Holder, NothingToReleaseError
from users.identity import external_id_key
from users.text import InvalidValue, reason

T = TypeVar("T")

app = typer.Typer(
    help="The external ids that users gave up: a token with one of them is refused.",
    no_args_is_help=True,
)
_ExternalId = Annotated[
    str, typer.Argument(metavar="EXTERNAL_ID", help="The `sub` of a token, compared exactly.")
]


@app.command("list")
def list_records(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many to list.")] = 100,
) -> None:
    """List the records, the latest first. External ids are stored as digests and not shown."""
    records = _in_database(lambda session: former_ids.latest(session, limit + 1))
    _print(records[:limit])
    if len(records) > limit:
        console.print(f"There are more: --limit shows more than {limit}.")


@app.command()
def show(external_id: _ExternalId) -> None:
    """Show the users that have, or had, an external id."""
    checked = _checked(external_id)

    async def read(session: AsyncSession) -> tuple[Sequence[Holder], Sequence[FormerId]]:
        held = await former_ids.holders(session, checked)
        return held, await former_ids.records_of(session, checked)

    holders, records = _in_database(read)
    for holder in holders:
        console.print(f"User {holder.user_id} has it: {holder.status}.")
    if records:
        _print(records)
    elif not holders:
        console.print("No user has it, and none is known to have had it.")


@app.command()
def release(
    external_id: _ExternalId,
    reason: Annotated[str, typer.Option(help="Why, in 1 to 500 characters. It is kept.")],
) -> None:
    """Allow a former external id to authenticate as a service again.

    Use it for ids that were assigned to a user by mistake. The operator, time and reason are
    recorded.
    """
    checked, why, by = _checked(external_id), _reason(reason), _operator()

    async def write(session: AsyncSession) -> tuple[Sequence[FormerId], Sequence[Holder]]:
        done = await former_ids.release(session, checked, by=by, reason=why, at=now())
        return done, await former_ids.holders(session, checked)

    try:
        released, deleted = _in_database(write, writes=True)
    except NothingToReleaseError as nothing:
        raise CliError(str(nothing)) from None
    for record in released:
        console.print(
            f"Released record {record.id}: user {record.user_id} gave the external id up "
            f"on {format_time(record.recorded_at)}.",
            markup=False,
        )
    console.print("A token with it is a service's from now on, if its issuer may have services.")
    for holder in deleted:
        console.print(f"User {holder.user_id} is deleted and has it again if they are restored.")


def _in_database(job: Callable[[AsyncSession], Awaitable[T]], *, writes: bool = False) -> T:
    settings = begin()
    prepare_existing(settings)

    async def whole(database: Database) -> T:
        async with database.session() as session:
            if not writes:
                return await job(session)
            async with session.transaction():
                return await job(session)

    return run(settings, whole)


def _checked(external_id: str) -> str:
    checked = external_id_key(external_id)
    if checked is None:
        raise CliError("an external id has 1 to 255 characters, and no control characters")
    return checked


def _reason(text: str) -> str:
    try:
        return reason(text)
    except InvalidValue as invalid:
        raise CliError(f"--reason: {invalid}") from None


def _operator() -> str:
    # By the uid of the process: `getpass.getuser` trusts the variable LOGNAME.
    try:
        import pwd  # noqa: PLC0415 - Windows has no `pwd`

        return pwd.getpwuid(os.getuid()).pw_name
    except ImportError:
        return getpass.getuser()
    except KeyError:
        return f"uid {os.getuid()}"


def _print(records: Sequence[FormerId]) -> None:
    rows = [("record", "user", "given up", "released", "by", "reason")]
    for record in records:
        told = (
            format_time(record.released_at),
            record.released_by or "-",
            record.release_reason or "-",
        )
        rows.append((str(record.id), str(record.user_id), format_time(record.recorded_at), *told))
    print_table(rows)
