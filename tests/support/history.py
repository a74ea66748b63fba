"""Simulates a restore, or a failover that lost commits, in a database."""

from sqlalchemy import text

from db.engine import Database


async def lose_events(database: Database, after: int) -> None:
    """Remove all events above an id, and the users they created; their ids are issued again."""
    async with database.engine.begin() as connection:
        await connection.execute(text("DELETE FROM user_events WHERE id > :id"), {"id": after})
        await connection.execute(
            text("DELETE FROM users WHERE id NOT IN (SELECT user_id FROM user_events)")
        )
        if database.is_sqlite:
            return
        for table in ("users", "user_events"):
            await connection.execute(
                text(
                    f"SELECT setval('{table}_id_seq', (SELECT coalesce(max(id), 0) FROM {table})"  # noqa: S608
                    " + 1, false)"
                )
            )
