"""The queries."""

from functools import partial
from typing import Annotated, Any, cast

import strawberry

from db.filters import EventFilter
from db.filters import UserFilter as Filter
from db.pagination import Window
from db.search import RankedListing
from db.statements.events import events_listing
from db.statements.users import (
    USERS_BY_EMAIL,
    USERS_BY_EXTERNAL_ID,
    USERS_BY_ID,
    USERS_BY_USERNAME,
    everybody,
    user_columns,
    users_listing,
)
from graph.api.context import Context, GraphInfo
from graph.api.data_export import document
from graph.api.errors import ForbiddenError
from graph.api.field_costs import DOCUMENT, PAGE, ROOT_FIELD, ids
from graph.api.history import count_events, verify
from graph.api.inputs.bounds import MAX_LIST, check_length
from graph.api.inputs.user_events import UserEventFilter
from graph.api.inputs.user_filter import (
    MAX_SEARCH,
    MAX_WORDS,
    UserFilter,
    is_blank,
    read_filter,
    read_search,
)
from graph.api.inputs.user_lookup import (
    UserBy,
    UserOrder,
    read_order,
    read_user_id,
)
from graph.api.loaders import Loader
from graph.api.nodes import find_node, find_nodes
from graph.api.ordering import BY_RANK, Order
from graph.api.pagination import (
    After,
    Before,
    First,
    Last,
    Page,
    page,
    read_page,
    read_ranked_page,
    window,
)
from graph.api.scalars import Json
from graph.api.selected_fields import ROW_FIELDS, names_below, selects
from graph.api.types.enums import Scope, UserEventOrder
from graph.api.types.field_rule import FieldRule, field_rules
from graph.api.types.node import Node
from graph.api.types.user import User, UserConnection, Users, columns_of
from graph.api.types.user_event import (
    EventOrder,
    EventWindow,
    UserEventConnection,
    UserEvents,
    decode_cursor,
    encode_anchor,
)
from graph.compiler import Lookup
from graph.strawberry_adapter import raw_info
from users import policy
from users.identity import email_key, external_id_key, username_key


