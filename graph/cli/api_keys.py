"""The commands for API keys: `roster key create`, `list` and `revoke`."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from db.engine import Database
from graph.cli.database import (
    CliError,
    begin,
    console,
    format_time,
    prepare,
    prepare_existing,
    print_table,
    run,
)
from graph.settings import Settings
from users import api_keys
from users.api_keys import ApiKey, InvalidApiKey
from users.clock import now
from users.policy import Scope

app = typer.Typer(
    help="The API keys by which services sign in.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, in 1 to 100 characters.")],
    scope: Annotated[list[Scope], typer.Option(help="A scope of the key. Repeat it for several.")],
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until it expires; never by default.")
    ] = None,
) -> None:
    """Create a key and print it. It is not shown again."""
    settings = begin()
    run(settings, prepare)  # can create the database: the first key can precede the server
    at = now()
    expires_at = None if days is None else at + timedelta(days=days)

    async def add(database: Database) -> tuple[ApiKey, str]:
        async with database.session() as session, session.transaction():
            return await api_keys.create(session, name, scope, now=at, expires_at=expires_at)

    try:
        key, text = run(settings, add)
    except InvalidApiKey as invalid:
        raise CliError(str(invalid)) from None
    sys.stderr.write(f"Key {key.id}. Keep its text: it is not shown again.\n")
    sys.stdout.write(f"{text}\n")  # the only line on standard output, so that scripts can store it


@app.command("list")
def list_keys() -> None:
    """List all keys, without their secret texts."""
    settings = _ready()

    async def read(database: Database) -> Sequence[ApiKey]:
        async with database.session() as session:
            return await api_keys.list_all(session)

    rows = [("id", "name", "scopes", "created", "expires", "last used", "state")]
    for key in run(settings, read):
        created, expires = format_time(key.created_at), format_time(key.expires_at)
        used = format_time(key.last_used_at)
        scopes = " ".join(sorted(key.scopes))
        rows.append((str(key.id), key.name, scopes, created, expires, used, _state(key)))
    print_table(rows)


@app.command()
def revoke(key_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)]) -> None:
    """Revoke a key permanently. Servers reject it within five seconds."""
    settings = _ready()
    at = now()

    async def close(database: Database) -> ApiKey | None:
        async with database.session() as session, session.transaction():
            return await api_keys.revoke(session, key_id, at)

    key = run(settings, close)
    if key is None:
        raise CliError(f"there is no key {key_id}: `roster key list` names them")
    if key.revoked_at != at:
        was = format_time(key.revoked_at)
        console.print(f"Key {key.id}, {key.name}, was already revoked ({was}).", markup=False)
        return
    console.print(f"Revoked key {key.id}, {key.name}.", markup=False)


def _ready() -> Settings:
    settings = begin()
    prepare_existing(settings)
    return settings


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "open" if key.is_valid(now()) else "expired"
