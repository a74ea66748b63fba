"""The command `roster token`: tokens for development servers."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy import Row

from db.engine import Database
from db.models import UserStatus
from db.statements.external_ids import users_named
from graph.api import global_ids
from graph.auth import development
from graph.cli.database import CliError, begin, prepare_existing, run
from graph.settings import Mode, Settings
from users.clock import now
from users.identity import email_key, username_key
from users.policy import Scope


def token(
    user: Annotated[
        str, typer.Option("--as", help="The user: a username, an e-mail address or an id.")
    ],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            help="A scope of the token. Repeat the option for several. Without it, users may only "
            "read and update themselves."
        ),
    ] = None,
    minutes: Annotated[
        int, typer.Option(min=1, max=1440, help="How long the token is valid.")
    ] = 60,
) -> None:
    """Print a token for the development server, to try what a user sees and may do.

    It is for development only: servers in production mode reject it. The server must use the same
    database.

    Example: roster token --as ada --scope users:read

    Send it as the header "Authorization: Bearer TOKEN", in GraphiQL in the headers editor.
    Requests without a token keep all rights.
    """
    settings = begin()
    _check_mode(settings)
    prepare_existing(settings)
    scopes = scope or []

    async def issue(database: Database) -> str:
        async with database.session() as session:
            found = _single((await session.execute(users_named(*_keys(user)))).all())
            at = now()
            until = at + timedelta(minutes=minutes)
            return await development.sign(session, found, scopes, now=at, until=until)

    text = run(settings, issue)
    named = " ".join(sorted(set(scopes))) or "no scopes"
    sys.stderr.write(f"Valid for {minutes} minutes, for {user} with {named}.\n")
    sys.stdout.write(f"{text}\n")  # the only line on standard output, so that it can be piped


def _check_mode(settings: Settings) -> None:
    if settings.mode is not Mode.DEVELOPMENT:
        raise CliError(
            "`roster token` is for development only, and ROSTER_MODE is production: tokens come "
            "from your issuer, and `roster key create` creates API keys"
        )


def _keys(text: str) -> tuple[list[int], str | None, str | None]:
    key = global_ids.database_id(text)
    ids = [] if key is None else [key]
    with suppress(global_ids.InvalidId):  # a username or an e-mail address
        ids.append(global_ids.decode_user(text))
    return ids, username_key(text), email_key(text)


def _single(
    found: Sequence[Row[int, str, UserStatus]],
) -> Row[int, str, UserStatus]:
    if not found:
        raise CliError("--as: there is no user with this username, e-mail address or id")
    if len(found) > 1:
        ids = ", ".join(global_ids.encode_user(user.id) for user in found)
        raise CliError(f"--as: several users have this username, address or id: {ids}")
    [user] = found
    if user.status is not UserStatus.ACTIVE:
        raise CliError(f"--as: only active users can sign in, and this one is {user.status}")
    return user
