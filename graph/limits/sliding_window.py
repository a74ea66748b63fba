"""What each caller has used of a rate, counted in this process.

The arithmetic is that of the sliding window counter of `limits`, which reads the rates. Its own
storage walks over every caller that it knows, in a task of its own, at nearly every request: the
more callers there are, the more each request costs.
"""

import time
from collections.abc import Callable
from typing import NamedTuple


class Quota(NamedTuple):
    """Whether a request is admitted, how many more would be, and seconds until more are again."""

    admitted: bool
    left: int
    reset: float


class SlidingWindow:
    """At most `amount` in `seconds`: the window before counts by the share of it that is not over.

    Windows begin for all at once, so that what is kept is two dictionaries, and goes with them.
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
        """Return whether one more request would be admitted."""
        if key not in self._counts and key not in self._before:
            return self._amount > 0
        rest = self._rest()
        before, count = self._before.get(key, 0), self._counts.get(key, 0)
        return int(before * rest / self._seconds + count) < self._amount

    def hit(self, key: str) -> Quota:
        """Count a request if it is within the limit."""
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
        """Change to the current window, and return the seconds that are left of it."""
        window, over = divmod(self._clock(), self._seconds)
        if window != self._window:
            self._before = self._counts if window == self._window + 1 else {}
            self._counts = {}
            self._window = int(window)
        return self._seconds - over
