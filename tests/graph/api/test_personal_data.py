"""personalData: all that is held about a person, in one document."""

from typing import Any

from sqlalchemy import update

from db.models import ActorKind, User, UserEvent
from tests.support.client import Client

FIELDS = '{ __type(name: "User") { fields { name } } }'
QUERY = "query ($id: ID!) { personalData(userId: $id) }"


async def test_the_document_has_the_user_and_their_history(client: Client) -> None:
    user = await client.create("ada", displayName="Ada", externalId="hr-1")
    await client.do("deactivateUser", user["id"], reason="on leave")
    await client.create("bob")
    document = await client.ask(QUERY, id=user["id"])
    resolved = {
        "history",
        "isViewer",
        "viewerCan",
    }  # not held: asked for, or the asker's
    names = {f["name"] for f in (await client.ask(FIELDS))["fields"]} - resolved
    assert set(document) == {"user", "history", "actions"}
    assert set(document["user"]) == names
    told = await client.ask(
        f"query ($id: ID!) {{ user(id: $id) {{ {' '.join(sorted(names))} }} }}", id=user["id"]
    )
    assert document["user"] == told
    history = await client.ask(
        """query ($id: ID!) { user(id: $id) { history { nodes { id cursor type userId at reason
        requestId versionAfter actor { kind id label } changes { field before after redacted }
        } } } }""",
        id=user["id"],
    )
    assert document["history"] == history["history"]["nodes"]
    assert [event["type"] for event in document["history"]] == ["CREATED", "DEACTIVATED"]
    assert document["actions"] == []


async def test_every_column_that_says_something_of_a_person_is_in_it(client: Client) -> None:
    user = await client.create("ada")
    document = await client.ask(QUERY, id=user["id"])
    held = {c.key for c in User.__table__.columns if not c.key.endswith("_key")} - {"id"}
    told = {"".join(f"_{c.lower()}" if c.isupper() else c for c in n) for n in document["user"]}
    assert held <= told


async def test_what_they_did_to_others_is_told_without_the_others(client: Client) -> None:
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


async def test_nobody_is_null_and_a_wrong_id_an_error(client: Client) -> None:
    assert await client.ask(QUERY, id="VXNlcjo5OQ") is None
    answer: dict[str, Any] = await client.send(QUERY, id="nonsense")
    assert answer["data"] == {"personalData": None}
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "INVALID_ID"}]
