"""What a person did as a service, after they were deleted: earlier versions let them in."""

import pytest
from sqlalchemy import func, insert, select, text, update

from db.models import ActorKind, FormerExternalId, User, UserEvent, UserEventType
from tests.db.test_models import AT
from tests.graph.api.test_former_users import ADA, DELETE, ERASE, change, release, take
from tests.support.client import Client

BOB = "VXNlcjoy"
PERSONAL_DATA = "query ($id: ID!) { personalData(userId: $id) }"
ACTORS = """{ userEvents(first: 100) { nodes { userId type actor { kind id label } } } }"""


async def act(client: Client, subject: str, label: str = "Ada Lovelace") -> int:
    """Change Bob as a service, in the way of earlier versions; return the event's id."""
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


async def actors(client: Client) -> list[tuple[str, str | None, str | None]]:
    """List who changed Bob, after his creation."""
    nodes = (await client.ask(ACTORS))["nodes"]
    events = [node for node in nodes if node["userId"] == BOB and node["type"] == "UPDATED"]
    return [(e["actor"]["kind"], e["actor"]["id"], e["actor"]["label"]) for e in events]


async def acted(client: Client) -> int:
    return len((await client.ask(PERSONAL_DATA, id=ADA))["actions"])


@pytest.fixture
async def ada(client: Client) -> None:
    assert (await client.create("ada"))["id"] == ADA
    await client.create("bob")


@pytest.mark.usefixtures("ada")
async def test_an_erasure_removes_who_a_former_user_was_as_a_service(client: Client) -> None:
    await take(client, change("hr-1"), change("hr-2"), DELETE)
    for subject in ("hr-1", "hr-2", "sync"):
        await act(client, subject)
    assert await acted(client) == 2
    await take(client, ERASE)
    person, sync = ("user", "1", None), ("service", "sync", "Ada Lovelace")
    assert await actors(client) == [person, person, sync]
    assert await acted(client) == 2  # that it happened stays
    async with client.database.engine.connect() as connection:
        for table in ("users", "user_events", "former_external_ids"):
            rows = (await connection.execute(text(f"SELECT * FROM {table}"))).all()  # noqa: S608
            assert "hr-" not in str(rows)


@pytest.mark.usefixtures("ada")
async def test_what_a_token_did_before_its_user_was_linked_is_the_user_s_too(
    client: Client,
) -> None:
    await act(client, "hr-1")
    await take(client, change("hr-1"))
    assert await acted(client) == 1
    await take(client, DELETE, ERASE)
    assert await actors(client) == [("user", "1", None)]


@pytest.mark.usefixtures("ada")
async def test_a_service_whose_subject_was_released_keeps_all_that_it_did(client: Client) -> None:
    await act(client, "sync", "Sync")
    await take(client, change("sync"), change(None))
    await act(client, "sync", "Sync")
    await release(client.database, "sync")
    assert await acted(client) == 0
    await take(client, DELETE, ERASE)
    assert await actors(client) == [("service", "sync", "Sync")] * 2


@pytest.mark.usefixtures("ada")
async def test_an_api_key_or_a_user_with_such_an_id_keeps_what_it_did(client: Client) -> None:
    await take(client, change("2"), DELETE)
    await act(client, "2")
    async with client.database.engine.begin() as connection:
        await connection.execute(
            update(UserEvent)
            .where(UserEvent.actor_id == "2")
            .values(actor_kind=ActorKind.USER, actor_label="Bob")
        )
    await take(client, ERASE)
    assert await actors(client) == [("user", "2", "Bob")]


@pytest.mark.usefixtures("ada")
async def test_of_two_who_had_a_subject_the_erased_one_takes_its_place(client: Client) -> None:
    await take(client, change("hr-1"), DELETE)
    await act(client, "hr-1")
    await take(client, ("updateUser", {"id": BOB, "externalId": "hr-1"}))
    await take(client, ("updateUser", {"id": BOB, "externalId": None}))
    await act(client, "hr-1")
    await take(client, ERASE)
    person = ("user", "1", None)
    assert [actor for actor in await actors(client) if actor[0] != "system"] == [person, person]


async def test_a_user_who_had_very_many_external_ids_can_be_erased(client: Client) -> None:
    """More than a statement has parameters, on either database."""
    await client.create("ada", externalId="hr-1")
    await client.create("bob")
    changes = [
        {"field": "externalId", "before": f"hr-{n}", "after": f"hr-{n + 1}"} for n in range(40_000)
    ]
    async with client.database.engine.begin() as connection:
        await connection.execute(
            update(UserEvent).where(UserEvent.user_id == 1).values(changes=changes)
        )
    await act(client, "hr-39999")
    await take(client, DELETE, ERASE)
    assert await actors(client) == [("user", "1", None)]
    async with client.database.session() as session:
        count = select(func.count()).select_from(FormerExternalId)
        assert await session.scalar(count) == 40_001
