"""Transactions that others were in the way of, tried again from the start."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError

from db.errors import is_passing
from users.operations import Overtaken

ATTEMPTS: Final = 20

T = TypeVar("T")


def stands_in_line(number: int) -> bool:
    """Tell whether a try is to wait for the others who were overtaken too.

    Where many write the same, who only tries again is overtaken again, and somebody loses
    every time.
    """
    return number > 1


async def until_done(attempt: Callable[[int], Awaitable[T]]) -> T:
    """Run a whole transaction, given the number of the try; raise what ends the last one."""
    for number in range(1, ATTEMPTS):
        try:
            return await attempt(number)
        except Overtaken:
            pass
        except DBAPIError as error:
            if not is_passing(error):
                raise
    return await attempt(ATTEMPTS)
