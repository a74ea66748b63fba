"""Who may do what."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from users.events import Actor


class Scope(StrEnum):
    READ = "users:read"
    WRITE = "users:write"
    ERASE = "users:erase"
    HISTORY = "users:history"


EVERY_SCOPE = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks: what they are known as, what they may, and until when.

    `user_id` is the user they are themselves, where the directory knows them.
    """

    actor: Actor
    scopes: frozenset[Scope] = frozenset()
    user_id: int | None = None
    expires_at: datetime | None = None
