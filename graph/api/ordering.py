"""The orders of a list of users: the columns and cursors of `orderBy`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy.orm import InstrumentedAttribute

from db.models import User
from db.pagination import Sort
from graph.api import cursors
from graph.api.types.enums import OrderDirection, UserOrderField, UserStatus

_COLUMNS: dict[UserOrderField, tuple[InstrumentedAttribute[Any], cursors.Decoder]] = {
    UserOrderField.CREATED_AT: (User.created_at, cursors.moment),
    UserOrderField.UPDATED_AT: (User.updated_at, cursors.moment),
    UserOrderField.USERNAME: (User.username_key, cursors.sort_key),
    UserOrderField.EMAIL: (User.email_key, cursors.sort_key),
    UserOrderField.DISPLAY_NAME: (User.display_name_key, cursors.sort_key_or_null),
    UserOrderField.STATUS: (User.status, UserStatus),
}


@dataclass(frozen=True, slots=True)
class Order:
    """A total order: the id breaks ties."""

    name: str
    sorts: Sequence[Sort]
    decoders: Sequence[cursors.Decoder]
    steps: tuple[tuple[str, bool], ...]
    """The columns, and whether each is descending."""
    cursor: Callable[[Any], str]
    """Returns the cursor of a user, or of a row of a listing in this order."""

    def position(self, text: str) -> cursors.Position:
        return cursors.decode(text, self.name, self.decoders)


def order_by(fields: Sequence[tuple[UserOrderField, OrderDirection]]) -> Order:
    """Return the order by these fields, then by the id in the last field's direction.

    Repeated fields are ignored.
    """
    wanted: dict[UserOrderField, OrderDirection] = {}
    for field, direction in fields:
        wanted.setdefault(field, direction)
    return _order(tuple(wanted.items()))


@lru_cache(maxsize=256)
def _order(wanted: tuple[tuple[UserOrderField, OrderDirection], ...]) -> Order:
    sorts = [Sort(_COLUMNS[f][0], direction is OrderDirection.DESC) for f, direction in wanted]
    sorts.append(Sort(User.id, sorts[-1].descending))
    steps = tuple((sort.column.key, sort.descending) for sort in sorts)
    name = ",".join(f"{field} {direction}" for field, direction in wanted)
    return Order(
        name=name,
        sorts=sorts,
        decoders=[*(_COLUMNS[field][1] for field, _ in wanted), cursors.row_id],
        steps=steps,
        cursor=cursors.encoder(name, attrgetter(*(column for column, _ in steps))),
    )


# The order of a list without `orderBy`: the newest users first.
DEFAULT_ORDER = order_by([(UserOrderField.CREATED_AT, OrderDirection.DESC)])

# The order of a search without `orderBy`: by rank, then by id (`db/search.py`).
BY_RANK = Order(
    name="RANK",
    sorts=[],
    decoders=[cursors.rank, cursors.row_id],
    steps=(),
    cursor=cursors.encoder("RANK", attrgetter("rank", "id")),
)
