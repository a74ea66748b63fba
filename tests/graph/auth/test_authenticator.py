import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, update

from db.engine import Database
from db.models import ActorKind, User, UserStatus
from graph.auth.authenticator import Authenticator, InvalidCredentials
from graph.auth.jwks import KeysUnavailableError
from tests.db.test_models import AT, DELETED, OTHER, add, user
from tests.support.signing import issuer, token
from users import api_keys
from users.api_keys import ApiKey
from users.clock import now
from users.policy import Caller, Scope
from users.recorder import Actor


class Clock:
    """A clock that only the test moves, in seconds."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def authenticator(database: Database, clock: Clock) -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(database, [issuer()], clock=clock)
    yield authenticator
    await authenticator.close()


def bearer(**changed: Any) -> str:
    return f"Bearer {token(**changed)}"


async def new_key(database: Database, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    async with database.session() as session, session.transaction():
        return await api_keys.create(
            session, "import", {Scope.READ}, now=now(), expires_at=expires_at
        )


async def revoke(database: Database, key: ApiKey) -> None:
    async with database.session() as session, session.transaction():
        await api_keys.revoke(session, key.id, now())


async def set_user(database: Database, **columns: Any) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(update(User).values(columns))


async def refused(authenticator: Authenticator, authorization: str) -> str:
    with pytest.raises(InvalidCredentials) as caught:
        await authenticator.authenticate(authorization)
    return str(caught.value)


async def test_a_subject_that_is_linked_is_that_user(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user(**OTHER), user(external_id="hr-1"))
    exp = int(time.time()) + 60
    assert await authenticator.authenticate(
        bearer(exp=exp, scope="users:read", name="Ada")
    ) == Caller(
        Actor(ActorKind.USER, "2", "Ada"),
        frozenset({Scope.READ}),
        user_id=2,
        expires_at=datetime.fromtimestamp(exp + 30, UTC),
    )


async def test_a_caller_knows_the_subject_of_their_token(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user(external_id="hr-1"))
    _, text = await new_key(database)
    for authorization, user_id, subject in (
        (bearer(), 1, "hr-1"),
        (bearer(sub="sync"), None, "sync"),
        (f"Bearer {text}", None, None),
    ):
        caller = await authenticator.authenticate(authorization)
        assert caller is not None
        assert (caller.user_id, caller.subject) == (user_id, subject)
        assert "hr-1" not in repr(caller)


async def test_a_subject_that_nobody_has_is_a_service(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user(external_id="HR-1", **OTHER))
    caller = await authenticator.authenticate(bearer())
    assert caller is not None
    assert (caller.actor, caller.user_id) == (Actor(ActorKind.SERVICE, "hr-1"), None)
    assert caller.scopes == frozenset()


async def test_a_subject_that_a_deleted_user_has_is_refused(
    database: Database, authenticator: Authenticator
) -> None:
    deleted = user(external_id="hr-1", **DELETED)  # of whom there is no record, only the row
    await add(database, deleted, user(external_id="HR-1", **OTHER))
    assert await refused(authenticator, bearer()) == "the subject was a user"


async def test_an_issuer_can_be_without_services(database: Database) -> None:
    await add(database, user(external_id="hr-1"))
    authenticator = Authenticator(database, [issuer(services=False)])
    caller = await authenticator.authenticate(bearer())
    assert caller is not None
    assert caller.user_id == 1
    reason = "the subject is no user, and the issuer's services are refused"
    assert await refused(authenticator, bearer(sub="sync")) == reason
    _, text = await new_key(database)
    assert await authenticator.authenticate(f"Bearer {text}") is not None  # a key is no issuer's
    await authenticator.close()


async def test_whoever_is_deactivated_gets_in_nowhere(
    database: Database, authenticator: Authenticator, clock: Clock
) -> None:
    await add(database, user(external_id="hr-1"))
    good = bearer()
    caller = await authenticator.authenticate(good)
    await set_user(database, is_active=False, status=UserStatus.DEACTIVATED)
    clock.time += 4.9
    assert (
        await authenticator.authenticate(good) is caller
    )  # what was found out is kept for 5 seconds
    clock.time += 0.1
    assert await refused(authenticator, good) == "the user is not active"
    await set_user(database, is_active=True, status=UserStatus.ACTIVE)
    assert await authenticator.authenticate(good) == caller  # and that somebody was refused is not


async def test_who_is_known_already_costs_no_statement(
    database: Database, authenticator: Authenticator
) -> None:
    good = bearer()
    caller = await authenticator.authenticate(good)
    ran: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    assert await authenticator.authenticate(good) is caller
    assert ran == []
    await authenticator.authenticate(bearer(jti="another"))
    assert len(ran) == 1


async def test_all_who_ask_at_a_time_wait_for_one_statement(
    database: Database, authenticator: Authenticator
) -> None:
    _, text = await new_key(database)
    await authenticator.authenticate(f"Bearer {text}")  # and the use of the key is noted
    await authenticator.close()
    ran: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    for authorization in (bearer(), f"Bearer {text}x"):
        ran.clear()
        asked = [asyncio.create_task(authenticator.authenticate(authorization)) for _ in range(5)]
        await asyncio.sleep(0)
        asked[0].cancel()  # which is nothing to the others
        first, *others = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        if authorization.endswith("x"):
            assert {str(other) for other in others} == {"there is no such API key"}
        else:
            assert others == [await authenticator.authenticate(authorization)] * 4
        assert len(ran) == 1


async def test_an_api_key_is_a_service_until_it_is_revoked(
    database: Database, authenticator: Authenticator, clock: Clock
) -> None:
    expires_at = AT.replace(year=2100)
    key, text = await new_key(database, expires_at)
    authorization = f"Bearer {text}"
    assert await authenticator.authenticate(authorization) == Caller(
        Actor(ActorKind.SERVICE, f"key-{key.id}", "import"),
        frozenset({Scope.READ}),
        expires_at=expires_at,
    )
    await revoke(database, key)
    clock.time += 5
    assert await refused(authenticator, authorization) == "the API key is revoked or has expired"
    assert await refused(authenticator, f"{authorization}x") == "there is no such API key"


async def test_the_use_of_a_key_is_noted(database: Database, authenticator: Authenticator) -> None:
    key, text = await new_key(database)
    await asyncio.gather(*(authenticator.authenticate(f"Bearer {text}") for _ in range(5)))
    await authenticator.close()
    async with database.session() as session:
        found = await api_keys.find(session, text)
    assert found is not None
    assert found.last_used_at is not None
    assert found.last_used_at >= key.created_at


async def test_nothing_is_kept_longer_than_it_lives(database: Database, clock: Clock) -> None:
    _, text = await new_key(database, now() + timedelta(hours=1))
    moment = now() + timedelta(minutes=59, seconds=58)
    authenticator = Authenticator(database, clock=clock, now=lambda: moment)
    assert await authenticator.authenticate(f"Bearer {text}") is not None
    moment += timedelta(seconds=2)
    clock.time += 2
    assert await refused(authenticator, f"Bearer {text}") == "the API key is revoked or has expired"
    await authenticator.close()


async def test_so_many_are_kept_and_no_more(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.auth.authenticator.MAX_CACHED", 2)
    authenticator = Authenticator(database, [issuer()], clock=clock)
    first, second, third = (bearer(jti=n) for n in "123")
    known = [await authenticator.authenticate(each) for each in (first, second, third)]
    assert await authenticator.authenticate(third) is known[2]
    assert await authenticator.authenticate(second) is known[1]
    again = await authenticator.authenticate(first)
    assert again == known[0]
    assert again is not known[0]


async def test_keys_are_accepted_only_where_they_are_meant(database: Database) -> None:
    _, text = await new_key(database)
    authenticator = Authenticator(database, [issuer()], api_keys=False)
    assert await refused(authenticator, f"Bearer {text}") == "API keys are not accepted"
    async with database.session() as session:
        assert (await api_keys.list_all(session))[0].last_used_at is None


async def test_no_header_is_nobody_and_a_wrong_one_is_refused(authenticator: Authenticator) -> None:
    assert await authenticator.authenticate(None) is None
    good = token()
    assert await authenticator.authenticate(f"bEARER  {good} ") is not None
    for wrong in ("", "Bearer", "Bearer ", good, f"Basic {good}", f"Bearer {good} x", "Bearer é"):
        assert await refused(authenticator, wrong) == "the header has no bearer token"
    assert await refused(authenticator, "Bearer x") == "DecodeError"
    assert await refused(authenticator, bearer(aud="other")) == "InvalidAudienceError"


async def test_an_issuer_that_is_away_is_nobody_s_fault(database: Database) -> None:
    authenticator = Authenticator(database, [issuer(jwks_url="http://127.0.0.1:1/")])
    with pytest.raises(KeysUnavailableError):
        await authenticator.authenticate(bearer())
