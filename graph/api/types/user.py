"""The types of a user and of lists of users."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, Final, Self

import strawberry
from strawberry.utils.str_converters import to_camel_case

from db.filters import UserFilter
from db.prepared import PreparedStatement
from db.statements.users import (
    BRIEF,
    BRIEF_USERS_BY_ID,
    USER_COLUMNS,
    USERS_BY_ID,
    users_by_status,
    users_count,
    users_count_at_most,
)
from graph.api import global_ids
from graph.api.context import Context, GraphInfo
from graph.api.errors import ForbiddenError
from graph.api.field_costs import FREE, ONE_READ, PAGE, PER_ROW
from graph.api.history import count_history, history, verify
from graph.api.loaders import Loader
from graph.api.ordering import DEFAULT_ORDER, Order
from graph.api.pagination import (
    After,
    Before,
    CountLimit,
    First,
    Last,
    Page,
    check_count_limit,
    page,
    window,
)
from graph.api.scalars import BigInt
from graph.api.selected_fields import ROW_FIELDS, names_below
from graph.api.types.enums import UserAction, UserEventOrder, UserStatus
from graph.api.types.node import Node, PageInfo
from graph.api.types.record_view import Nested, NestedList, RecordView
from graph.api.types.user_event import (
    EventOrder,
    EventWindow,
    UserEventConnection,
    UserEvents,
    decode_cursor,
)
from graph.compiler import Lookup
from graph.strawberry_adapter import raw_info
from users import policy


@strawberry.type(description="A person or another holder of an account.")
class User(RecordView, Node):
    fields_from = {  # noqa: RUF012 - declared in RecordView
        "id": lambda record: global_ids.encode_user(record.id),
        "database_id": "id",
        **{column.key: column.key for column in USER_COLUMNS if column.key != "id"},
    }

    database_id: BigInt = strawberry.field(
        description="The id in the database, for URLs, logs and joins."
    )
    username: str = strawberry.field(
        description="The unique name of the user, as entered. It is unique regardless of case and "
        "Unicode form among users that are not deleted."
    )
    email: str = strawberry.field(
        description="The e-mail address, as entered. It is unique regardless of case and Unicode "
        "form among users that are not deleted."
    )
    display_name: str | None = strawberry.field(
        description="The name to show for the user, one line of at most 200 characters."
    )
    is_active: bool = strawberry.field(description="True if the status is `ACTIVE`.")
    status: UserStatus = strawberry.field(description="The state of the user in the lifecycle.")
    status_reason: str | None = strawberry.field(
        description="The reason given with the last change of the status."
    )
    status_changed_at: datetime = strawberry.field(
        description="The time of the last change of the status."
    )
    external_id: str | None = strawberry.field(
        description="The key of the user in another system (SCIM, HR, the `sub` of an identity "
        "provider). It is compared exactly and unique among users that are not "
        "deleted. A token of any issuer with this `sub` authenticates as the user."
    )
    version: int = strawberry.field(description="1 after creation, incremented by each change.")
    created_at: datetime = strawberry.field(description="The time of creation.")
    updated_at: datetime = strawberry.field(
        description="The time of the last change. It increases with each version, even if the "
        "server's clock was set back."
    )
    deleted_at: datetime | None = strawberry.field(
        description="The time of the deletion. Null unless the status is `DELETED`."
    )
    erase_after: datetime | None = strawberry.field(
        description="The time from which the next run of `roster erase-due` erases the deleted "
        "user. Null means never."
    )
    erased_at: datetime | None = strawberry.field(
        description="The time of the erasure, which replaced all texts by placeholders. Null "
        "unless the user was erased."
    )

    @strawberry.field(metadata=FREE, description="True if this is the user who sends the request.")
    def is_viewer(self, info: GraphInfo) -> bool:
        return policy.is_self(info.context.caller, self.record.id)

    @strawberry.field(
        metadata=FREE,
        description="The actions that the caller may do and that would change this user: what to "
        "offer in a user interface.",
    )
    def viewer_can(self, info: GraphInfo) -> list[UserAction]:
        erased = self.erased_at is not None
        return policy.available_actions(
            info.context.caller, self.record.id, self.status, erased=erased
        )

    @strawberry.field(
        metadata=PAGE,
        description="The events of this user, earliest first by default. The list ends at the "
        "watermark of the change feed, so that a subscription can continue from any cursor. The "
        "error is `FORBIDDEN` unless `viewerCan` contains `VIEW_HISTORY`.",
    )
    async def history(
        self,
        info: GraphInfo,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        order_by: EventOrder = UserEventOrder.OLDEST_FIRST,
    ) -> UserEventConnection | None:
        if not policy.can_read_history(info.context.caller, self.record.id):
            raise ForbiddenError("You may not read this user's history.")
        context, user_id = info.context, self.record.id
        context.session.read_primary()
        asked = EventWindow.of(window(first, after, last, before, decode_cursor), order_by)
        rows: Sequence[Any] = ()
        if names_below(raw_info(info)) & ROW_FIELDS:
            rows = await history(context, asked.window).load(user_id)
        await verify(context, asked.anchors)
        found = asked.arrange(page(rows, asked.window))
        return UserEventConnection.of(UserEvents(found, partial(count_history, context, user_id)))

    @classmethod
    def find(
        cls, context: Context, user_id: int, fields: frozenset[str] | None = None
    ) -> Lookup[int, Self | None] | None:
        """Return the lookup of a user, or None if the caller may not read the user.

        The lookup reads fewer columns if `fields` need no others.
        """
        if not policy.can_read(context.caller, user_id):
            return None
        lookup = USERS_BY_ID if fields is None else lookup_of(fields)
        loader = Loader(context.session, lookup)
        return Lookup(loader, user_id, cls.of_found)


# The columns that each field of the schema reads. The id is always read.
_COLUMNS: Final[Mapping[str, Collection[str]]] = {
    **{to_camel_case(n): {r} for n, r in User.fields_from.items() if isinstance(r, str)},
    "viewerCan": {"status", "erased_at"},
}


@lru_cache(maxsize=256)
def columns_of(fields: frozenset[str]) -> frozenset[str]:
    # Names of other types' fields are ignored.
    return frozenset(column for field in fields for column in _COLUMNS.get(field, ()))


@lru_cache(maxsize=256)
def lookup_of(fields: frozenset[str]) -> PreparedStatement:
    """Return the lookup of users by id that reads the columns of these fields."""
    return BRIEF_USERS_BY_ID if columns_of(fields) <= BRIEF else USERS_BY_ID


@strawberry.type(description="A user in a list, with the cursor of this position.")
class UserEdge(RecordView):
    """The record is a tuple of a user's record and the order of the list."""

    fields_from = {  # noqa: RUF012 - declared in RecordView
        "cursor": lambda place: place[1].cursor(place[0]),
        "node": Nested(User, itemgetter(0)),
    }

    cursor: str = strawberry.field(
        description="The position of the user in this order, for `after` and `before`."
    )
    node: User = strawberry.field(description="The user of this edge, as they are now.")

    @classmethod
    def find(cls, context: Context, user_id: int) -> Lookup[int, Self | None] | None:
        """Return the lookup of a user's edge in the default order, like `User.find`."""
        if not policy.can_read(context.caller, user_id):
            return None
        loader = Loader(context.session, USERS_BY_ID)
        return Lookup(loader, user_id, cls._in_default_order)

    @classmethod
    def _in_default_order(cls, row: Any | None) -> Self | None:
        return None if row is None else cls.of((row, DEFAULT_ORDER))


