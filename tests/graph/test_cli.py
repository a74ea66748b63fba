from pathlib import Path

from sqlalchemy import select

from db.models import UserEvent
from tests.client import count
from tests.conftest import opened
from tests.process import run

ROOT = Path(__file__).parents[2]


async def test_the_demo_fills_a_database_with_believable_users(database_url: str) -> None:
    for total in (200, 400):
        code, output = await run("demo", "--users", "200", ROSTER_DATABASE_URL=database_url)
        assert code == 0, output
        assert "Adding users" in output
        assert "Added 200 users to " in output
        async with opened(database_url) as database:
            users, events = await count(database)
            assert users == total
            assert events > users
            async with database.engine.connect() as connection:
                types = set((await connection.execute(select(UserEvent.type))).scalars())
            assert len(types) >= 4


async def test_the_demo_needs_a_number(tmp_path: Path) -> None:
    for users in ("0", "-1", "many"):
        code, output = await run("demo", "--users", users, cwd=tmp_path)
        assert code != 0
        assert "--users" in output
        assert "Traceback" not in output
    assert not (tmp_path / "roster.db").exists()


async def test_the_schema_is_printed() -> None:
    assert await run("schema") == (0, (ROOT / "schema.graphql").read_text())


async def test_help_and_an_unknown_command() -> None:
    code, output = await run("--help")
    assert code == 0
    assert all(name in output for name in ("serve", "migrate", "demo", "schema"))
    code, output = await run("fly")
    assert code == 2
    assert "Traceback" not in output
