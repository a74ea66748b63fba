"""All personal data of a user as one document (GDPR, articles 15 and 20).

It has the names and formats of the schema, and includes every stored field of the schema.
"""

from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Row, Select
from strawberry.types import get_object_definition, has_object_definition
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from db.session import Session
from db.statements.events import actions_after, history_after
from db.time_slices import pause_if_due
from graph.api.context import Context
from graph.api.history import settled_until
from graph.api.scalars import SCALARS, Json
from graph.api.types.user import User
from graph.api.types.user_event import UserEvent
from graph.protocol.json import dumps
from users.former_ids import external_ids_of, unreleased

# A field's name, a function that reads it, and one that converts its value.
_Field = tuple[str, Callable[[Any], Any], Callable[[Any], Any]]

_PAGE: Final = 200  # events per statement; a user can have any number of them
_TOLD_OF_ACTIONS: Final = ("id", "type", "at", "userId")


async def document(context: Context, user: Row[Any], page_size: int = _PAGE) -> Json:
    """Return a user, the user's history, and the user's actions on others without their changes.

    Each event is serialised separately. An event above the watermark has no cursor yet: a client
    that continues from it would miss lower events that are still to be committed.
    """
    settled = await settled_until(context.feed)

    def happened(event: UserEvent) -> Any:
        told: dict[str, Any] = _plain(event)
        return told if event.record.id <= settled else told | {"cursor": None}

    external_ids: set[str] = set()
    history: list[bytes] = []
    async for events in _pages(context.session, partial(history_after, user.id), page_size):
        external_ids |= external_ids_of(user, [event.changes for event in events])
        history += await _written(events, happened)
    subjects = await unreleased(context.session, user.id, external_ids) if external_ids else set()
    actions: list[bytes] = []
    acted = partial(actions_after, user.id, subjects)
    async for events in _pages(context.session, acted, page_size):
        actions += await _written(events, _action)
    return Json({"user": _plain(User.of(user)), "history": history, "actions": actions})


async def _pages(
    session: Session, after: Callable[[int, int], Select[Any]], size: int
) -> AsyncIterator[Sequence[Row[Any]]]:
    rows: Sequence[Row[Any]] = (await session.execute(after(0, size))).all()
    while rows:
        yield rows
        rows = (await session.execute(after(rows[-1].id, size))).all()


async def _written(events: Sequence[Row[Any]], tell: Callable[[UserEvent], Any]) -> list[bytes]:
    written = []
    for event in events:
        await pause_if_due()
        written.append(dumps(tell(UserEvent.of(event))))
    return written


def _action(event: UserEvent) -> Any:
    told = _plain(event)
    return {name: told[name] for name in _TOLD_OF_ACTIONS}


def _plain(value: Any) -> Any:
    """Return objects of the schema as JSON values, without the fields that have a resolver."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return {name: tell(read(value)) for name, read, tell in _held(value.__class__)}


@lru_cache
def _held(type_: Hashable) -> Sequence[_Field]:
    return tuple(_fields(type_))


def _fields(type_: Any) -> Iterator[_Field]:
    for field in get_object_definition(type_, strict=True).fields:
        if field.base_resolver is None:
            name = field.python_name
            yield to_camel_case(name), attrgetter(name), _writer(field)


def _writer(field: StrawberryField) -> Callable[[Any], Any]:
    type_: Any = field.type
    while isinstance(type_, StrawberryOptional | StrawberryList):
        type_ = type_.of_type
    if has_object_definition(type_):
        return _plain
    scalar = next((own for kind, own in SCALARS.items() if kind is type_), None)
    serialize = None if scalar is None else scalar.serialize
    if serialize is None:
        return _as_it_is
    return lambda value: None if value is None else serialize(value)


def _as_it_is(value: Any) -> Any:
    return value
