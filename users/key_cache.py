"""A cache of the keys of texts, for one operation."""

from collections.abc import Callable
from typing import Any, TypeVar

from db.time_slices import pause_if_due

T = TypeVar("T")


class KeyCache:
    """Remembers what functions of texts returned, such as `identity.email_key`.

    A key can take milliseconds, and one variable can be used in many places. An operation has its
    own cache, because the texts are personal data. The limits of an operation bound its size.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Callable[[str], Any], str], Any] = {}

    async def get(self, compute: Callable[[str], T], text: str) -> T:
        """Return `compute(text)`. Other requests can run before a new one is computed."""
        asked = (compute, text)
        if asked not in self._known:
            await pause_if_due()
            if asked not in self._known:  # else another field computed it meanwhile
                self._known[asked] = compute(text)
        known: T = self._known[asked]
        return known
