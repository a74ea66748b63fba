"""Events that a deleted user caused as a service: earlier versions accepted their tokens."""

import pytest
from sqlalchemy import func, insert, select, text, update

from db.models import ActorKind, FormerExternalId, User, UserEvent, UserEventType
from tests.db.test_models import AT
from tests.graph.api.test_former_users import ADA, DELETE, ERASE, change, execute_steps, release
from tests.support.client import Client

BOB = "VXNlcjoy"
PERSONAL_DATA = "query ($id: ID!) { personalData(userId: $id) }"
ACTORS = """{ userEvents(first: 100) { nodes { userId type actor { kind id label } } } }"""


async def change_bob_as_service(client: Client, subject: str, label: str = "Ada Lovelace") -> int:
    """Changes Bob as a service, as earlier versions did. Returns the event's id."""
    async with client.database.engine.begin() as connection:
        bump = update(User).where(User.id == 2).values(version=User.version + 1)
        version = (await connection.execute(bump.returning(User.version))).scalar_one()
        columns = {
            "user_id": 2,
            "type": UserEventType.UPDATED,
            "at": AT,
            "actor_kind": ActorKind.SERVICE,
            "actor_id": subject,
            "actor_label": label,
            "changes": [],
            "version_after": version,
        }
        added = await connection.execute(insert(UserEvent).values(columns).returning(UserEvent.id))
        return added.scalar_one()


async def actors_of_bob(client: Client) -> list[tuple[str, str | None, str | None]]:
    """The actors of Bob's updates."""
    nodes = (await client.ask(ACTORS))["nodes"]
    events = [node for node in nodes if node["userId"] == BOB and node["type"] == "UPDATED"]
    return [(e["actor"]["kind"], e["actor"]["id"], e["actor"]["label"]) for e in events]


async def count_actions(client: Client) -> int:
    return len((await client.ask(PERSONAL_DATA, id=ADA))["actions"])


@pytest.fixture
async def ada(client: Client) -> None:
    assert (await client.create("ada"))["id"] == ADA
    await client.create("bob")


@pytest.mark.usefixtures("ada")
async def test_erasure_replaces_former_external_ids_in_service_events(client: Client) -> None:
    await execute_steps(client, change("hr-1"), change("hr-2"), DELETE)
    for subject in ("hr-1", "hr-2", "sync"):
        await change_bob_as_service(client, subject)
    assert await count_actions(client) == 2
    await execute_steps(client, ERASE)
    person, sync = ("user", "1", None), ("service", "sync", "Ada Lovelace")
    assert await actors_of_bob(client) == [person, person, sync]
    assert await count_actions(client) == 2  # the events themselves remain
    async with client.database.engine.connect() as connection:
        for table in ("users", "user_events", "former_external_ids"):
            rows = (await connection.execute(text(f"SELECT * FROM {table}"))).all()  # noqa: S608
            assert "hr-" not in str(rows)


@pytest.mark.usefixtures("ada")
async def test_service_events_before_linking_belong_to_the_linked_user(
    client: Client,
) -> None:
    await change_bob_as_service(client, "hr-1")
    await execute_steps(client, change("hr-1"))
    assert await count_actions(client) == 1
    await execute_steps(client, DELETE, ERASE)
    assert await actors_of_bob(client) == [("user", "1", None)]


@pytest.mark.usefixtures("ada")
async def test_service_with_a_released_subject_keeps_its_events(client: Client) -> None:
    await change_bob_as_service(client, "sync", "Sync")
    await execute_steps(client, change("sync"), change(None))
    await change_bob_as_service(client, "sync", "Sync")
    await release(client.database, "sync")
    assert await count_actions(client) == 0
    await execute_steps(client, DELETE, ERASE)
    assert await actors_of_bob(client) == [("service", "sync", "Sync")] * 2


@pytest.mark.usefixtures("ada")
async def test_erasure_keeps_events_of_another_actor_kind_with_the_same_id(client: Client) -> None:
    await execute_steps(client, change("2"), DELETE)
    await change_bob_as_service(client, "2")
    async with client.database.engine.begin() as connection:
        await connection.execute(
            update(UserEvent)
            .where(UserEvent.actor_id == "2")
            .values(actor_kind=ActorKind.USER, actor_label="Bob")
        )
    await execute_steps(client, ERASE)
    assert await actors_of_bob(client) == [("user", "2", "Bob")]


@pytest.mark.usefixtures("ada")
async def test_service_events_of_a_shared_subject_are_assigned_to_the_erased_user(
    client: Client,
) -> None:
    await execute_steps(client, change("hr-1"), DELETE)
    await change_bob_as_service(client, "hr-1")
    await execute_steps(client, ("updateUser", {"id": BOB, "externalId": "hr-1"}))
    await execute_steps(client, ("updateUser", {"id": BOB, "externalId": None}))
    await change_bob_as_service(client, "hr-1")
    await execute_steps(client, ERASE)
    person = ("user", "1", None)
    assert [actor for actor in await actors_of_bob(client) if actor[0] != "system"] == [
        person,
        person,
    ]


async def test_user_with_40000_former_external_ids_can_be_erased(client: Client) -> None:
    """The ids exceed the number of parameters of a statement, on both databases."""
    await client.create("ada", externalId="hr-1")
    await client.create("bob")
    changes = [
        {"field": "externalId", "before": f"hr-{n}", "after": f"hr-{n + 1}"} for n in range(40_000)
    ]
    async with client.database.engine.begin() as connection:
        await connection.execute(
            update(UserEvent).where(UserEvent.user_id == 1).values(changes=changes)
        )
    await change_bob_as_service(client, "hr-39999")
    await execute_steps(client, DELETE, ERASE)
    assert await actors_of_bob(client) == [("user", "1", None)]
    async with client.database.session() as session:
        count = select(func.count()).select_from(FormerExternalId)
        assert await session.scalar(count) == 40_001
