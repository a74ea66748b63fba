"""Authenticates each request and each WebSocket, and creates its context."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from math import ceil, inf
from typing import Any, Final

import structlog
from starlette.types import Scope

from db.models import ActorKind
from graph.api.context import Context
from graph.api.errors import server_error
from graph.auth.authenticator import Authenticator, InvalidCredentials, SubjectsUnavailableError
from graph.auth.tokens import KeysUnavailableError
from graph.limits.client_network import client_network
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import RequestError
from users.clock import now as utc_now
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor

log = structlog.get_logger("roster")

# Development mode does not authenticate. The server listens on loopback addresses only, so every
# caller is a user of this machine.
DEVELOPER: Final = Caller(Actor(ActorKind.SYSTEM, label="development"), EVERY_SCOPE)
_NO_CREDENTIALS: Final = frozenset({"", "bearer", "bearer undefined", "bearer null"})
UNAUTHORIZED: Final = HTTPStatus.UNAUTHORIZED
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="roster"'}


@dataclass(frozen=True, slots=True)
class Guard:
    """Authenticates callers. `allow_anonymous` accepts callers without credentials (development).

    The callers of streams and sockets are checked again every `recheck_seconds`, and when their
    token expires.
    """

    rate_limiter: RateLimiter
    allow_anonymous: bool
    recheck_seconds: float
    now: Callable[[], datetime] = utc_now
    longest_sleep: float = 30.0  # seconds; a change of the wall clock is noticed within this time

    async def authenticate(self, scope: Scope, token: str | None) -> Context:
        """Authenticate a request by its `Authorization` header.

        Raises RequestError: 401 if the credentials are missing or invalid, 429 if the network has
        sent too many invalid ones, 503 if they cannot be checked.
        """
        # Above the limit, known credentials are still checked. Unknown ones are checked only if
        # they are plausible, and at a limited rate: an attacker must not lock out other callers
        # of the same network.
        token = _credentials(token)
        if token is None:
            return await self._context(scope, token)
        network = client_network(scope)
        limited = not (
            self.rate_limiter.check_auth_attempts(network) or self.is_known(scope, token)
        )
        if limited:
            await self._check_attempt(scope, token, network)
        try:
            return await self._context(scope, token, quiet=limited)
        except RequestError as refused:
            if refused.status != UNAUTHORIZED:
                raise
            await self.rate_limiter.record_auth_failure(network)
            raise _too_many(60) if limited else refused from None

    def is_known(self, scope: Scope, token: str | None) -> bool:
        return token is not None and scope["app"].state.authenticator.is_known(token)

    async def _check_attempt(self, scope: Scope, token: str, network: str) -> None:
        """Raise RequestError (429) if unknown credentials are not checked now."""
        if not scope["app"].state.authenticator.may_be_valid(token):
            await self.rate_limiter.record_auth_failure(network)
            raise _too_many(60)
        if not self.rate_limiter.acquire_extra_check(network):
            raise _too_many(1)

    async def reauthenticate(self, scope: Scope, context: Context) -> Context:
        """Return a new context with the caller's current rights. Raises RequestError."""
        return await self._context(scope, context.token)

    async def wait_until_rejected(self, scope: Scope, context: Context) -> RequestError:
        """Wait until the caller is no longer accepted, and return the error.

        A failure to check the token does not end the wait.
        """
        # Expiry is a time of the wall clock. The monotonic deadline ensures that setting back the
        # wall clock does not extend a token's lifetime.
        end = time.monotonic() + self._seconds_left(context.caller)
        look = time.monotonic() + self.recheck_seconds
        while (left := min(end - time.monotonic(), self._seconds_left(context.caller))) > 0:
            await asyncio.sleep(min(left, max(0, look - time.monotonic()), self.longest_sleep))
            if time.monotonic() >= look:
                state = scope["app"].state
                if refused := await self._rejection(
                    state.authenticator, context.token, context.caller
                ):
                    return refused
                look = time.monotonic() + self.recheck_seconds
        return RequestError("UNAUTHENTICATED", "This token has expired.", UNAUTHORIZED)

    async def _context(self, scope: Scope, token: str | None, *, quiet: bool = False) -> Context:
        state = scope["app"].state
        caller = await self._caller(state.authenticator, token, quiet=quiet)
        address = client_network(scope)
        request_id = scope["state"]["request_id"]
        still = partial(self._is_accepted, state.authenticator, token, caller)
        return Context(
            state.database.operation_session(),
            state.feed,
            caller,
            request_id,
            address,
            token,
            still,
            username_emails=state.username_emails,
        )

    async def _is_accepted(
        self, authenticator: Authenticator, token: str | None, caller: Caller
    ) -> bool:
        return await self._rejection(authenticator, token, caller) is None

    async def _rejection(
        self, authenticator: Authenticator, token: str | None, caller: Caller
    ) -> RequestError | None:
        """Return the error of a rejected token; None if it is accepted or cannot be checked."""
        # A token that now belongs to another caller is rejected: its subject can be assigned to
        # another user.
        try:
            actor = (await self._caller(authenticator, token)).actor
        except RequestError as refused:
            return refused if refused.status == UNAUTHORIZED else None
        if (actor.kind, actor.id) == (caller.actor.kind, caller.actor.id):
            return None
        message = "This token now belongs to another user or service."
        return RequestError("UNAUTHENTICATED", message, UNAUTHORIZED)

    def _seconds_left(self, caller: Caller) -> float:
        if caller.expires_at is None:
            return inf
        return (caller.expires_at - self.now()).total_seconds()

    async def _caller(
        self, authenticator: Authenticator, token: str | None, *, quiet: bool = False
    ) -> Caller:
        try:
            caller = await authenticator.authenticate(token)
        except InvalidCredentials as error:
            if not quiet:  # a flood of invalid tokens must not flood the log
                log.info("refused a token", reason=str(error))
            challenge = {"www-authenticate": 'Bearer realm="roster", error="invalid_token"'}
            message = "This token is not accepted."
            raise RequestError("UNAUTHENTICATED", message, 401, challenge) from None
        except (KeysUnavailableError, SubjectsUnavailableError) as unavailable:
            message = "Tokens cannot be checked right now. Try again in a moment."
            retry = {"retry-after": str(max(1, ceil(unavailable.retry_after)))}
            raise RequestError("AUTHENTICATION_UNAVAILABLE", message, 503, retry) from None
        except Exception as error:  # noqa: BLE001 - `server_error` logs it
            raise server_error(error) from None
        if caller is None and not self.allow_anonymous:
            raise RequestError("UNAUTHENTICATED", "A bearer token is required.", 401, _CHALLENGE)
        return caller or DEVELOPER


def token_of(headers: Mapping[str, str], payload: Mapping[str, Any] | None) -> str | None:
    # Browsers cannot set headers on a WebSocket: they send the token in `connection_init`.
    for name, value in (payload or {}).items():
        if name.lower() == "authorization" and isinstance(value, str):
            return value
    return headers.get("authorization")


def _credentials(authorization: str | None) -> str | None:
    # A JavaScript client that joins "Bearer" with a missing token sends `Bearer undefined`.
    if authorization is None or authorization.strip().lower() in _NO_CREDENTIALS:
        return None
    return authorization


def _too_many(seconds: int) -> RequestError:
    message = "Too many invalid tokens from this address. Try again later."
    return RequestError("RATE_LIMITED", message, 429, {"retry-after": str(seconds)})
