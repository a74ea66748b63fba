"""Actions of deleted users as services, which earlier versions accepted."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text

from db.engine import Database
from db.models import FormerExternalId
from tests.graph.api.test_former_users import ADA, ADMIN
from tests.support.client import Client
from tests.support.process import start
from users.commands import Create, Retention, Transition
from users.lifecycle import UserAction
from users.service import UserService

PERSONAL_DATA = "query ($id: ID!) { personalData(userId: $id) }"


async def acted(client: Client) -> int:
    return len((await client.ask(PERSONAL_DATA, id=ADA))["actions"])


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_concurrent_runs_erase_users_who_acted_as_services_on_each_other(
    database: Database, database_url: str
) -> None:
    people = 150
    async with database.session() as session, session.transaction():
        service = UserService(session, ADMIN)
        creations = [
            Create(
                fields={
                    "username": f"user{n}",
                    "email": f"user{n}@example.com",
                    "external_id": f"hr-{n}",
                }
            )
            for n in range(1, people + 1)
        ]
        created = await service.execute(creations)
        ids = [result.user.id for result in created.results if result.user]
        due = Retention(datetime(2000, 1, 1, tzinfo=UTC))
        await service.execute(
            [Transition(action=UserAction.DELETE, user_id=i, retention=due) for i in ids]
        )
        acted = text(
            "UPDATE user_events SET actor_kind = 'service', actor_label = 'X', "
            "actor_id = 'hr-' || (1 + (user_id * 7919) % :people) WHERE type = 'DELETED'"
        )
        await session.execute(acted, {"people": people})
    runs = [await start("erase-due", ROSTER_DATABASE_URL=database_url) for _ in range(3)]
    outputs = [(await run.communicate())[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0] * 3, outputs
    assert sum(int(output.split()[1]) for output in outputs) == people
    async with database.session() as session:
        left = text("SELECT count(*) FROM user_events WHERE actor_kind = 'service'")
        assert (await session.execute(left)).scalar_one() == 0
        recorded = select(FormerExternalId.user_id)
        assert len((await session.scalars(recorded)).all()) == people
