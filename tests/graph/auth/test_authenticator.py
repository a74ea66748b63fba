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
from tests.support.clock import Clock
from tests.support.signing import OTHER_AUDIENCE, issuer, token
from users import api_keys
from users.api_keys import ApiKey
from users.clock import now
from users.policy import Caller, Scope
from users.recorder import Actor


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


async def rejection_reason(authenticator: Authenticator, authorization: str) -> str:
    with pytest.raises(InvalidCredentials) as caught:
        await authenticator.authenticate(authorization)
    return str(caught.value)


async def test_token_of_a_linked_subject_authenticates_the_user(
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


async def test_caller_has_the_tokens_subject_and_hides_it_from_repr(
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


async def test_token_of_an_unlinked_subject_authenticates_a_service(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user(external_id="HR-1", **OTHER))
    caller = await authenticator.authenticate(bearer())
    assert caller is not None
    assert (caller.actor, caller.user_id) == (Actor(ActorKind.SERVICE, "hr-1"), None)
    assert caller.scopes == frozenset()


async def test_token_with_the_external_id_of_a_deleted_user_is_rejected(
    database: Database, authenticator: Authenticator
) -> None:
    deleted = user(external_id="hr-1", **DELETED)  # without a record of the former external id
    await add(database, deleted, user(external_id="HR-1", **OTHER))
    assert await rejection_reason(authenticator, bearer()) == "the subject was a user"


async def test_issuer_without_services_rejects_unlinked_subjects(database: Database) -> None:
    await add(database, user(external_id="hr-1"))
    authenticator = Authenticator(database, [issuer(services=False)])
    caller = await authenticator.authenticate(bearer())
    assert caller is not None
    assert caller.user_id == 1
    reason = "the subject is no user, and the issuer's services are refused"
    assert await rejection_reason(authenticator, bearer(sub="sync")) == reason
    _, text = await new_key(database)
    assert (
        await authenticator.authenticate(f"Bearer {text}") is not None
    )  # API keys belong to no issuer
    await authenticator.close()


async def test_token_of_a_deactivated_user_is_rejected_after_five_seconds(
    database: Database, authenticator: Authenticator, clock: Clock
) -> None:
    await add(database, user(external_id="hr-1"))
    authorization = bearer()
    caller = await authenticator.authenticate(authorization)
    await set_user(database, is_active=False, status=UserStatus.DEACTIVATED)
    clock.time += 4.9
    assert (
        await authenticator.authenticate(authorization) is caller
    )  # callers are cached for 5 seconds
    clock.time += 0.1
    assert await rejection_reason(authenticator, authorization) == "the user is not active"
    await set_user(database, is_active=True, status=UserStatus.ACTIVE)
    assert await authenticator.authenticate(authorization) == caller  # rejections are not cached


async def test_cached_caller_runs_no_statement(
    database: Database, authenticator: Authenticator
) -> None:
    authorization = bearer()
    caller = await authenticator.authenticate(authorization)
    ran: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def record(_c: object, _cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    assert await authenticator.authenticate(authorization) is caller
    assert ran == []
    await authenticator.authenticate(bearer(jti="another"))
    assert len(ran) == 1


async def test_concurrent_authentications_share_one_statement(
    database: Database, authenticator: Authenticator
) -> None:
    _, text = await new_key(database)
    await authenticator.authenticate(f"Bearer {text}")  # this also records the use of the key
    await authenticator.close()
    ran: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def record(_c: object, _cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    for authorization in (bearer(), f"Bearer {text}x"):
        ran.clear()
        tasks = [asyncio.create_task(authenticator.authenticate(authorization)) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # this must not affect the others
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        if authorization.endswith("x"):
            assert {str(other) for other in others} == {"there is no such API key"}
        else:
            assert others == [await authenticator.authenticate(authorization)] * 4
        assert len(ran) == 1


async def test_api_key_authenticates_a_service_until_it_is_revoked(
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
    assert (
        await rejection_reason(authenticator, authorization)
        == "the API key is revoked or has expired"
    )
    assert await rejection_reason(authenticator, f"{authorization}x") == "there is no such API key"


async def test_use_of_an_api_key_is_recorded(
    database: Database, authenticator: Authenticator
) -> None:
    key, text = await new_key(database)
    await asyncio.gather(*(authenticator.authenticate(f"Bearer {text}") for _ in range(5)))
    await authenticator.close()
    async with database.session() as session:
        found = await api_keys.find(session, text)
    assert found is not None
    assert found.last_used_at is not None
    assert found.last_used_at >= key.created_at


async def test_cached_api_key_is_rejected_once_it_has_expired(
    database: Database, clock: Clock
) -> None:
    _, text = await new_key(database, now() + timedelta(hours=1))
    moment = now() + timedelta(minutes=59, seconds=58)
    authenticator = Authenticator(database, clock=clock, now=lambda: moment)
    assert await authenticator.authenticate(f"Bearer {text}") is not None
    moment += timedelta(seconds=2)
    clock.time += 2
    assert (
        await rejection_reason(authenticator, f"Bearer {text}")
        == "the API key is revoked or has expired"
    )
    await authenticator.close()


async def test_cache_evicts_the_oldest_caller_beyond_its_limit(
    database: Database, clock: Clock
) -> None:
    authenticator = Authenticator(database, [issuer()], clock=clock, max_cached=2)
    first, second, third = (bearer(jti=n) for n in "123")
    known = [await authenticator.authenticate(each) for each in (first, second, third)]
    assert await authenticator.authenticate(third) is known[2]
    assert await authenticator.authenticate(second) is known[1]
    again = await authenticator.authenticate(first)
    assert again == known[0]
    assert again is not known[0]


async def test_api_key_is_rejected_if_api_keys_are_disabled(database: Database) -> None:
    _, text = await new_key(database)
    authenticator = Authenticator(database, [issuer()], api_keys=False)
    assert await rejection_reason(authenticator, f"Bearer {text}") == "API keys are not accepted"
    async with database.session() as session:
        assert (await api_keys.list_all(session))[0].last_used_at is None


async def test_missing_header_is_anonymous_and_a_malformed_one_is_rejected(
    authenticator: Authenticator,
) -> None:
    assert await authenticator.authenticate(None) is None
    text = token()
    assert await authenticator.authenticate(f"bEARER  {text} ") is not None
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        text,
        f"Basic {text}",
        f"Bearer {text} x",
        "Bearer é",
    ):
        assert await rejection_reason(authenticator, wrong) == "the header has no bearer token"
    assert await rejection_reason(authenticator, "Bearer x") == "DecodeError"
    assert await rejection_reason(authenticator, bearer(aud="other")) == OTHER_AUDIENCE


async def test_unreachable_issuer_raises_keys_unavailable(database: Database) -> None:
    authenticator = Authenticator(database, [issuer(jwks_url="http://127.0.0.1:1/")])
    with pytest.raises(KeysUnavailableError):
        await authenticator.authenticate(bearer())
