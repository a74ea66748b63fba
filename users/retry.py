"""Retries of whole transactions after conflicts."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from db.errors import is_passing, is_read_only
from db.outcome import Outcome, Write
from users.commands import UniquenessRace

ATTEMPTS: Final = 20

T = TypeVar("T")


def must_queue(number: int) -> bool:
    """Whether an attempt waits in a queue with the other transactions that lost a race.

    Without the queue, a transaction among many that write the same values can lose every race.
    """
    return number > 1


async def retry_transaction(attempt: Callable[[int], Awaitable[T]], write: Write) -> T:
    """Run a whole transaction until it succeeds, and raise the error of the last attempt.

    It is retried only if the database reports that nothing was done. A read-only server is retried
    once: the next connection may lead to the primary.
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
