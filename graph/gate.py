"""Who comes in: each request and each socket gets its context here, with its caller."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.requests import HTTPConnection

from db.engine import is_unreachable
from db.models import ActorKind
from graph.callers import Callers, Unauthenticated
from graph.context import Context
from graph.requests import Refused
from graph.tokens import KeysUnavailable
from users.events import Actor
from users.policy import EVERY_SCOPE, Caller

log = structlog.get_logger("roster")

# Nobody signs in to development: whoever reaches the server on this machine is its developer.
DEVELOPER: Final = Caller(Actor(ActorKind.SYSTEM, label="development"), EVERY_SCOPE)
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="roster"'}


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets callers in by their token; without one only into development."""

    open: bool

    async def context(
        self, connection: HTTPConnection, payload: Mapping[str, Any] | None = None
    ) -> Context:
        """Give a request's context; raise Refused for whoever cannot be let in.

        A browser's socket can set no header: its token is in `connection_init`'s payload.
        """
        state = connection.app.state
        token = _token(connection, payload)
        caller = await self._caller(state.callers, token)
        address = connection.client.host if connection.client else ""
        return Context(
            state.database, state.feed, caller, connection.state.request_id, address, token
        )

    async def still(self, connection: HTTPConnection, context: Context) -> Context:
        """Give the context anew, with what the caller may by now."""
        caller = await self._caller(connection.app.state.callers, context.token)
        state = connection.app.state
        return Context(
            state.database, state.feed, caller, context.request_id, context.address, context.token
        )

    async def _caller(self, callers: Callers, token: str | None) -> Caller:
        try:
            caller = await callers.identify(token)
        except Unauthenticated as error:
            log.info("refused a token", reason=str(error))
            challenge = {"www-authenticate": 'Bearer realm="roster", error="invalid_token"'}
            message = "This token is not accepted."
            raise Refused("UNAUTHENTICATED", message, 401, challenge) from None
        except KeysUnavailable:
            message = "Tokens cannot be checked right now. Try again in a moment."
            raise Refused(
                "AUTHENTICATION_UNAVAILABLE", message, 503, {"retry-after": "5"}
            ) from None
        except Exception as error:
            if not is_unreachable(error):
                raise
            message = "The directory's database cannot be reached right now. Try again in a moment."
            raise Refused("DATABASE_UNAVAILABLE", message, 503, {"retry-after": "5"}) from None
        if caller is None and not self.open:
            raise Refused("UNAUTHENTICATED", "A bearer token is needed.", 401, _CHALLENGE)
        return caller or DEVELOPER


def _token(connection: HTTPConnection, payload: Mapping[str, Any] | None) -> str | None:
    for name, value in (payload or {}).items():
        if name.lower() == "authorization" and isinstance(value, str):
            return value
    return connection.headers.get("authorization")
