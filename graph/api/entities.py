"""The entities of a federated graph: `Query._entities`, and how its representations are read."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLError

from db.statements.users import USERS_BY_EXTERNAL_ID, USERS_BY_ID
from graph.api import global_ids
from graph.api.context import Context
from graph.api.errors import InputError
from graph.api.nodes import NodeKey, load_nodes
from graph.api.scalars import read_bigint
from graph.api.types.user import User, lookup_of
from users import policy
from users.identity import external_id_key

# Lists in variables have the same limit: `Limits.list_length` of graph/documents/limits.py.
MAX_REPRESENTATIONS: Final = 500


@dataclass(frozen=True, slots=True)
class _ExternalId:
    text: str | None
    """None if no user can have it."""


_EntityKey = NodeKey | _ExternalId


def _user_id(value: object) -> NodeKey:
    return "User", global_ids.decode_user(_text(value))


def _database_id(value: object) -> NodeKey:
    return "User", read_bigint(value)


def _external_id(value: object) -> _ExternalId:
    return _ExternalId(external_id_key(_text(value)))


def _event_id(value: object) -> NodeKey:
    return "UserEvent", _decode_event(_text(value))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise InputError("This must be a string.")


_decode_event = global_ids.decoder("UserEvent")
# The fields that are keys of each entity, and how their values are read.
KEYS: Final[Mapping[str, Mapping[str, Callable[[object], _EntityKey]]]] = {
    "User": {"id": _user_id, "databaseId": _database_id, "externalId": _external_id},
    "UserEvent": {"id": _event_id},
}
_WRONG_KEYS: Final = {
    "User": "A representation of `User` must have exactly one key and no other fields: `id`, "
    "`databaseId` or `externalId`.",
    "UserEvent": "A representation of `UserEvent` must have the key `id` and no other fields.",
}


async def find_entities(
    context: Context, representations: Sequence[object], fields: frozenset[str]
) -> list[Any]:
    """Return the entities in the order of their representations, with one lookup per kind of key.

    An exception in the list is the error of its element. `fields` decide which columns of users
    are read.
    """
    keys = [_decoded(representation) for representation in representations]
    nodes = {key for key in keys if isinstance(key, tuple)}
    external_ids = {key for key in keys if isinstance(key, _ExternalId) and key.text is not None}
    loads: list[Awaitable[Mapping[Any, Any]]] = []
    if nodes:
        loads.append(load_nodes(context, nodes, lookup_of(fields)))
    if external_ids:
        loads.append(_by_external_id(context, external_ids))
    found: dict[_EntityKey, Any] = {}
    for loaded in await asyncio.gather(*loads):
        found |= loaded
    return [key if isinstance(key, Exception) else found.get(key) for key in keys]


def _decoded(representation: object) -> _EntityKey | GraphQLError:
    try:
        return _key(representation)
    except GraphQLError as error:
        return error


def _key(representation: object) -> _EntityKey:
    """Return the key of a representation. Raises InputError."""
    if not isinstance(representation, dict):
        raise InputError("A representation must be an object with `__typename` and a key.")
    name = representation.get("__typename")
    if not isinstance(name, str):
        raise InputError("A representation must have a `__typename`: `User` or `UserEvent`.")
    if name not in KEYS:
        raise InputError(f"`{name}` is not an entity. The entities are `User` and `UserEvent`.")
    given = [field for field in representation if field != "__typename"]
    if len(given) != 1 or given[0] not in KEYS[name]:
        raise InputError(_WRONG_KEYS[name])
    [field] = given
    try:
        return KEYS[name][field](representation[field])
    except global_ids.InvalidId as error:
        raise InputError(str(error), "INVALID_ID") from None
    except GraphQLError as error:
        raise InputError(f"`{field}` of a `{name}`: {error.message}") from None


async def _by_external_id(
    context: Context, wanted: AbstractSet[_ExternalId]
) -> dict[_ExternalId, User | Exception]:
    caller = context.caller
    rows: Sequence[Any] = ()
    try:
        if policy.can_read_all(caller):
            rows = await context.session.load(USERS_BY_EXTERNAL_ID, [key.text for key in wanted])
        elif caller.user_id is not None:
            # Other users are not looked up: the response time would reveal whether they exist.
            rows = await context.session.load(USERS_BY_ID, [caller.user_id])
    except Exception as error:  # noqa: BLE001 - the elements share this error
        return dict.fromkeys(wanted, error)
    return {_ExternalId(row.external_id): User.of(row) for row in rows if row}
