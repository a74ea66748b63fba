"""Retries of whole transactions after conflicts."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from db.errors import is_passing, is_read_only
from db.outcome import Outcome, Write
from users.commands import UniquenessRace

ATTEMPTS: Final = 20

T = TypeVar("T")


def must_queue(number: int) -> bool:
    """Return whether an attempt waits in the queue of transactions that lost a race."""
    # Without the queue, a transaction can lose every race against others that write the same
    # values.
    return number > 1


async def retry_transaction(attempt: Callable[[int], Awaitable[T]], write: Write) -> T:
    """Run a transaction until it succeeds. After ATTEMPTS, raise the last error.

    A database error is retried only if nothing was done. A read-only server is retried once,
    because the next connection may lead to the primary.
    """
    is_renewed = False
    for number in range(1, ATTEMPTS):
        try:
            return await attempt(number)
        except UniquenessRace:
            pass
        except Exception as error:
            renews = not is_renewed and is_read_only(error)
            if write.outcome is not Outcome.NOT_DONE or not (renews or is_passing(error)):
                raise
            is_renewed = is_renewed or renews
    return await attempt(ATTEMPTS)
