"""A custom route that uses `get_session`."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import func, select

from db.models import User
from db.session import Session
from graph.http.dependencies import get_session
from tests.support.client import Client


async def count_users(session: Annotated[Session, Depends(get_session)]) -> int | None:
    return await session.scalar(select(func.count()).select_from(User))


async def test_custom_route_reads_with_the_session_dependency(client: Client) -> None:
    client.app.add_api_route("/count", count_users)
    await client.create("ada")
    answer = await client.http.get("/count")
    assert (answer.status_code, answer.json()) == (200, 1)
    assert client.database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
