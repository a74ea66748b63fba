"""What happened to a user between the expected version of a conflict and the current one."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from strawberry.dataloader import DataLoader

from db.models import Change
from db.statements.conflicts import Span, ends_of
from graph.api.context import Context
from users.recorder import RECORDED_FIELDS


def events_since(context: Context) -> DataLoader[Span, Sequence[Any]]:
    """Return a dataloader of the events that decide what changed, in order of their versions."""
    # Cached: the author and the changes of a conflict need the same events.
    return context.dataloader(events_since, partial(_load, context), cache=True)


async def _load(context: Context, spans: list[Span]) -> list[Sequence[Any]]:
    events: dict[Span, list[Any]] = {span: [] for span in spans}
    for row in await context.session.execute(ends_of(spans)):
        events[row.user_id, row.since, row.until].append(row)
    return list(events.values())


def net_changes(events: Sequence[Any], since: int) -> list[Change]:
    """Return one change for each field whose value differs, or was erased."""
    changes: dict[str, Change] = {}
    for event in events:
        for change in event.changes if event.version_after > since else ():
            first = changes.get(change["field"], change)
            changes[change["field"]] = _joined(first, change)
    found = [changes[name] for name in RECORDED_FIELDS.values() if name in changes]
    return [c for c in found if c.get("redacted") or c["before"] != c["after"]]


def _joined(first: Change, last: Change) -> Change:
    if first.get("redacted") or last.get("redacted"):
        return Change(field=last["field"], before=None, after=None, redacted=True)
    return Change(field=last["field"], before=first["before"], after=last["after"])
