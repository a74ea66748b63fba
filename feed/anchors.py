"""Anchors: positions in the feed that are valid while their event exists unchanged.

An id alone does not identify an event. After a restore, or a failover that lost commits, the
database assigns the same ids again. An anchor therefore also has a mark: a digest of the feed's
epoch and of the immutable columns of the event. Columns that an erasure redacts are not part of it.
The beginning of the feed is the anchor with the id 0, whose mark is a digest of the epoch alone.

    Exception
    └── InvalidAnchor    the event is missing or a different one
"""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Self

Load = Callable[[Sequence[int]], Awaitable[Sequence[Any]]]  # ids -> events, None for missing ones
LoadEpoch = Callable[[], Awaitable[str]]

_MARK_BYTES: Final = 8


class InvalidAnchor(Exception):
    """The event of an anchor is missing from this history, or is a different one."""


class Anchor(NamedTuple):
    id: int
    mark: str

    @classmethod
    def of(cls, event: Any) -> Self:
        return cls(event.id, mark_of(event))

    @classmethod
    def beginning(cls, epoch: str) -> Self:
        return cls(0, _digest(f"{epoch} 0"))

    @property
    def is_beginning(self) -> bool:
        return self.id == 0

    def matches(self, event: Any | None) -> bool:
        return event is not None and self == Anchor.of(event)


def mark_of(event: Any) -> str:
    """Digest a row with the columns of `db.statements.events.ANCHOR_COLUMNS`."""
    # `isoformat` would take as long as the rest of this function.
    at = event.at.timestamp()
    return _digest(
        f"{event.epoch} {event.id} {event.user_id} {event.type} {at} {event.version_after}"
    )


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=_MARK_BYTES).hexdigest()


async def verify(
    anchors: Sequence[Anchor],
    load: Load,
    load_epoch: LoadEpoch,
    check_primary: Callable[[], Awaitable[None]],
) -> None:
    """Raise InvalidAnchor unless all events exist unchanged.

    If one is missing, `check_primary` raises on a standby, which may not have received it yet.
    """
    if await _all_exist(anchors, load, load_epoch):
        return
    await check_primary()
    if not await _all_exist(anchors, load, load_epoch):
        raise InvalidAnchor


async def _all_exist(anchors: Sequence[Anchor], load: Load, load_epoch: LoadEpoch) -> bool:
    named = [anchor for anchor in anchors if not anchor.is_beginning]
    if len(named) < len(anchors):
        beginning = Anchor.beginning(await load_epoch())
        if any(anchor.is_beginning and anchor != beginning for anchor in anchors):
            return False
    events = await load([anchor.id for anchor in named]) if named else ()
    return all(anchor.matches(event) for anchor, event in zip(named, events, strict=True))