@strawberry.type(
    description="All reads. A user who does not exist, or whom the caller may not read, is null. "
    "An id that is not valid in this directory is a top-level error `INVALID_ID` in "
    "queries, and a `UserError` with the code `INVALID_FORMAT` in mutations."
)
class Query:
    @strawberry.field(metadata=ROOT_FIELD, description="Returns the object with this id, or null.")
    async def node(
        self,
        info: GraphInfo,
        id: Annotated[
            strawberry.ID, strawberry.argument(description="The global id of the object.")
        ],
    ) -> Node | None:
        return await find_node(info.context, id)

    @strawberry.field(
        metadata=ids("ids", MAX_LIST),
        description="Objects by their ids, in the order asked for; null where there is none. At "
        f"most {MAX_LIST}.",
    )
    async def nodes(
        self,
        info: GraphInfo,
        ids: Annotated[
            list[strawberry.ID],
            strawberry.argument(description="The global ids of the objects, at most 100."),
        ],
    ) -> list[Node | None]:
        check_length("ids", ids)
        return await find_nodes(info.context, ids)

    @strawberry.field(
        metadata=ROOT_FIELD,
        description="The user who sends the request. Null for a service, and without a token on a "
        "development server.",
    )
    def viewer(self, info: GraphInfo) -> User | None:
        return cast("User | None", _viewer(info.context))

    @strawberry.field(
        metadata=ROOT_FIELD,
        description="The scopes of the caller, for what to offer beside the actions of "
        "`User.viewerCan`: a new user requires `WRITE`. A development server gives all of them to "
        "requests without a token.",
    )
    def viewer_scopes(self, info: GraphInfo) -> list[Scope]:
        return [scope for scope in Scope if scope in info.context.caller.scopes]

    @strawberry.field(
        metadata=ROOT_FIELD,
        description="Returns the user with this id, also if deleted, or null.",
    )
    def user(
        self,
        info: GraphInfo,
        id: Annotated[strawberry.ID, strawberry.argument(description="The global id of the user.")],
    ) -> User | None:
        return cast("User | None", User.find(info.context, read_user_id(id), _fields(info)))

    @strawberry.field(metadata=ROOT_FIELD, description="Returns the user with this key, or null.")
    async def user_by(
        self,
        info: GraphInfo,
        by: Annotated[
            UserBy, strawberry.argument(description="The key, exactly one of its fields.")
        ],
    ) -> User | None:
        context = info.context
        key: int | str | None
        match by.given():
            case "id", text:
                lookup, key = USERS_BY_ID, read_user_id(text)
            case "database_id", key:
                lookup = USERS_BY_ID
            case _ if not policy.can_read_any(context.caller):
                return None
            case "username", text:
                lookup, key = USERS_BY_USERNAME, await context.keys.get(username_key, text)
            case "email", text:
                lookup, key = USERS_BY_EMAIL, await context.keys.get(email_key, text)
            case _, text:
                lookup, key = USERS_BY_EXTERNAL_ID, external_id_key(text)
        if key is None:
            return None
        if not policy.can_read_all(context.caller):
            # Other users are not looked up: the response time would reveal whether they exist.
            asked = _viewer(context)
            viewer = await asked if asked else None
            return viewer if viewer and _has(viewer, by, key) else None
        return User.of_found(await Loader(context.session, lookup).find(key))

    @strawberry.field(
        metadata=PAGE,
        description="Lists the users that match the filter and the search. Deleted users are "
        "listed only if the filter has a condition on `status`, `deletedAt`, `eraseAfter` or "
        "`erasedAt`.",
    )
    async def users(
        self,
        info: GraphInfo,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[
            UserFilter | None,
            strawberry.argument(description="Conditions that the users must meet."),
        ] = None,
        search: Annotated[
            str | None,
            strawberry.argument(
                description="Words in any order, each a part of the username, the e-mail address "
                "or the display name, regardless of case and Unicode form; a word with fewer than "
                "three letters or digits must begin a word there. At most "
                f"{MAX_WORDS} words and {MAX_SEARCH} characters. There are no wildcards, and a "
                "blank text is ignored."
            ),
        ] = None,
        order_by: Annotated[
            list[UserOrder] | None,
            strawberry.argument(
                description="The order of the list. By default the newest users come first. The "
                "default with `search` is by rank: a text equal to the search, a text that begins "
                "with it, all words at the beginning of words, other matches; then by id."
            ),
        ] = None,
    ) -> UserConnection | None:
        context = info.context
        ranked = not order_by and not is_blank(search)
        order = BY_RANK if ranked else read_order(order_by)
        keys = context.keys if policy.can_read_any(context.caller) else None
        readable = policy.readable_users(context.caller)
        searched = await read_search(search, keys)
        wanted = await read_filter(filter, searched, keys, readable)
        asked = window(first, after, last, before, order.position)
        found: Page[Any] = Page([], has_next=False, has_previous=False)
        selected = _fields(info)
        follow_from = await _follow_from(info, selected)
        if selected & ROW_FIELDS:
            columns = columns_of(selected)
            if not ranked:
                found = await _read_users(context, wanted, order, asked, columns)
            elif searched is not None:
                ranking = RankedListing(
                    user_columns(columns), searched, wanted.within(), wanted.conditions
                )
                found = await read_ranked_page(context.session, ranking, asked)
        return UserConnection.of(Users(found, order, wanted, follow_from))

    @strawberry.field(
        metadata=PAGE,
        description="Lists the events of all users, earliest first by default. The list ends at "
        "the watermark of the change feed, so that a subscription can continue from any cursor.",
    )
    async def user_events(
        self,
        info: GraphInfo,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[
            UserEventFilter | None,
            strawberry.argument(description="Conditions that the events must meet."),
        ] = None,
        order_by: EventOrder = UserEventOrder.OLDEST_FIRST,
    ) -> UserEventConnection | None:
        if not policy.can_read_history(info.context.caller):
            raise ForbiddenError(
                "Reading all events requires the scopes `users:read` and `users:history`."
            )
        wanted = filter.read() if filter else EventFilter()
        context = info.context
        asked = EventWindow.of(window(first, after, last, before, decode_cursor), order_by)
        context.session.read_primary()
        settled = await context.feed.watermark()
        found: Page[Any] = Page([], has_next=False, has_previous=False)
        if _fields(info) & ROW_FIELDS:
            listing = events_listing(wanted, settled)
            found = asked.arrange(await read_page(context.session, listing, asked.window))
        await verify(context, asked.anchors)
        count = partial(count_events, context, wanted, settled)
        return UserEventConnection.of(UserEvents(found, count))

    @strawberry.field(
        metadata=ROOT_FIELD,
        description="The rules for the texts of the mutations' inputs, for checks in forms. "
        "They are the same for every caller.",
    )
    def validation_rules(self) -> list[FieldRule]:
        return field_rules()

    @strawberry.field(
        metadata=DOCUMENT,
        description="Returns all data stored about a person as one document with `user`, "
        "`history`, and `actions` (what the person did to others). Null if the user "
        "does not exist.",
    )
    async def personal_data(
        self,
        info: GraphInfo,
        user_id: Annotated[
            strawberry.ID, strawberry.argument(description="The global id of the user.")
        ],
    ) -> Json | None:
        key = read_user_id(user_id)
        if not policy.can_read_history(info.context.caller, key):
            raise ForbiddenError("You may not read this user's history.")
        info.context.session.read_primary()
        users = Loader(info.context.session, USERS_BY_ID)
        row = await users.find(key)
        while row is not None:
            found = await document(info.context, row)
            before, row = row, await users.find(key)
            if row is not None and row.version == before.version:  # else it changed in between
                return found
        return None


def _fields(info: GraphInfo) -> frozenset[str]:
    return names_below(raw_info(info))


async def _follow_from(info: GraphInfo, selected: frozenset[str]) -> str | None:
    """Return a cursor of the feed, if it is selected. Must be called before the page is read."""
    if "followFrom" not in selected or not policy.can_read_history(info.context.caller):
        return None
    if not selects(raw_info(info), "followFrom"):
        return None
    # Also the page: a replica may be behind this position.
    info.context.session.read_primary()
    return encode_anchor(await info.context.feed.end())


async def _read_users(
    context: Context, wanted: Filter, order: Order, window: Window, columns: frozenset[str]
) -> Page[Any]:
    if not wanted.lists_everybody:
        listing = users_listing(wanted, order.sorts, user_columns(columns))
        return await read_page(context.session, listing, window)
    query = everybody(
        order.steps,
        columns,
        after=window.after is not None,
        before=window.before is not None,
        from_end=window.from_end,
    )
    return page(await context.session.fetch(query, **window.given()), window)


def _viewer(context: Context) -> Lookup[int, User | None] | None:
    user_id = context.caller.user_id
    return None if user_id is None else User.find(context, user_id)


def _has(user: User, by: UserBy, key: int | str) -> bool:
    # `key` is in the form of the lookup.
    match by.given():
        case "username", _:
            return username_key(user.username) == key
        case "email", _:
            return email_key(user.email) == key
        case "external_id", _:
            return user.external_id == key
    return bool(user.record.id == key)
