"""Sliding-window rate limits, counted in this process.

The algorithm is the sliding window counter of the library `limits`, which parses the rates. Its
storage is not used: at nearly every request, a task iterates over all known callers. The cost of a
request would grow with the number of callers.
"""

import time
from collections.abc import Callable
from typing import NamedTuple


class Quota(NamedTuple):
    """`left` requests are allowed now. `reset` is the time until more are, in seconds."""

    admitted: bool
    left: int
    reset: float


class SlidingWindow:
    """At most `amount` requests in `seconds`, per key.

    The previous window counts in proportion to its remaining share. All keys have the same windows,
    so the state is two dictionaries, and old ones are dropped as a whole.
    """

    def __init__(
        self, amount: int, seconds: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._amount = amount
        self._seconds = seconds
        self._clock = clock
        self._window = 0
        self._before: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def has_room(self, key: str) -> bool:
        """Return whether another request would be admitted. Counts nothing."""
        if key not in self._counts and key not in self._before:
            return self._amount > 0
        rest = self._rest()
        before, count = self._before.get(key, 0), self._counts.get(key, 0)
        return int(before * rest / self._seconds + count) < self._amount

    def hit(self, key: str) -> Quota:
        rest = self._rest()
        before, count = self._before.get(key, 0), self._counts.get(key, 0)
        used = int(before * rest / self._seconds + count)
        admitted = used < self._amount
        if admitted:
            self._counts[key] = count = count + 1
            used += 1
        reset = rest % self._seconds if count else 0
        if before:
            until_less = rest % (self._seconds / before)
            reset = min(reset, until_less) if count else until_less
        return Quota(admitted, max(0, self._amount - used), reset)

    def _rest(self) -> float:
        """Switch to the current window. Returns the seconds that remain in it."""
        window, over = divmod(self._clock(), self._seconds)
        if window != self._window:
            self._before = self._counts if window == self._window + 1 else {}
            self._counts = {}
            self._window = int(window)
        return self._seconds - over
