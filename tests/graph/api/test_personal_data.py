"""personalData: everything stored about a user, in one document."""

from typing import Any

from sqlalchemy import update

from db.models import ActorKind, User, UserEvent
from tests.support.client import Client

FIELDS = '{ __type(name: "User") { fields { name } } }'
QUERY = "query ($id: ID!) { personalData(userId: $id) }"


async def test_personal_data_contains_the_user_and_their_history(client: Client) -> None:
    user = await client.create("ada", displayName="Ada", externalId="hr-1")
    await client.mutate("deactivateUser", user["id"], reason="on leave")
    await client.create("bob")
    document = await client.ask(QUERY, id=user["id"])
    resolved = {
        "history",
        "isViewer",
        "viewerCan",
    }  # computed, not stored
    names = {f["name"] for f in (await client.ask(FIELDS))["fields"]} - resolved
    assert set(document) == {"user", "history", "actions"}
    assert set(document["user"]) == names
    actual = await client.ask(
        f"query ($id: ID!) {{ user(id: $id) {{ {' '.join(sorted(names))} }} }}", id=user["id"]
    )
    assert document["user"] == actual
    history = await client.ask(
        """query ($id: ID!) { user(id: $id) { history { nodes { id cursor type userId at reason
        requestId versionAfter statusBefore statusAfter actor { type kind actorId id label }
        changes { fieldName field before after redacted } } } } }""",
        id=user["id"],
    )
    assert document["history"] == history["history"]["nodes"]
    assert [event["type"] for event in document["history"]] == ["CREATED", "DEACTIVATED"]
    assert document["actions"] == []


async def test_personal_data_contains_every_personal_column(client: Client) -> None:
    user = await client.create("ada")
    document = await client.ask(QUERY, id=user["id"])
    # `random_id` says nothing about the user. It identifies the row in the ledger of erasures.
    held = {c.key for c in User.__table__.columns if not c.key.endswith("_key")}
    held -= {"id", "random_id"}
    actual = {"".join(f"_{c.lower()}" if c.isupper() else c for c in n) for n in document["user"]}
    assert held <= actual


async def test_personal_data_lists_actions_without_data_of_other_users(client: Client) -> None:
    ada = await client.create("ada")
    await client.create("bob")
    async with client.database.session() as session, session.transaction():
        await session.execute(
            update(UserEvent).values(actor_kind=ActorKind.USER, actor_id="1", actor_label="Ada")
        )
    document = await client.ask(QUERY, id=ada["id"])
    [action] = document["actions"]
    assert set(action) == {"id", "type", "at", "userId"}
    assert (action["type"], action["userId"]) == ("CREATED", "VXNlcjoy")
    assert len(document["history"]) == 1


async def test_personal_data_of_an_unknown_user_is_null_and_an_invalid_id_an_error(
    client: Client,
) -> None:
    assert await client.ask(QUERY, id="VXNlcjo5OQ") is None
    answer: dict[str, Any] = await client.send(QUERY, id="nonsense")
    assert answer["data"] == {"personalData": None}
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "INVALID_ID"}]
