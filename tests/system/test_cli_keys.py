from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.conftest import opened
from tests.support.process import run, start
from users import api_keys
from users.api_keys import ApiKey
from users.policy import Scope


async def find_key(url: str, text: str) -> ApiKey | None:
    async with opened(url) as database, database.session() as session:
        return await api_keys.find(session, text)


async def test_key_is_created_listed_and_revoked(database_url: str) -> None:
    url = database_url
    scopes = ("--scope", "users:read", "--scope", "users:write")
    code, output = await run(
        "key", "create", "[b]import", *scopes, "--days", "2", ROSTER_DATABASE_URL=database_url
    )
    note, text = output.splitlines()
    assert (code, note) == (0, "Key 1. Keep its text: it is not shown again.")
    key = await find_key(database_url, text)
    assert key is not None
    assert (key.name, key.scopes) == ("[b]import", frozenset({Scope.READ, Scope.WRITE}))
    assert key.expires_at is not None
    assert abs(key.expires_at - datetime.now(UTC) - timedelta(days=2)) < timedelta(minutes=2)

    code, output = await run("key", "list", ROSTER_DATABASE_URL=url)
    assert code == 0
    assert all(expected in output for expected in ("[b]import", "users:read users:write", "open"))
    assert text not in output

    assert await run("key", "revoke", "1", ROSTER_DATABASE_URL=url) == (
        0,
        "Revoked key 1, [b]import.\n",
    )
    revoked = await find_key(database_url, text)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert "revoked" in (await run("key", "list", ROSTER_DATABASE_URL=url))[1]
    code, output = await run("key", "revoke", "1", ROSTER_DATABASE_URL=url)
    was = f"{revoked.revoked_at:%Y-%m-%d %H:%M}Z"
    assert (code, output) == (0, f"Key 1, [b]import, was already revoked ({was}).\n")


async def test_invalid_key_commands_fail_without_a_traceback(tmp_path: Path) -> None:
    assert (await run("migrate", cwd=tmp_path))[0] == 0
    assert await run("key", "revoke", "7", cwd=tmp_path) == (
        1,
        "roster: there is no key 7: `roster key list` names them\n",
    )
    code, output = await run("key", "create", "", "--scope", "users:read", cwd=tmp_path)
    assert (code, output) == (1, "roster: a key's name is a line of 1 to 100 characters\n")
    for wrong in (["x"], ["x", "--scope", "users:fly"], ["x", "--scope", "users:read", "--days=0"]):
        code, output = await run("key", "create", *wrong, cwd=tmp_path)
        assert code == 2
        assert "Traceback" not in output
    async with (
        opened(f"sqlite:///{tmp_path}/roster.db") as database,
        database.session() as session,
    ):
        assert await api_keys.list_all(session) == []


async def test_unmigrated_database_is_reported(empty_url: str, dialect: str) -> None:
    process = await start("key", "list", ROSTER_DATABASE_URL=empty_url)
    output, _ = await process.communicate()
    line = b"there is no directory in" if dialect == "sqlite" else b"run `roster migrate`"
    assert (process.returncode, line in output) == (1, True)