@strawberry.type(description="The number of users in one status.")
class UserStatusCount:
    status: UserStatus = strawberry.field(description="The status that is counted.")
    count: int = strawberry.field(description="The number of users in this status.")


@dataclass(frozen=True, slots=True)
class Users:
    """A page of users, with the order and the filter of the list.

    `follow_from` is None unless it is selected and the caller may follow the feed.
    """

    page: Page[Any]
    order: Order
    filter: UserFilter
    follow_from: str | None = None


@strawberry.type(description="A page of a list of users.")
class UserConnection(RecordView):
    fields_from = {  # noqa: RUF012 - declared in RecordView
        "edges": NestedList(
            UserEdge, lambda users: [(row, users.order) for row in users.page.rows]
        ),
        "nodes": NestedList(User, lambda users: users.page.rows),
        "page_info": Nested(PageInfo, lambda users: (users.page, users.order.cursor)),
        "follow_from": "follow_from",
    }

    edges: list[UserEdge] = strawberry.field(
        metadata=PER_ROW, description="The users of the page with their cursors."
    )
    nodes: list[User] = strawberry.field(
        metadata=PER_ROW, description="The users of the page without cursors."
    )
    page_info: PageInfo = strawberry.field(
        description="Whether the list continues on either side of this page."
    )
    follow_from: str | None = strawberry.field(
        metadata=ONE_READ,
        description="A cursor of the change feed that was read before this page: the subscription "
        "`userEvents` with this `after` delivers every change that the page does not have. Of "
        "several pages, use that of the page that was read first. Null if the caller may not "
        "follow the feed.",
    )

    @strawberry.field(
        metadata=ONE_READ,
        description="The number of users in the whole list. Counting takes longer the more there "
        "are; prefer `countAtMost` for large directories.",
    )
    async def total_count(self, info: GraphInfo) -> int | None:
        return await info.context.session.scalar(users_count(self.record.filter.where()))

    @strawberry.field(
        metadata=ONE_READ,
        description="The number of users in the whole list, counted up to a limit: for labels "
        "such as 1000+.",
    )
    async def count_at_most(
        self,
        info: GraphInfo,
        limit: CountLimit = 1000,
    ) -> int | None:
        check_count_limit(limit)
        counting = users_count_at_most(self.record.filter.where(), limit)
        return await info.context.session.scalar(counting)

    @strawberry.field(
        metadata=ONE_READ,
        description="The number of users in each status, for labels of tabs. Each count is the "
        "`totalCount` of this list with only that status in the filter's own `status`, so deleted "
        "users are counted too. A `status` in a nested filter stays a condition.",
    )
    async def status_counts(self, info: GraphInfo) -> list[UserStatusCount] | None:
        counting = users_by_status(self.record.filter.where_in_any_status())
        rows = await info.context.session.execute(counting)
        counts = {row.status: row.users for row in rows}
        return [UserStatusCount(status=s, count=counts.get(s, 0)) for s in UserStatus]
