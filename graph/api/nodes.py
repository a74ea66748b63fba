"""`Query.node` and `Query.nodes`: objects of any type by their global ids."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import cast

from db.prepared import PreparedStatement
from db.statements.events import EVENTS_BY_ID
from db.statements.users import USERS_BY_ID
from graph.api import global_ids
from graph.api.context import Context
from graph.api.errors import InputError
from graph.api.history import settled_until
from graph.api.types.node import Node
from graph.api.types.user import User
from graph.api.types.user_event import UserEvent
from users import policy

NodeKey = tuple[str, int]  # the name of a type, and an id in the database


async def find_node(context: Context, text: str) -> Node | None:
    [found] = await _load(context, [_node_key(text)])
    if isinstance(found, Exception):
        raise found
    return found


async def find_nodes(context: Context, texts: Sequence[str]) -> list[Node | None]:
    """Return the objects with these ids. An exception in the list is the error of its element."""
    found = await _load(context, [_decoded(text) for text in texts])
    return cast("list[Node | None]", found)


def _decoded(text: str) -> NodeKey | InputError:
    try:
        return _node_key(text)
    except InputError as error:
        return error


def _node_key(text: str) -> NodeKey:
    try:
        type_name, key = global_ids.decode(text)
    except global_ids.InvalidId as error:
        raise InputError(str(error), "INVALID_ID") from None
    if type_name not in {"User", "UserEvent"}:
        raise InputError("This is not an id of this directory.", "INVALID_ID")
    return type_name, key


async def _load(
    context: Context, keys: Sequence[NodeKey | InputError]
) -> list[Node | Exception | None]:
    found = await load_nodes(context, {key for key in keys if not isinstance(key, InputError)})
    return [key if isinstance(key, InputError) else found.get(key) for key in keys]


async def load_nodes(
    context: Context, wanted: AbstractSet[NodeKey], lookup: PreparedStatement = USERS_BY_ID
) -> dict[NodeKey, Node | Exception]:
    """Return the nodes that the caller may read, with one lookup per type.

    If a lookup fails, its error is the value of every key.
    """
    users = [key for name, key in wanted if name == "User" and policy.can_read(context.caller, key)]
    events = [key for name, key in wanted if name == "UserEvent"]
    found: dict[NodeKey, Node | Exception] = {}
    try:
        rows = await context.session.load(lookup, users) if users else ()
        found |= {("User", row.id): User.of(row) for row in rows if row}
        found |= {("UserEvent", event.record.id): event for event in await _events(context, events)}
    except Exception as error:  # noqa: BLE001 - the elements share this error
        found |= dict.fromkeys(wanted, error)
    return found


async def _events(context: Context, keys: Sequence[int]) -> list[UserEvent]:
    if not keys:
        return []
    # Events above the watermark are not found: they have no cursor yet.
    context.session.read_primary()
    found = await context.session.load(EVENTS_BY_ID, keys)
    rows = [row for row in found if row and policy.can_read_history(context.caller, row.user_id)]
    settled = await settled_until(context.feed) if rows else 0
    return [UserEvent.of(row) for row in rows if row.id <= settled]
