"""The authors and the changed fields of events: their enums, and `Actor.user`."""

from typing import Any

import pytest
from sqlalchemy import update

from db.models import ActorKind, Change, UserEvent
from graph.api.types.enums import ActorType, UserField
from tests.graph.api.test_erase_user import ERASE
from tests.support.callers import DirectoryClient, id_of, linked, service
from tests.support.client import Client
from users.policy import EVERY_SCOPE, Scope
from users.recorder import RECORDED_FIELDS

ACTORS = "{ userEvents { nodes { actor { type kind id user { username } } } } }"
FIELDS = "{ userEvents(last: 1) { nodes { changes { fieldName field before after redacted } } } }"
EVERYBODY = service(*EVERY_SCOPE)
MIA, ADA, GONE = 1, 2, 3


async def set_columns(directory: DirectoryClient | Client, event_id: int, **values: Any) -> None:
    async with directory.database.session() as session, session.transaction():
        await session.execute(update(UserEvent).where(UserEvent.id == event_id).values(**values))


@pytest.mark.parametrize(
    ("kind", "actor_id", "username"),
    [
        (ActorKind.USER, "2", "ada"),
        (ActorKind.USER, "99", None),
        (ActorKind.USER, "0", None),
        (ActorKind.USER, "-2", None),
        (ActorKind.USER, " 2", None),
        (ActorKind.USER, "\u0662", None),  # an Arabic two
        (ActorKind.USER, "\u00b2", None),  # a superscript two
        (ActorKind.USER, "2" * 255, None),
        (ActorKind.USER, str(2**63), None),
        (ActorKind.USER, "", None),
        (ActorKind.USER, None, None),
        (ActorKind.SERVICE, "2", None),
        (ActorKind.SYSTEM, None, None),
    ],
)
async def test_actor_is_a_user_only_if_the_event_names_an_existing_user(
    directory: DirectoryClient, kind: ActorKind, actor_id: str | None, username: str | None
) -> None:
    await set_columns(directory, 1, actor_kind=kind, actor_id=actor_id)
    found = await directory.ask(EVERYBODY, ACTORS)
    assert found["nodes"][0] == {
        "actor": {
            "type": kind.name,
            "kind": kind.value,
            "id": actor_id,
            "user": username and {"username": username},
        }
    }


async def test_author_of_an_own_history_is_null_unless_the_caller_may_read_them(
    directory: DirectoryClient,
) -> None:
    await set_columns(directory, 2, actor_kind=ActorKind.USER, actor_id=str(MIA), actor_label="Mia")
    query = "{ viewer { history { nodes { actor { type actorId id label user { id } } } } } }"
    expected = {"type": "USER", "actorId": "1", "id": "1", "label": "Mia"}
    for scopes, user in (((), None), ((Scope.READ,), {"id": id_of(MIA)})):
        found = await directory.ask(linked(ADA, Scope.HISTORY, *scopes), query)
        assert found["history"]["nodes"] == [{"actor": expected | {"user": user}}]


async def test_deleted_author_is_found_and_an_erased_one_without_a_name(client: Client) -> None:
    ada, bob = await client.create("ada"), await client.create("bob")
    author = {"actor_kind": ActorKind.USER, "actor_id": "2", "actor_label": "bob"}
    await set_columns(client, 1, **author)
    query = """{ userEvents(first: 1) { nodes {
      actor { type id label user { id username status } } user { id } } } }"""
    expected = {"type": "USER", "id": "2", "label": "bob"}
    await client.mutate("deleteUser", bob["id"])
    user = {"id": bob["id"], "username": "bob", "status": "DELETED"}
    assert (await client.ask(query))["nodes"] == [
        {"actor": expected | {"user": user}, "user": {"id": ada["id"]}}
    ]
    erased = await client.ask(
        ERASE, input={"id": bob["id"], "confirmUsername": "bob", "reason": "As asked."}
    )
    assert erased["errors"] == []
    now = await client.ask("query ($id: ID!) { user(id: $id) { username } }", id=bob["id"])
    assert "bob" not in now["username"]
    assert (await client.ask(query))["nodes"] == [
        {
            "actor": expected | {"label": None, "user": user | {"username": now["username"]}},
            "user": {"id": ada["id"]},
        }
    ]


async def test_authors_and_users_of_a_page_are_read_in_one_statement(
    client: Client, statements: list[str]
) -> None:
    for number in range(4):
        await client.create(f"user-{number}")
        await set_columns(client, number + 1, actor_kind=ActorKind.USER, actor_id=str(4 - number))
    await client.app.state.feed.watermark()  # the first read costs more
    query = "{ userEvents { nodes { user { username } actor { user { username email } } } } }"
    await client.ask(query)  # the epoch and the watermark are known now
    statements.clear()
    found = await client.ask(query)
    names = [(n["user"]["username"], n["actor"]["user"]["username"]) for n in found["nodes"]]
    assert names == [(f"user-{n}", f"user-{3 - n}") for n in range(4)]
    assert len([text for text in statements if "FROM users" in text]) == 1


def test_enum_of_authors_has_every_stored_kind() -> None:
    assert [each.name for each in ActorType] == [each.name for each in ActorKind]


def test_enum_of_fields_has_every_recorded_field() -> None:
    recorded = [name.upper() for name in RECORDED_FIELDS]
    assert [each.name for each in UserField] == [*recorded, "OTHER"]


async def test_recorded_fields_are_named_by_the_enum(client: Client) -> None:
    user = await client.create("ada", displayName="Ada", externalId="hr-1")
    await client.mutate("deactivateUser", user["id"], reason="on leave")
    await client.mutate("deleteUser", user["id"], eraseAfter="2999-01-01T00:00:00Z")
    query = "{ userEvents { nodes { changes { fieldName field } } } }"
    names = {
        (change["fieldName"], change["field"])
        for node in (await client.ask(query))["nodes"]
        for change in node["changes"]
    }
    assert names == {(name.upper(), field) for name, field in RECORDED_FIELDS.items()}


async def test_change_of_an_unknown_field_is_reported_as_other(client: Client) -> None:
    await client.create("ada")
    unknown = [
        Change(field=name, before=None, after="x") for name in ("shoeSize", "USERNAME", "", "other")
    ]
    await set_columns(client, 1, changes=unknown)
    [node] = (await client.ask(FIELDS))["nodes"]
    assert node["changes"] == [
        {
            "fieldName": "OTHER",
            "field": change["field"],
            "before": None,
            "after": "x",
            "redacted": False,
        }
        for change in unknown
    ]
