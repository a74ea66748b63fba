"""Positions in the log of a primary, and their text for clients."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_TEXT: Final = re.compile(r"([0-9a-f]{8}-[0-9a-f]{16})-([0-9a-f]{16})")


class Position(NamedTuple):
    """A position in the log (LSN) of one term: a period with the same primary.

    Positions of different terms cannot be compared: a standby that was promoted continues with
    positions that its former primary may have used for other writes.
    """

    term: str
    lsn: int

    def __str__(self) -> str:
        # Of fixed length: clients compare positions as strings. The text of a later term is
        # greater, because a term begins with its number.
        return self.term if self is PRIMARY else f"{self.term}-{self.lsn:016x}"

    def has_reached(self, wanted: "Position") -> bool:
        return self.term == wanted.term and self.lsn >= wanted.lsn


PRIMARY: Final = Position("primary", 0)
"""No replica reaches it: only the primary is certain to have what was seen."""


def parse_position(text: str) -> Position | None:
    """Parse what a client sends: positions, separated by commas. None if there is none.

    A text that cannot be read means the primary. It may be of a newer version.
    """
    return latest(_parse(part.strip()) for part in text.split(","))


def _parse(text: str) -> Position | None:
    if not text:
        return None
    found = _TEXT.fullmatch(text)
    return Position(found[1], int(found[2], 16)) if found else PRIMARY


def latest(positions: Iterable[Position | None]) -> Position | None:
    """Return the position that includes all of them, or PRIMARY if they cannot be compared."""
    found: Position | None = None
    for position in positions:
        if position is None or found is PRIMARY:
            continue
        if found is None or position is PRIMARY:
            found = position
        elif position.term != found.term:
            found = PRIMARY
        elif position.lsn > found.lsn:
            found = position
    return found
