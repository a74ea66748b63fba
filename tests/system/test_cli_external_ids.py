"""`roster external-id`, and the messages about the secret of the digests."""

import os
import pwd
from pathlib import Path

from sqlalchemy import select

from db.models import FormerExternalId
from graph.auth.authenticator import Authenticator
from tests.conftest import opened
from tests.db.test_models import AT, DELETED, OTHER, add, user
from tests.graph.auth.test_authenticator import bearer
from tests.support.process import run
from tests.support.signing import issuer
from users import former_ids

REASON = ("--reason", "It is the [b]HR sync's.")
SECRET = "s3cret" * 6


async def fill(url: str) -> None:
    """Add Ada, who had hr-1 and has hr-2, and Bob, who was deleted with hr-1."""
    async with opened(url) as database:
        await add(database, user(external_id="hr-2"))
        await add(database, user(**OTHER, **DELETED, external_id="hr-1"))
        async with database.session() as session, session.transaction():
            await former_ids.record(session, [(1, "hr-1", AT), (2, "hr-1", AT)])


async def external_id(database_url: str, *arguments: str) -> tuple[int, str]:
    """Runs `roster external-id`; returns its exit code and output."""
    return await run("external-id", *arguments, ROSTER_DATABASE_URL=database_url)


async def test_external_id_show_names_the_holder_and_former_holders(database_url: str) -> None:
    await fill(database_url)
    assert await external_id(database_url, "show", "hr-2") == (0, "User 1 has it: ACTIVE.\n")
    shown = """\
User 2 has it: DELETED.
record  user  given up           released  by  reason
1       1     2026-01-31 12:00Z  -         -   -
2       2     2026-01-31 12:00Z  -         -   -
"""
    assert await external_id(database_url, "show", "hr-1") == (0, shown)
    unknown = "No user has it, and none is known to have had it.\n"
    assert await external_id(database_url, "show", "HR-1") == (0, unknown)


async def test_released_external_id_is_listed_and_a_token_with_it_is_a_service(
    database_url: str,
) -> None:
    await fill(database_url)
    released = """\
Released record 1: user 1 gave the external id up on 2026-01-31 12:00Z.
Released record 2: user 2 gave the external id up on 2026-01-31 12:00Z.
A token with it is a service's from now on, if its issuer may have services.
User 2 is deleted and has it again if they are restored.
"""
    assert await external_id(database_url, "release", "hr-1", *REASON) == (0, released)
    code, output = await external_id(database_url, "list")
    name = pwd.getpwuid(os.getuid()).pw_name
    assert code == 0
    lines = output.splitlines()
    assert [line.split()[:2] for line in lines] == [["record", "user"], ["2", "2"], ["1", "1"]]
    assert all(line.endswith(f"Z  {name}  It is the [b]HR sync's.") for line in lines[1:])
    assert "hr-" not in output
    output = (await external_id(database_url, "list", "--limit", "1"))[1]
    assert output.splitlines()[2:] == ["There are more: --limit shows more than 1."]

    async with opened(database_url) as database:
        async with database.session() as session:
            rows = (await session.execute(select(FormerExternalId.__table__))).all()
        assert [(row.released_by, row.release_reason) for row in rows] == [(name, REASON[1])] * 2
        authenticator = Authenticator(database, [issuer()])
        caller = await authenticator.authenticate(bearer())
        assert caller is not None
        assert caller.user_id is None
        await authenticator.close()


async def test_release_reports_invalid_input_in_one_line(tmp_path: Path) -> None:
    assert (await run("migrate", cwd=tmp_path))[0] == 0
    for external_id, reason, message in (
        ("hr-7", "x", "there is nothing to release: no user is known to have had this external id"),
        ("hr-7", "x" * 501, "--reason: Must have at most 500 characters."),
        ("", "x", "an external id has 1 to 255 characters, and no control characters"),
    ):
        result = await run("external-id", "release", external_id, "--reason", reason, cwd=tmp_path)
        assert result == (1, f"roster: {message}\n")
    code, output = await run("external-id", "release", "hr-7", cwd=tmp_path)
    assert code == 2
    assert "--reason" in output
    assert "Traceback" not in output


async def test_commands_fail_without_the_secret_of_the_database(
    database_url: str, dialect: str
) -> None:
    setting = "roster: ROSTER_IDENTITY_SECRET"

    async def failing_output(command: str, secret: str) -> str:
        code, output = await run(
            command, ROSTER_DATABASE_URL=database_url, ROSTER_IDENTITY_SECRET=secret
        )
        assert code == 1
        return output

    if dialect == "postgresql":  # SQLite is migrated by every command
        new = f"{setting} is new to the database: run `roster migrate` with it\n"
        assert await failing_output("serve", SECRET) == new
    code, output = await run(
        "migrate", ROSTER_DATABASE_URL=database_url, ROSTER_IDENTITY_SECRET=SECRET
    )
    assert code == 0, output
    missing = f"{setting} must be set: the database is keyed with it\n"
    assert await failing_output("serve", "") == missing
    other = f"{setting} is not the one that the database is keyed with\n"
    for command in ("serve", "migrate"):
        assert await failing_output(command, SECRET.upper()) == other


async def test_short_secret_is_reported_in_one_line(tmp_path: Path) -> None:
    line = "roster: ROSTER_IDENTITY_SECRET: the secret needs at least 32 bytes\n"
    assert await run("serve", cwd=tmp_path, ROSTER_IDENTITY_SECRET="s3cret") == (1, line)  # noqa: S106
