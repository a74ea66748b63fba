"""Transactions that others were in the way of, tried again from the start."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from db.errors import is_passing, is_read_only
from db.outcome import Outcome, Write
from users.commands import UniquenessRace

ATTEMPTS: Final = 20

T = TypeVar("T")


def must_queue(number: int) -> bool:
    """Tell whether a try is to wait for the others who were overtaken too.

    Where many write the same, who only tries again is overtaken again, and somebody loses
    every time.
    """
    return number > 1


async def retry_transaction(attempt: Callable[[int], Awaitable[T]], write: Write) -> T:
    """Run a whole transaction, given the number of the try; raise what ends the last one.

    It is tried again only where the database says that nothing was done. A server that takes no
    writes is asked for once more: the next connection may lead to the one that does.
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
