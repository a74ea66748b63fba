"""A token whose subject is a former external id of a user is rejected, however the id ended."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from db.engine import Database
from db.models import ActorKind, FormerExternalId
from graph.auth.authenticator import Authenticator, InvalidCredentials
from tests.db.test_models import DELETED, add, user
from tests.graph.auth.test_authenticator import bearer, rejection_reason
from tests.support.client import ERRORS, Client
from tests.support.signing import issuer
from users import former_ids
from users.clock import now
from users.commands import Command, CommandsRejected, Transition, Update
from users.former_ids import NothingToReleaseError
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.retention import erase_due
from users.service import UserService

WAS_A_USER = "the subject was a user"
NOT_ACTIVE = "the user is not active"
ADMIN = Caller(Actor(ActorKind.SYSTEM), EVERY_SCOPE)
KINDS = {
    "createUser": "CreateUserInput",
    "updateUser": "UpdateUserInput",
    "upsertUser": "UpsertUserInput",
    "deleteUser": "DeleteUserInput",
    "restoreUser": "UserTransitionInput",
    "eraseUser": "EraseUserInput",
    "bulkUsers": "BulkUsersInput",
}
ADA = "VXNlcjox"  # the id of the first user
EVE = {"username": "eve", "email": "eve@example.com"}
DELETE = ("deleteUser", {"id": ADA})
ERASE = ("eraseUser", {"id": ADA, "confirmUsername": "ada", "reason": "On request"})
Step = tuple[str, dict[str, Any]]


def change(external_id: str | None) -> Step:
    return "updateUser", {"id": ADA, "externalId": external_id}


def bulk(*operations: dict[str, Any]) -> Step:
    return "bulkUsers", {"operations": list(operations)}


def relink(*external_ids: str | None) -> Step:
    return bulk(*({"update": {"id": ADA, "externalId": each}} for each in external_ids))


# Every way in which the first user can lose the external id hr-1.
ENDS: dict[str, Sequence[Step]] = {
    "delete": [DELETE],
    "erase": [DELETE, ERASE],
    "erase-due": [("deleteUser", {"id": ADA, "eraseAfter": "2000-01-01T00:00:00Z"})],
    "change": [change("hr-2")],
    "change of case": [change("HR-1")],
    "clear": [change(None)],
    "change, then erase": [change("hr-2"), DELETE, ERASE],
    "upsert by id": [("upsertUser", {"by": {"id": ADA}, "externalId": "hr-2"})],
    "upsert by username": [("upsertUser", {"by": {"username": "ada"}, "externalId": None})],
    "upsert by it": [("upsertUser", {"by": {"externalId": "hr-1"}, "externalId": "hr-2"})],
    "bulk delete": [bulk({"delete": {"id": ADA}})],
    "bulk update": [relink(None)],
    "bulk there and back and away": [relink("hr-2", "hr-1", "hr-3")],
    "bulk upsert": [bulk({"upsert": {"by": {"externalId": "hr-1"}, "externalId": "hr-2"}})],
    "bulk delete, restore, delete": [
        bulk({"delete": {"id": ADA}}, {"restore": {"id": ADA}}, {"delete": {"id": ADA}})
    ],
    "the next user too": [
        change(None),
        ("createUser", EVE | {"externalId": "hr-1"}),
        ("deleteUser", {"id": "VXNlcjoy"}),
    ],
    "a user of the same batch": [
        change(None),
        bulk(
            {"create": EVE | {"externalId": "hr-1"}},
            {"upsert": {"by": {"username": "eve"}, "externalId": None}},
        ),
    ],
}


async def execute_steps(client: Client, *steps: Step) -> None:
    for verb, given in steps:
        results = f"results {{ {ERRORS} }}" if verb == "bulkUsers" else ""
        query = f"""mutation ($input: {KINDS[verb]}!) {{ {verb}(input: $input) {{
          {ERRORS} {results} }} }}"""
        assert (await client.ask(query, input=given))["errors"] == [], (verb, given)


async def remove_external_id(client: Client, name: str) -> None:
    await execute_steps(client, *ENDS[name])
    if name == "erase-due":
        assert [n async for n in erase_due(client.database)] == [1]


@pytest.fixture
async def authenticator(client: Client) -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(client.database, [issuer()])
    yield authenticator
    await authenticator.close()


@pytest.fixture
async def ada(client: Client) -> None:
    assert (await client.create("ada", externalId="hr-1"))["id"] == ADA


async def authenticate_fresh(authenticator: Authenticator, **claims: Any) -> Actor:
    """Authenticates a token that is not in the cache."""
    caller = await authenticator.authenticate(bearer(jti=str(now()), **claims))
    assert caller is not None
    return caller.actor


async def execute(database: Database, *operations: Command) -> None:
    async with database.session() as session, session.transaction():
        await UserService(session, ADMIN).execute(operations)


async def release(database: Database, external_id: str = "hr-1") -> int:
    async with database.session() as session, session.transaction():
        given = {"by": "root", "reason": "It is the HR sync's.", "at": now()}
        return len(await former_ids.release(session, external_id, **given))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.usefixtures("ada")
async def test_token_of_a_former_user_is_not_accepted_as_a_service(
    client: Client, authenticator: Authenticator, name: str
) -> None:
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.USER, "1")
    await remove_external_id(client, name)
    assert await rejection_reason(authenticator, bearer(jti="new")) == WAS_A_USER
    assert await authenticate_fresh(authenticator, sub="hr-10") == Actor(ActorKind.SERVICE, "hr-10")
    async with client.database.session() as session:
        rows = (await session.execute(select(FormerExternalId.__table__))).all()
    assert "hr-" not in str(rows).lower()


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.usefixtures("ada")
async def test_current_owner_of_an_external_id_takes_precedence_over_former_ones(
    client: Client, authenticator: Authenticator, name: str
) -> None:
    await remove_external_id(client, name)
    given = {"username": "bob", "email": "bob@example.com", "externalId": "hr-1"}
    bob = (await client.create(**given))["id"]
    assert (await authenticate_fresh(authenticator)).kind is ActorKind.USER
    caller = await authenticator.authenticate(bearer(jti="bob"))
    assert caller is not None
    viewer = await client.ask("query ($id: ID!) { user(id: $id) { databaseId } }", id=bob)
    assert str(caller.user_id) == viewer["databaseId"]
    await client.mutate("deactivateUser", bob)
    assert await rejection_reason(authenticator, bearer(jti="deactivated")) == NOT_ACTIVE
    await client.mutate("deleteUser", bob)
    assert await rejection_reason(authenticator, bearer(jti="deleted")) == WAS_A_USER


@pytest.mark.usefixtures("ada")
async def test_restored_user_owns_the_external_id_again(
    client: Client, authenticator: Authenticator
) -> None:
    await execute_steps(client, DELETE, ("restoreUser", {"id": ADA}))
    assert await rejection_reason(authenticator, bearer(jti="restored")) == NOT_ACTIVE
    await client.mutate("reactivateUser", ADA)
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.USER, "1")
    await execute_steps(client, DELETE)
    assert await rejection_reason(authenticator, bearer(jti="again")) == WAS_A_USER


@pytest.mark.usefixtures("ada")
async def test_batch_can_move_an_external_id_from_a_deleted_to_a_new_user(
    client: Client, authenticator: Authenticator
) -> None:
    await execute_steps(
        client, bulk({"delete": {"id": ADA}}, {"create": EVE | {"externalId": "hr-1"}})
    )
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.USER, "2")
    await execute_steps(client, ("deleteUser", {"id": "VXNlcjoy"}))
    assert await rejection_reason(authenticator, bearer(jti="new")) == WAS_A_USER


@pytest.mark.usefixtures("ada")
async def test_rejected_or_validate_only_write_records_no_former_id(
    client: Client, authenticator: Authenticator
) -> None:
    given = {"id": ADA, "externalId": "hr-2", "validateOnly": True}
    await execute_steps(client, ("updateUser", given))
    await client.ask(
        f"mutation ($input: BulkUsersInput!) {{ bulkUsers(input: $input) {{ {ERRORS} }} }}",
        input={"operations": [{"delete": {"id": ADA}}, {"delete": {"id": "VXNlcjo5OQ"}}]},
    )
    async with client.database.session() as session:
        assert await session.scalar(select(func.count(FormerExternalId.id))) == 0
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.USER, "1")


@pytest.mark.usefixtures("ada")
async def test_rolled_back_deletion_records_no_former_id(
    client: Client, authenticator: Authenticator
) -> None:
    async def fail() -> None:
        async with client.database.session() as session, session.transaction():
            deletion = Transition(action=UserAction.DELETE, user_id=1)
            await UserService(session, ADMIN).execute([deletion])
            raise CommandsRejected

    with pytest.raises(CommandsRejected):
        await fail()
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.USER, "1")


@pytest.mark.usefixtures("ada")
async def test_token_during_a_deletion_is_the_users_or_rejected(
    client: Client, authenticator: Authenticator
) -> None:
    """One statement reads both current and former owners, so a token cannot miss both."""
    database = client.database

    async def authenticate_repeatedly() -> list[str]:
        found = []
        while not done.is_set():
            try:
                found.append((await authenticate_fresh(authenticator)).kind.value)
            except InvalidCredentials as refusal:
                found.append(str(refusal))
            await asyncio.sleep(0)
        return found

    done = asyncio.Event()
    tasks = [asyncio.create_task(authenticate_repeatedly()) for _ in range(3)]
    for n in range(10):
        other = "hr-1" if n % 2 else None
        await execute(database, Update(user_id=1, fields={"external_id": other}))
    await execute(database, Transition(action=UserAction.DELETE, user_id=1))
    done.set()
    found = {answer for task in tasks for answer in await task}
    assert found <= {"user", WAS_A_USER}


@pytest.mark.usefixtures("ada")
async def test_token_is_accepted_until_the_deletion_is_committed(
    client: Client, authenticator: Authenticator
) -> None:
    database = client.database
    async with database.session() as session, session.transaction():
        deletion = Transition(action=UserAction.DELETE, user_id=1)
        await UserService(session, ADMIN).execute([deletion])
        assert await authenticate_fresh(authenticator) == Actor(ActorKind.USER, "1")
    assert await rejection_reason(authenticator, bearer(jti="committed")) == WAS_A_USER


async def test_subject_is_looked_up_in_one_statement(
    client: Client, authenticator: Authenticator, statements: list[str]
) -> None:
    await client.create("ada", externalId="hr-1")
    await authenticate_fresh(authenticator)
    await client.mutate("deleteUser", ADA)
    statements.clear()
    assert await rejection_reason(authenticator, bearer(jti="former")) == WAS_A_USER
    assert len(statements) == 1
    assert await authenticate_fresh(authenticator, sub="sync") == Actor(ActorKind.SERVICE, "sync")
    assert len(statements) == 2


@pytest.mark.parametrize("external_id", ["hr-1", None])
async def test_writes_that_keep_the_external_id_run_no_statement_for_former_ids(
    client: Client, statements: list[str], external_id: str | None
) -> None:
    await client.create("ada", externalId=external_id)
    assert not any("former" in ran or "identity" in ran for ran in statements)
    statements.clear()
    await client.mutate("updateUser", ADA, displayName="Ada", externalId=external_id)
    await client.mutate("deactivateUser", ADA)
    assert not any("former" in ran or "identity" in ran for ran in statements)


@pytest.mark.usefixtures("ada")
async def test_released_external_id_is_a_service_until_a_user_loses_it_again(
    client: Client, authenticator: Authenticator
) -> None:
    await execute_steps(client, change(None))
    assert await release(client.database) == 1
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.SERVICE, "hr-1")
    await execute_steps(client, change("hr-1"))
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.USER, "1")
    await execute_steps(client, change(None))
    assert await rejection_reason(authenticator, bearer(jti="again")) == WAS_A_USER
    assert await release(client.database) == 1
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.SERVICE, "hr-1")


@pytest.mark.usefixtures("ada")
async def test_erasure_keeps_a_release(client: Client, authenticator: Authenticator) -> None:
    await execute_steps(client, DELETE)
    assert await release(client.database) == 1
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.SERVICE, "hr-1")
    await execute_steps(client, ERASE)
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.SERVICE, "hr-1")


@pytest.mark.usefixtures("ada")
async def test_release_covers_all_former_owners(
    client: Client, authenticator: Authenticator
) -> None:
    await remove_external_id(client, "the next user too")
    assert await release(client.database) == 2
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.SERVICE, "hr-1")


@pytest.mark.usefixtures("ada")
async def test_release_without_a_former_owner_is_an_error(client: Client) -> None:
    database = client.database
    with pytest.raises(
        NothingToReleaseError, match="no user is known to have had this external id"
    ):
        await release(database, "hr-7")
    with pytest.raises(NothingToReleaseError, match="user 1 has this external id"):
        await release(database)
    await execute_steps(client, DELETE)
    await release(database)
    with pytest.raises(NothingToReleaseError, match=r"record 1 was released on \S+ \S+ by root"):
        await release(database)


async def test_external_id_of_a_deleted_user_without_a_record_can_be_released(
    database: Database,
) -> None:
    """The row was written outside Roster, or by a version that did not record former ids."""
    await add(database, user(external_id="hr-1", **DELETED))
    authenticator = Authenticator(database, [issuer()])
    assert await rejection_reason(authenticator, bearer()) == WAS_A_USER
    assert await release(database) == 1
    assert await authenticate_fresh(authenticator) == Actor(ActorKind.SERVICE, "hr-1")
    await authenticator.close()


async def test_erasure_records_former_ids_that_are_missing(
    client: Client, authenticator: Authenticator
) -> None:
    await client.create("ada", externalId="hr-1")
    await execute_steps(client, change("hr-2"), DELETE)
    async with client.database.engine.begin() as connection:
        await connection.execute(FormerExternalId.__table__.delete())  # type: ignore[attr-defined]
    await execute_steps(client, ERASE)
    for subject in ("hr-1", "hr-2"):
        assert await rejection_reason(authenticator, bearer(sub=subject)) == WAS_A_USER


async def test_service_linked_by_mistake_is_locked_out_until_the_id_is_released(
    client: Client, authenticator: Authenticator
) -> None:
    await client.create("ada")
    assert await authenticate_fresh(authenticator, sub="sync") == Actor(ActorKind.SERVICE, "sync")
    await execute_steps(client, change("sync"))
    assert await authenticate_fresh(authenticator, sub="sync") == Actor(ActorKind.USER, "1")
    await execute_steps(client, change(None))
    assert await rejection_reason(authenticator, bearer(sub="sync", jti="new")) == WAS_A_USER
    assert await release(client.database, "sync") == 1
    assert await authenticate_fresh(authenticator, sub="sync") == Actor(ActorKind.SERVICE, "sync")


async def test_former_external_id_is_rejected_from_every_issuer(client: Client) -> None:
    await client.create("ada", externalId="hr-1")
    await execute_steps(client, DELETE)
    other = "https://other.example"
    authenticator = Authenticator(client.database, [issuer(), issuer(issuer=other)])
    for iss in (issuer().issuer, other):
        assert await rejection_reason(authenticator, bearer(iss=iss)) == WAS_A_USER
    await authenticator.close()
