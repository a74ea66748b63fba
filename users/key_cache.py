"""A cache for the lookup keys of texts, used by one operation."""

from collections.abc import Callable
from typing import Any, TypeVar

from db.time_slices import pause_if_due

T = TypeVar("T")


class KeyCache:
    """Caches the results of functions of texts, such as `identity.email_key`.

    A key can take milliseconds, and many fields can use the same variable. The cache belongs to one
    operation, because the texts are personal data. The limits of an operation bound its size.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Callable[[str], Any], str], Any] = {}

    async def get(self, compute: Callable[[str], T], text: str) -> T:
        """Return `compute(text)`. May let other requests run before computing it."""
        asked = (compute, text)
        if asked not in self._known:
            await pause_if_due()
            if asked not in self._known:  # another field may have computed it during the pause
                self._known[asked] = compute(text)
        known: T = self._known[asked]
        return known
