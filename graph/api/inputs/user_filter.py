"""The filter of a list of users: a tree of conditions, bounded in depth and size."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import strawberry
from sqlalchemy import and_, false, not_, or_, true

from db.filters import Condition, one_of
from db.filters import UserFilter as Filter
from db.models import User
from db.search import Search
from db.time_slices import pause_if_due
from graph.api.errors import InputError
from graph.api.inputs.bounds import MAX_LIST, check_length, check_text, storable
from graph.api.inputs.comparisons import DateTimeFilter, StringFilter
from graph.api.inputs.user_lookup import read_user_id
from graph.api.scalars import BigInt
from graph.api.types.enums import UserStatus
from users.identity import email_key, part_keys, username_key
from users.key_cache import KeyCache
from users.text import fold

MAX_DEPTH = 4
MAX_LEAVES = 50
MAX_LEVELS = 100
MAX_SEARCH = 200
MAX_WORDS = 8


@strawberry.input(
    description="Conditions for users. All given conditions must be true; null is the same as "
    f"absent, and an empty list of values matches no user. At most {MAX_LIST} values in a list, "
    f"{MAX_DEPTH} levels, {MAX_LEVELS} nested filters and {MAX_LEAVES} comparisons."
)
class UserFilter:
    id: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Users with these global ids."
    )
    database_id: list[BigInt] | None = strawberry.field(
        default=None, description="Users with these ids in the database."
    )
    status: list[UserStatus] | None = strawberry.field(
        default=None,
        description="Users in these statuses. Deleted users are listed only if the filter has a "
        "condition on `status`, `deletedAt`, `eraseAfter` or `erasedAt`.",
    )
    is_active: bool | None = strawberry.field(
        default=None, description="True if the status is `ACTIVE`."
    )
    username: StringFilter | None = strawberry.field(
        default=None, description="A condition for the username."
    )
    email: StringFilter | None = strawberry.field(
        default=None, description="A condition for the e-mail address."
    )
    display_name: StringFilter | None = strawberry.field(
        default=None, description="A condition for the display name."
    )
    external_id: StringFilter | None = strawberry.field(
        default=None, description="A condition for the key in another system."
    )
    created_at: DateTimeFilter | None = strawberry.field(
        default=None, description="A time range for the creation."
    )
    updated_at: DateTimeFilter | None = strawberry.field(
        default=None, description="A time range for the last change."
    )
    status_changed_at: DateTimeFilter | None = strawberry.field(
        default=None, description="A time range for the last change of the status."
    )
    deleted_at: DateTimeFilter | None = strawberry.field(
        default=None,
        description="A time range for the deletion. Deleted users are listed also without "
        "`status`.",
    )
    erase_after: DateTimeFilter | None = strawberry.field(
        default=None,
        description="A time range for the scheduled erasure. Deleted users are listed also without "
        "`status`.",
    )
    erased_at: DateTimeFilter | None = strawberry.field(
        default=None,
        description="A time range for the erasure. Deleted users are listed also without `status`.",
    )
    and_: list["UserFilter"] | None = strawberry.field(
        name="and", default=None, description="All of these filters match."
    )
    or_: list["UserFilter"] | None = strawberry.field(
        name="or",
        default=None,
        description="At least one of these filters matches. An empty list matches no user.",
    )
    not_: "UserFilter | None" = strawberry.field(
        name="not", default=None, description="This filter does not match."
    )

    async def leaves(self, keys: KeyCache | None) -> AsyncIterator[Condition]:
        """Yield the conditions of this level, except `status`, `and`, `or` and `not`."""
        check_length("id", self.id)
        check_length("databaseId", self.database_id)
        if self.id is not None:
            yield one_of(User.id, [read_user_id(text) for text in self.id])
        if self.database_id is not None:
            yield one_of(User.id, self.database_id)
        if self.is_active is not None:
            yield User.is_active == self.is_active
        for name, text, searched, key in (
            ("username", self.username, User.username_key, username_key),
            ("email", self.email, User.email_key, email_key),
            ("displayName", self.display_name, User.display_name_key, fold),
            ("externalId", self.external_id, User.external_id_key, fold),
        ):
            if text is not None:
                async for condition in text.read(name, searched, key, keys):
                    yield condition
        for moment, column in (
            (self.created_at, User.created_at),
            (self.updated_at, User.updated_at),
            (self.status_changed_at, User.status_changed_at),
            (self.deleted_at, User.deleted_at),
            (self.erase_after, User.erase_after),
            (self.erased_at, User.erased_at),
        ):
            if moment is not None:
                for condition in moment.read(column):
                    yield condition

    def of_deletion(self) -> list[DateTimeFilter]:
        """Return the conditions on values that only deleted users have."""
        moments = (self.deleted_at, self.erase_after, self.erased_at)
        return [moment for moment in moments if moment is not None and not moment.is_empty]


@dataclass(slots=True)
class _Reading:
    """The state of reading a filter. A filter that exceeds a limit is rejected early."""

    keys: KeyCache | None
    levels: int = 0
    leaves: int = 0
    names_status: bool = False

    async def conditions(self, level: UserFilter, depth: int = 1) -> list[Condition]:
        """Return the conditions of a level and of its nested filters, except its own `status`."""
        self.levels += 1
        if depth > MAX_DEPTH:
            raise InputError(f"The filter is more than {MAX_DEPTH} levels deep.")
        if self.levels > MAX_LEVELS:
            raise InputError(f"The filter combines more than {MAX_LEVELS} filters.")
        check_length("status", level.status)
        leaves = [condition async for condition in level.leaves(self.keys)]
        self.leaves += len(leaves) + (level.status is not None)
        if self.leaves > MAX_LEAVES:
            raise InputError(f"The filter has more than {MAX_LEAVES} comparisons.")
        self.names_status |= level.status is not None or bool(level.of_deletion())
        await pause_if_due()
        return [*leaves, *[condition async for condition in self.combined(level, depth + 1)]]

    async def combined(self, level: UserFilter, depth: int) -> AsyncIterator[Condition]:
        """Yield the conditions of a level's nested filters."""
        check_length("and", level.and_)
        check_length("or", level.or_)
        if level.and_ is not None:
            yield and_(true(), *[await self.condition(part, depth) for part in level.and_])
        if level.or_ is not None:
            yield or_(false(), *[await self.condition(part, depth) for part in level.or_])
        if level.not_ is not None:
            yield not_(await self.condition(level.not_, depth))

    async def condition(self, level: UserFilter, depth: int) -> Condition:
        status = [] if level.status is None else [one_of(User.status, level.status)]
        return and_(true(), *status, *await self.conditions(level, depth))


