"""The fast path: functions that handle usual values only, and raise for all others.

Nothing in the fast path has an effect, so the fallback can always start again.

    Exception
    └── FastPathFailed    internal: the fallback handles it
"""

from collections.abc import Callable
from typing import Any

FastPath = Callable[[Any], Any]
Generate = Callable[[Any], FastPath | None]


class FastPathFailed(Exception):
    """A value is unusual, and perhaps wrong. The fallback decides."""


class LazyFastPath:
    """The generated function of a completer.

    It is generated for the second value: that takes longer than completing a value without it, and
    many documents are executed once. Attributes instead of one method save a call for every value.
    """

    __slots__ = ("_is_used", "function", "is_ready")

    def __init__(self) -> None:
        self.function: FastPath | None = None
        """None if there is none, and for the first value."""
        self.is_ready = False
        self._is_used = False

    def prepare(self, completer: Any, generate: Generate, *, now: bool = False) -> None:
        """Generate the function unless it `is_ready`, for the first value only if `now`."""
        if self._is_used or now:
            self.function = generate(completer)
            self.is_ready = True
        self._is_used = True
