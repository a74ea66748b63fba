"""Lists that are read page by page, without a server."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import true

from db.filters import UserFilter as Filter
from db.pagination import Window
from db.search import Search
from graph.api.inputs.comparisons import DateTimeFilter, StringFilter
from graph.api.inputs.user_filter import UserFilter, read_filter, read_search
from graph.api.pagination import Page
from graph.api.types.enums import UserStatus
from users.key_cache import KeyCache

ReadPage = Callable[[Window], Awaitable[Page[Any]]]
Position = Callable[[Any], tuple[Any, ...]]


async def collect_ids(
    read: ReadPage,
    position: Position,
    size: int,
    *,
    forwards: bool,
    between: Callable[[], Awaitable[None]] | None = None,
) -> list[int]:
    """Returns the ids of all pages in the order of the list. `between` runs between two pages."""
    pages: list[list[int]] = []
    place = None
    while True:
        window = (
            Window(size, after=place) if forwards else Window(size, before=place, from_end=True)
        )
        page = await read(window)
        more, less = page.has_next, page.has_previous
        if not forwards:
            more, less = less, more
        assert less is (place is not None)
        pages.append([row.id for row in page.rows])
        if not more:
            assert all(len(ids) == size for ids in pages[:-1])
            return [id_ for ids in (pages if forwards else pages[::-1]) for id_ in ids]
        place = position(page.rows[-1 if forwards else 0])
        if between:
            await between()


async def conditions(
    given: dict[str, Any] | None, search: str | None
) -> tuple[Filter, Search | None]:
    """Reads the arguments of `users` for a caller who can read all users."""
    searched = await read_search(search, KeyCache())
    wanted = None if given is None else user_filter(given)
    return await read_filter(wanted, searched, KeyCache(), true()), searched


def user_filter(given: dict[str, Any]) -> UserFilter:
    """Returns the input for a filter in JSON, of the fields that tests of pages use."""
    wanted = UserFilter()
    for name, value in given.items():
        match name:
            case "and":
                wanted.and_ = [user_filter(part) for part in value]
            case "or":
                wanted.or_ = [user_filter(part) for part in value]
            case "not":
                wanted.not_ = user_filter(value)
            case "status":
                wanted.status = [UserStatus(status) for status in value]
            case "isActive":
                wanted.is_active = value
            case "deletedAt":
                wanted.deleted_at = DateTimeFilter(is_null=value["isNull"])
            case _:
                setattr(wanted, _ATTRIBUTES[name], _string_filter(value))
    return wanted


_ATTRIBUTES = {
    "username": "username",
    "email": "email",
    "displayName": "display_name",
    "externalId": "external_id",
    "startsWith": "starts_with",
    "endsWith": "ends_with",
    "isNull": "is_null",
}


def _string_filter(given: dict[str, Any]) -> StringFilter:
    return StringFilter(**{_ATTRIBUTES.get(name, name): value for name, value in given.items()})
