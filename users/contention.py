"""Transactions that others were in the way of, tried again from the start."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError

from db.engine import is_passing
from users.operations import Overtaken

ATTEMPTS: Final = 20
_AT_ONCE: Final = 3  # tries before there is a pause between two
_PAUSE_SECONDS: Final = 0.02

T = TypeVar("T")


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
        if number >= _AT_ONCE:
            # At random, so that those who met do not meet again.
            await asyncio.sleep(random.random() * _PAUSE_SECONDS)  # noqa: S311 - no secret
    return await attempt(ATTEMPTS)
