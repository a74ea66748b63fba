"""The fast path: functions that handle usual values only and raise for all others.

The fast path has no side effects, so the fallback can always start again.

    Exception
    └── FastPathFailed    internal: the fallback handles it
"""

from collections.abc import Callable
from typing import Any

FastPath = Callable[[Any], Any]
Generate = Callable[[Any], FastPath | None]


class FastPathFailed(Exception):
    """The value is unusual and possibly invalid. The fallback decides."""


class LazyFastPath:
    """The generated function of a completer.

    It is generated for the second value. Generation takes longer than completing a value without
    it, and many documents are executed only once.
    """

    __slots__ = ("_is_used", "function", "is_ready")

    def __init__(self) -> None:
        # Attributes instead of one method save a call for every value.
        self.function: FastPath | None = None
        """None before it is generated, or if code cannot complete the values."""
        self.is_ready = False
        self._is_used = False

    def prepare(self, completer: Any, generate: Generate, *, now: bool = False) -> None:
        """Generate the function, for the first value only if `now`. Requires not `is_ready`."""
        if self._is_used or now:
            self.function = generate(completer)
            self.is_ready = True
        self._is_used = True