async def read_filter(
    given: UserFilter | None, search: Search | None, keys: KeyCache | None, readable: Condition
) -> Filter:
    """Return the filter for the database. Raises InputError if it exceeds a limit.

    `keys` is None for a caller who cannot read any user. Then no key of a text is computed.
    """
    wanted = None if search is None else search.matches()
    if given is None:
        return Filter(search=wanted, readable=readable)
    reading = _Reading(keys)
    conditions = await reading.conditions(given)
    statuses = _statuses(given, names_status=reading.names_status)
    return Filter(conditions, statuses, reading.names_status, wanted, readable)


def _statuses(given: UserFilter, *, names_status: bool) -> Sequence[UserStatus] | None:
    # The statuses in which users can match, for the index on status and order.
    deleted_only = any(moment.needs_a_time for moment in given.of_deletion())
    if given.is_active is None and not deleted_only:
        return given.status
    listed = [s for s in UserStatus if names_status or s is not UserStatus.DELETED]
    allowed = listed if given.status is None else given.status
    return [
        s
        for s in allowed
        if (given.is_active is None or (s is UserStatus.ACTIVE) is given.is_active)
        and (s is UserStatus.DELETED or not deleted_only)
    ]


def is_blank(text: str | None) -> bool:
    return text is None or not text.strip()


async def read_search(text: str | None, keys: KeyCache | None) -> Search | None:
    """Return the search for a text; None if it is blank, or without `keys`.

    Raises InputError if it exceeds a limit.
    """
    if text is None or is_blank(text):
        return None
    check_text("search", text, MAX_SEARCH)
    if not storable(text):
        raise InputError("`search` has a character that no text can have.")
    words = text.split()
    if len(words) > MAX_WORDS:
        raise InputError(f"`search` has {len(words)} words; it can have {MAX_WORDS}.")
    if keys is None:
        return None
    forms = [await keys.get(part_keys, word) for word in dict.fromkeys(words)]
    return Search(forms, await keys.get(part_keys, " ".join(words)))
