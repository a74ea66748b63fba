"""Valid credentials from an address that also sends many invalid ones."""

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
from tests.graph.auth.test_authenticator import bearer, new_key, revoke, set_user
from tests.support.clock import Clock
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


class GuardClient:
    """Authenticates requests from an address with the guard."""

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
        except RequestError as rejection:
            return rejection.status
        return 200

    async def exhaust(self, host: str = "192.0.2.1") -> None:
        while await self.ask("Bearer x", host) != 429:
            pass


@pytest.fixture
async def guard_client(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GuardClient]:
    guard_client = GuardClient(database)
    extra = SlidingWindow(EXTRA_CHECKS, 1, guard_client.clock)
    monkeypatch.setattr(guard_client.rate_limiter, "_extra_checks", extra)
    yield guard_client
    await guard_client.authenticator.close()


@pytest.fixture
def executed(database: Database) -> list[str]:
    executed: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def record(_c: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    return executed


@pytest.mark.parametrize("kind", INVALID)
async def test_valid_credentials_are_accepted_from_a_rate_limited_address(
    database: Database, guard_client: GuardClient, kind: str
) -> None:
    _, text = await new_key(database)
    known = [f"Bearer {text}", bearer()]
    assert [await guard_client.ask(each) for each in known] == [200, 200]
    statuses = [await guard_client.ask(INVALID[kind]) for _ in range(LIMIT + 5)]
    assert statuses == [401] * LIMIT + [429] * 5
    _, another = await new_key(database)
    unknown = [f"Bearer {another}", bearer(jti="another")]
    for seconds in (0, 5, 60):
        guard_client.clock.time += seconds
        assert await guard_client.ask(INVALID[kind]) == 429
        assert {await guard_client.ask(each) for each in (*known, *unknown)} == {200}
        unknown = [bearer(jti=str(seconds))]
    assert await guard_client.ask(None) == 401


async def test_known_credentials_are_rechecked_every_five_seconds(
    database: Database, guard_client: GuardClient, executed: list[str]
) -> None:
    await add(database, user(external_id="hr-1"))
    key, text = await new_key(database)
    user_token, key_token = bearer(), f"Bearer {text}"
    assert [await guard_client.ask(each) for each in (user_token, key_token)] == [200, 200]
    await guard_client.exhaust()
    await guard_client.authenticator.close()
    executed.clear()
    for _ in range(3):
        guard_client.clock.time += 5
        assert [await guard_client.ask(each) for each in (user_token, key_token) * 3] == [200] * 6
    assert len(executed) == 6
    await set_user(database, is_active=False, status=UserStatus.DEACTIVATED)
    await revoke(database, key)
    guard_client.clock.time += 5
    for each in (user_token, key_token):
        # The 401 lets the client sign in again. After it, the credentials count as unknown.
        assert [await guard_client.ask(each) for _ in range(3)] == [401, 429, 429]


async def test_credentials_are_forgotten_after_known_seconds(guard_client: GuardClient) -> None:
    known = bearer()
    assert await guard_client.ask(known) == 200
    await guard_client.exhaust()
    assert guard_client.authenticator.is_known(known)
    assert not guard_client.authenticator.is_known(bearer(jti="another"))
    assert not guard_client.authenticator.is_known("Basic x")
    guard_client.clock.time += KNOWN_SECONDS
    assert not guard_client.authenticator.is_known(known)


async def test_expired_known_token_gets_401_once_and_then_429(
    guard_client: GuardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bearer()
    assert await guard_client.ask(known) == 200
    await guard_client.exhaust()
    guard_client.clock.time += 60
    with monkeypatch.context() as patch:

        async def expired(*_: object) -> None:
            raise InvalidToken("ExpiredSignatureError")

        patch.setattr(TokenVerifier, "verify", expired)
        patch.setattr(TokenVerifier, "is_plausible", lambda *_: False)
        assert [await guard_client.ask(known) for _ in range(2)] == [401, 429]


@pytest.mark.parametrize("kind", ["forged", "no such key"])
async def test_full_checks_from_a_rate_limited_address_are_bounded(
    guard_client: GuardClient, executed: list[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    await guard_client.exhaust()
    executed.clear()
    made = [
        f"Bearer {token(OTHER_RSA, jti=str(n))}" if kind == "forged" else f"{UNKNOWN_KEY}{n}"
        for n in range(3 * EXTRA_CHECKS)
    ]
    checked: list[object] = []
    find = Authenticator._find  # noqa: SLF001 - the expensive part

    async def record(authenticator: Authenticator, text: str) -> Any:
        checked.append(text)
        return await find(authenticator, text)

    monkeypatch.setattr(Authenticator, "_find", record)
    with capture_logs() as logs:
        assert {await guard_client.ask(each) for each in made} == {429}
        assert len(checked) == EXTRA_CHECKS
        assert len(executed) == (EXTRA_CHECKS if kind == "no such key" else 0)
        assert await guard_client.ask(bearer()) == 429  # until the next second
        assert {await guard_client.ask(made[0]) for _ in range(100)} == {429}
        assert len(checked) == EXTRA_CHECKS
        guard_client.clock.time += 2
        assert await guard_client.ask(bearer()) == 200
    assert logs == []


async def test_repeated_invalid_credentials_use_one_full_check(
    guard_client: GuardClient, executed: list[str]
) -> None:
    await guard_client.exhaust()
    executed.clear()
    for repeated in (UNKNOWN_KEY, INVALID["forged"]):
        assert {await guard_client.ask(repeated) for _ in range(2 * EXTRA_CHECKS)} == {429}
    assert len(executed) == 1
    assert await guard_client.ask(bearer()) == 200
    for kind in ("no bearer", "no token", "expired", "of another issuer", "for another audience"):
        assert {await guard_client.ask(INVALID[kind]) for _ in range(2 * EXTRA_CHECKS)} == {429}
    assert await guard_client.ask(bearer(jti="another")) == 200


async def test_credentials_that_become_valid_are_accepted_after_ten_seconds(
    database: Database, guard_client: GuardClient
) -> None:
    await add(database, user(external_id="hr-1"))
    await set_user(database, is_active=False, status=UserStatus.DEACTIVATED)
    await guard_client.exhaust()
    again = bearer()
    assert await guard_client.ask(again) == 429
    await set_user(database, is_active=True, status=UserStatus.ACTIVE)
    assert await guard_client.ask(again) == 429
    guard_client.clock.time += 10
    assert await guard_client.ask(again) == 200


async def test_networks_have_separate_limits(guard_client: GuardClient) -> None:
    await guard_client.exhaust("2001:db8:0:1::1")
    assert await guard_client.ask("Bearer y", "2001:db8:0:1:ffff::2") == 429
    assert await guard_client.ask("Bearer y", "2001:db8:0:2::1") == 401
    await guard_client.exhaust("192.0.2.1")
    assert await guard_client.ask("Bearer y", "::ffff:192.0.2.1") == 429
    assert await guard_client.ask("Bearer y", "192.0.2.2") == 401


async def test_malformed_authorization_is_never_plausible(guard_client: GuardClient) -> None:
    for claims in ("[]", "1", "null", '{"iss":[]}', '{"iss":"https://id.example","aud":1}', "{"):
        payload = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
        assert not guard_client.authenticator.may_be_valid(f"Bearer e30.{payload}.AAAA")
    for text in ("", "Bearer", "Bearer ..", "Bearer a.b.c", "Bearer é", "Bearer \ud800", "\0"):
        assert not guard_client.authenticator.may_be_valid(text)
        assert not guard_client.authenticator.is_known(text)
