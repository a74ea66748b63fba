"""The filter of a list of users: a tree of conditions, bounded in depth and size."""

from collections.abc import Iterator

import strawberry
from sqlalchemy import and_, not_, or_, true

from db.filters import Condition, one_of
from db.filters import UserFilter as Filter
from db.models import User, UserStatus
from graph.errors import InputError
from graph.inputs.comparisons import DateTimeFilter, StringFilter
from graph.inputs.lists import MAX_LIST, check_length, storable
from graph.inputs.users import user_id
from graph.scalars import BigInt
from users.identity import email_key, fold, username_key

MAX_DEPTH = 4
MAX_LEAVES = 50
MAX_SEARCH = 200


@strawberry.input(
    description="What the listed users have to be; all that is given has to hold. Deleted users "
    "are listed only where some `status` is asked for. Null and absent both ask nothing; an empty "
    f"list of values matches nobody. A list has at most {MAX_LIST} values, a filter at most "
    f"{MAX_DEPTH} levels and {MAX_LEAVES} comparisons."
)
class UserFilter:
    id: list[strawberry.ID] | None = strawberry.field(default=None, description="One of these ids.")
    database_id: list[BigInt] | None = strawberry.field(
        default=None, description="One of these ids in the database."
    )
    status: list[UserStatus] | None = strawberry.field(
        default=None, description="One of these statuses."
    )
    is_active: bool | None = strawberry.field(
        default=None, description="Whether the status is `ACTIVE`."
    )
    username: StringFilter | None = strawberry.field(default=None, description="The username.")
    email: StringFilter | None = strawberry.field(default=None, description="The e-mail address.")
    external_id: StringFilter | None = strawberry.field(
        default=None, description="Another system's key."
    )
    created_at: DateTimeFilter | None = strawberry.field(
        default=None, description="When the user was added."
    )
    updated_at: DateTimeFilter | None = strawberry.field(
        default=None, description="When the user was last changed."
    )
    status_changed_at: DateTimeFilter | None = strawberry.field(
        default=None, description="Since when the user has their status."
    )
    and_: list["UserFilter"] | None = strawberry.field(
        name="and", default=None, description="All of these hold."
    )
    or_: list["UserFilter"] | None = strawberry.field(
        name="or", default=None, description="At least one of these holds; of none, none does."
    )
    not_: "UserFilter | None" = strawberry.field(
        name="not", default=None, description="This doesn't hold."
    )

    def below(self) -> list["UserFilter"]:
        check_length("and", self.and_)
        check_length("or", self.or_)
        return [*(self.and_ or ()), *(self.or_ or ()), *([self.not_] if self.not_ else ())]

    def leaves(self) -> Iterator[Condition]:
        """Give the conditions of this level, less its status and what it combines."""
        check_length("id", self.id)
        check_length("databaseId", self.database_id)
        if self.id is not None:
            yield one_of(User.id, [user_id(text) for text in self.id])
        if self.database_id is not None:
            yield one_of(User.id, self.database_id)
        if self.is_active is not None:
            yield User.is_active == self.is_active
        if self.username is not None:
            yield from self.username.read("username", User.username_key, username_key)
        if self.email is not None:
            yield from self.email.read("email", User.email_key, email_key)
        if self.external_id is not None:
            yield from self.external_id.read("externalId", User.external_id_key, fold)
        for moment, column in (
            (self.created_at, User.created_at),
            (self.updated_at, User.updated_at),
            (self.status_changed_at, User.status_changed_at),
        ):
            if moment is not None:
                yield from moment.read(column)

    def combined(self) -> Iterator[Condition]:
        """Give what this level combines of the levels below."""
        if self.and_ is not None:
            yield and_(true(), *(part.condition() for part in self.and_))
        if self.or_ is not None:
            yield or_(one_of(User.id, []), *(part.condition() for part in self.or_))
        if self.not_ is not None:
            yield not_(self.not_.condition())

    def condition(self) -> Condition:
        status = [] if self.status is None else [one_of(User.status, self.status)]
        return and_(true(), *status, *self.leaves(), *self.combined())


def read_filter(given: UserFilter | None, search: str | None) -> Filter:
    """Turn it into what the database is asked; raise InputError for what cannot be meant."""
    wanted = _read_search(search)
    if given is None:
        return Filter(search=wanted)
    levels = list(_levels(given))
    size = sum(len(list(level.leaves())) + (level.status is not None) for level in levels)
    if size > MAX_LEAVES:
        raise InputError(f"The filter has {size} comparisons; it can have {MAX_LEAVES}.")
    for level in levels:
        check_length("status", level.status)
    return Filter(
        conditions=[*given.leaves(), *given.combined()],
        statuses=given.status,
        names_status=any(level.status is not None for level in levels),
        search=wanted,
    )


def _levels(given: UserFilter, depth: int = 1) -> Iterator[UserFilter]:
    if depth > MAX_DEPTH:
        raise InputError(f"The filter is more than {MAX_DEPTH} levels deep.")
    yield given
    for part in given.below():
        yield from _levels(part, depth + 1)


def _read_search(text: str | None) -> str | None:
    """Give what is searched for; nothing is where a search box is empty."""
    if text is None or not text.strip():
        return None
    if len(text) > MAX_SEARCH:
        raise InputError(f"`search` has {len(text)} characters; it can have {MAX_SEARCH}.")
    if not storable(text):
        raise InputError("`search` has a character that no text can have.")
    return fold(text.strip())
