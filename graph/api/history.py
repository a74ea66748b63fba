"""Common parts of event lists: their end, and the verification of cursors."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from strawberry.dataloader import DataLoader

from db.filters import EventFilter
from db.pagination import Window
from db.session import Session
from db.statements.events import CURRENT_EPOCH, EVENTS_BY_ID, events_count_at_most
from db.statements.histories import HISTORY_LENGTHS, histories
from feed import anchors
from feed.anchors import Anchor, InvalidAnchor
from feed.feed import Feed
from graph.api.context import Context
from graph.api.errors import UnknownCursorError

MAX_EVENT_ID: Final = 2**63 - 1


async def settled_until(feed: Feed) -> int:
    """Return the watermark: the highest id that lists of events include.

    Events above the watermark may be visible, but a lower one may still be committed. A client that
    continues from a cursor above the watermark would miss that one.
    """
    settled = await feed.watermark()
    return MAX_EVENT_ID if settled is None else settled


async def verify(context: Context, given: Sequence[Anchor]) -> None:
    """Raise UnknownCursorError unless the events of all cursors exist unchanged.

    Call this after reading the page: an event that exists then also existed before. In the opposite
    order, a restore between the two could go unnoticed.
    """
    if not given:
        return
    session = context.session
    load, load_epoch = partial(session.load, EVENTS_BY_ID), partial(_load_epoch, session)
    try:
        await anchors.verify(given, load, load_epoch, session.check_primary)
    except InvalidAnchor:
        raise UnknownCursorError from None


async def _load_epoch(session: Session) -> str:
    [row] = await session.fetch(CURRENT_EPOCH)
    epoch: str = row.epoch
    return epoch


def history(context: Context, window: Window) -> DataLoader[int, Sequence[Any]]:
    """Return a dataloader that reads the same window of the history of each user."""
    return context.dataloader(window, partial(_load_histories, context, window))


async def _load_histories(
    context: Context, window: Window, user_ids: list[int]
) -> list[Sequence[Any]]:
    by_user: dict[int, list[Any]] = {user_id: [] for user_id in user_ids}
    prepared = histories(
        after=window.after is not None, before=window.before is not None, from_end=window.from_end
    )
    until = await settled_until(context.feed)
    given = window.given() | {"user_ids": list(by_user), "until": until}
    for row in await context.session.fetch(prepared, **given):
        if row.id is not None:
            by_user[row.user_id].append(row)
    return [by_user[user_id] for user_id in user_ids]


async def count_events(context: Context, wanted: EventFilter, until: int | None, limit: int) -> int:
    """Count a list of events, up to a limit."""
    found = await context.session.scalar(events_count_at_most(wanted, until, limit))
    return found or 0


async def count_history(context: Context, user_id: int, limit: int) -> int:
    """Count the history of a user, up to a limit. One statement for all users of a page."""
    lengths = context.dataloader(count_history, partial(_load_lengths, context))
    return min(await lengths.load(user_id), limit)


async def _load_lengths(context: Context, user_ids: list[int]) -> list[int]:
    until = await settled_until(context.feed)
    rows = await context.session.fetch(HISTORY_LENGTHS, user_ids=user_ids, until=until)
    lengths = {row.user_id: row.events or 0 for row in rows}
    return [lengths.get(user_id, 0) for user_id in user_ids]
