"""Valid credentials behind an address from which invalid ones come all the time."""

import base64
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from db.engine import Database
from db.models import UserStatus
from graph.auth.authenticator import KNOWN_SECONDS, Authenticator
from graph.auth.guard import Guard
from graph.auth.tokens import InvalidToken, TokenVerifier
from graph.limits.sliding_window import SlidingWindow
from graph.limits.throttle import EXTRA_CHECKS, RateLimiter
from graph.protocol.errors import RequestError
from tests.db.test_models import add, user
from tests.graph.auth.test_authenticator import Clock, bearer, new_key, revoke, set_user
from tests.support.signing import OTHER_RSA, issuer, token

LIMIT = 30
UNKNOWN_KEY = "Bearer roster_" + "A" * 43
INVALID = {
    "no bearer": "Basic x",
    "no token": "Bearer x",
    "expired": bearer(exp=1),
    "of another issuer": bearer(iss="https://other.example"),
    "for another audience": bearer(aud="other"),
    "forged": f"Bearer {token(OTHER_RSA)}",
    "no such key": UNKNOWN_KEY,
}


class Door:
    """Asks the guard, as requests from some address do."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.rate_limiter = RateLimiter(f"{LIMIT}/hour", 1, 1)
        self.authenticator = Authenticator(database, [issuer()], clock=self.clock)
        self._guard = Guard(self.rate_limiter, allow_anonymous=False, recheck_seconds=1)
        self._state = SimpleNamespace(
            database=database, feed=None, authenticator=self.authenticator, username_emails=None
        )

    async def ask(self, authorization: str | None, host: str = "192.0.2.1") -> int:
        scope: dict[str, Any] = {
            "app": SimpleNamespace(state=self._state),
            "state": {"request_id": "1"},
            "client": (host, 1),
        }
        try:
            await self._guard.authenticate(scope, authorization)
        except RequestError as refused:
            return refused.status
        return 200

    async def exhaust(self, host: str = "192.0.2.1") -> None:
        while await self.ask("Bearer x", host) != 429:
            pass


@pytest.fixture
async def door(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    door = Door(database)
    extra = SlidingWindow(EXTRA_CHECKS, 1, door.clock)
    monkeypatch.setattr(door.rate_limiter, "_extra_checks", extra)
    yield door
    await door.authenticator.close()


@pytest.fixture
def ran(database: Database) -> list[str]:
    ran: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    return ran


@pytest.mark.parametrize("kind", INVALID)
async def test_valid_credentials_pass_whatever_is_invalid_beside_them(
    database: Database, door: Door, kind: str
) -> None:
    _, text = await new_key(database)
    known = [f"Bearer {text}", bearer()]
    assert [await door.ask(each) for each in known] == [200, 200]
    answers = [await door.ask(INVALID[kind]) for _ in range(LIMIT + 5)]
    assert answers == [401] * LIMIT + [429] * 5
    _, another = await new_key(database)
    unknown = [f"Bearer {another}", bearer(jti="another")]
    for seconds in (0, 5, 60):
        door.clock.time += seconds
        assert await door.ask(INVALID[kind]) == 429
        assert {await door.ask(each) for each in (*known, *unknown)} == {200}
        unknown = [bearer(jti=str(seconds))]
    assert await door.ask(None) == 401


async def test_known_credentials_are_still_checked_every_five_seconds(
    database: Database, door: Door, ran: list[str]
) -> None:
    await add(database, user(external_id="hr-1"))
    key, text = await new_key(database)
    of_user, of_key = bearer(), f"Bearer {text}"
    assert [await door.ask(each) for each in (of_user, of_key)] == [200, 200]
    await door.exhaust()
    await door.authenticator.close()
    ran.clear()
    for _ in range(3):
        door.clock.time += 5
        assert [await door.ask(each) for each in (of_user, of_key) * 3] == [200] * 6
    assert len(ran) == 6
    await set_user(database, is_active=False, status=UserStatus.DEACTIVATED)
    await revoke(database, key)
    door.clock.time += 5
    for each in (of_user, of_key):
        # A client that signs in again on a 401 does so; then its old credentials are like others.
        assert [await door.ask(each) for _ in range(3)] == [401, 429, 429]


async def test_credentials_are_not_known_for_ever(door: Door) -> None:
    known = bearer()
    assert await door.ask(known) == 200
    await door.exhaust()
    assert door.authenticator.is_known(known)
    assert not door.authenticator.is_known(bearer(jti="another"))
    assert not door.authenticator.is_known("Basic x")
    door.clock.time += KNOWN_SECONDS
    assert not door.authenticator.is_known(known)


async def test_a_token_that_expires_is_refused_as_such_and_not_as_one_too_many(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bearer()
    assert await door.ask(known) == 200
    await door.exhaust()
    door.clock.time += 60
    with monkeypatch.context() as patch:

        async def expired(*_: object) -> None:
            raise InvalidToken("ExpiredSignatureError")

        patch.setattr(TokenVerifier, "verify", expired)
        patch.setattr(TokenVerifier, "is_plausible", lambda *_: False)
        assert [await door.ask(known) for _ in range(2)] == [401, 429]


@pytest.mark.parametrize("kind", ["forged", "no such key"])
async def test_what_only_a_full_check_can_tell_is_checked_only_so_often(
    door: Door, ran: list[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    await door.exhaust()
    ran.clear()
    made = [
        f"Bearer {token(OTHER_RSA, jti=str(n))}" if kind == "forged" else f"{UNKNOWN_KEY}{n}"
        for n in range(3 * EXTRA_CHECKS)
    ]
    checked: list[object] = []
    find = Authenticator._find  # noqa: SLF001 - what costs something

    async def note(authenticator: Authenticator, text: str) -> Any:
        checked.append(text)
        return await find(authenticator, text)

    monkeypatch.setattr(Authenticator, "_find", note)
    with capture_logs() as logs:
        assert {await door.ask(each) for each in made} == {429}
        assert len(checked) == EXTRA_CHECKS
        assert len(ran) == (EXTRA_CHECKS if kind == "no such key" else 0)
        assert await door.ask(bearer()) == 429  # for this second
        assert {await door.ask(made[0]) for _ in range(100)} == {429}
        assert len(checked) == EXTRA_CHECKS
        door.clock.time += 2
        assert await door.ask(bearer()) == 200
    assert logs == []


async def test_the_same_credentials_again_leave_others_their_checks(
    door: Door, ran: list[str]
) -> None:
    await door.exhaust()
    ran.clear()
    for repeated in (UNKNOWN_KEY, INVALID["forged"]):
        assert {await door.ask(repeated) for _ in range(2 * EXTRA_CHECKS)} == {429}
    assert len(ran) == 1
    assert await door.ask(bearer()) == 200
    for kind in ("no bearer", "no token", "expired", "of another issuer", "for another audience"):
        assert {await door.ask(INVALID[kind]) for _ in range(2 * EXTRA_CHECKS)} == {429}
    assert await door.ask(bearer(jti="another")) == 200


async def test_credentials_that_become_valid_are_refused_for_seconds_only(
    database: Database, door: Door
) -> None:
    await add(database, user(external_id="hr-1"))
    await set_user(database, is_active=False, status=UserStatus.DEACTIVATED)
    await door.exhaust()
    again = bearer()
    assert await door.ask(again) == 429
    await set_user(database, is_active=True, status=UserStatus.ACTIVE)
    assert await door.ask(again) == 429
    door.clock.time += 10
    assert await door.ask(again) == 200


async def test_networks_are_counted_each_by_themselves(door: Door) -> None:
    await door.exhaust("2001:db8:0:1::1")
    assert await door.ask("Bearer y", "2001:db8:0:1:ffff::2") == 429
    assert await door.ask("Bearer y", "2001:db8:0:2::1") == 401
    await door.exhaust("192.0.2.1")
    assert await door.ask("Bearer y", "::ffff:192.0.2.1") == 429
    assert await door.ask("Bearer y", "192.0.2.2") == 401


async def test_any_text_may_be_valid_or_not(door: Door) -> None:
    for claims in ("[]", "1", "null", '{"iss":[]}', '{"iss":"https://id.example","aud":1}', "{"):
        payload = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
        assert not door.authenticator.may_be_valid(f"Bearer e30.{payload}.AAAA")
    for text in ("", "Bearer", "Bearer ..", "Bearer a.b.c", "Bearer é", "Bearer \ud800", "\0"):
        assert not door.authenticator.may_be_valid(text)
        assert not door.authenticator.is_known(text)
