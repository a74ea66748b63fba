"""Database outages during re-checks of open connections."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from db.errors import ReadOnlyError
from graph.auth.guard import Guard
from graph.limits.throttle import RateLimiter
from tests.db.test_errors import postgres


@pytest.mark.parametrize(
    "error",
    [
        ReadOnlyError(),
        TimeoutError(),
        postgres("53100"),
        postgres("57P01", "FATAL"),
        postgres("42703"),
        ZeroDivisionError(),
    ],
    ids=repr,
)
async def test_failed_recheck_does_not_end_a_connection(error: Exception) -> None:
    checks = 0

    async def identify(_: object) -> Any:
        nonlocal checks
        checks += 1
        if checks > 1:
            raise error
        return SimpleNamespace(
            expires_at=None, actor=SimpleNamespace(kind="service", id="1"), scopes=frozenset()
        )

    guard = Guard(RateLimiter(None, 1, 1), allow_anonymous=False, recheck_seconds=0.001)
    state = SimpleNamespace(
        authenticator=SimpleNamespace(authenticate=identify, is_known=lambda _: True),
        database=SimpleNamespace(operation_session=lambda: None),
        feed=None,
        username_emails=None,
    )
    scope: dict[str, Any] = {
        "app": SimpleNamespace(state=state),
        "state": {"request_id": "1"},
        "client": ("192.0.2.1", 1),
    }
    context = await guard.authenticate(scope, "Bearer x")
    assert await context.is_still_let_in()
    ended = asyncio.create_task(guard.wait_until_rejected(scope, context))
    while checks < 5:  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(0)
    assert not ended.done()
    ended.cancel()
