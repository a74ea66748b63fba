"""The permission rule of each field, tested with every set of scopes."""

from contextlib import aclosing
from dataclasses import dataclass, field
from inspect import isawaitable
from types import SimpleNamespace
from typing import Any, Final

import orjson
import pytest
from graphql import execute, parse
from sqlalchemy import select
from strawberry.types.base import StrawberryObjectDefinition

from db.models import ActorKind
from db.models import UserEvent as Event
from graph.api import global_ids
from graph.api.types.user_event import UserEvent
from graph.protocol.errors import RequestError
from tests.support.callers import SCOPE_SETS, DirectoryClient, id_of, linked, service
from tests.support.cursors import cursor_at
from tests.support.schema import CORE, SCHEMA
from users.policy import EVERY_SCOPE, Caller, Scope

READ, WRITE, ERASE, HISTORY = Scope.READ, Scope.WRITE, Scope.ERASE, Scope.HISTORY
ME, ADA, GONE, NOBODY = 1, 2, 3, 99
FORBIDDEN: Final = "FORBIDDEN"
Scopes = frozenset[Scope]


@dataclass(frozen=True)
class Read:
    """A read of a field, the scopes it requires, and the result without them.

    `others` None is for what is only ever the caller's own. `own` is what reading oneself takes;
    None if the field names no user. A code in `denied` is a top-level error at the field.
    """

    query: str
    others: Scopes | None = frozenset({READ})
    own: Scopes | None = frozenset()
    given: Any = None
    denied: Any = None


@dataclass(frozen=True)
class Write:
    """A mutation of another user, and the scopes that it requires."""

    kind: str
    needs: Scopes
    input: dict[str, Any] = field(default_factory=dict)
    user_id: int | None = ADA


HAS = {"id": "ID"}
BOTH = frozenset({READ, HISTORY})
MINE = frozenset({HISTORY})
USERS = """query ($key: BigInt!) {{ it: users(filter: {{ databaseId: [$key], status: [ACTIVE] }}) {{
  {} }} }}"""
# Every field with a resolver. `NAME: None` requires no scope: it depends only on the caller.
RULES: dict[str, Read | Write | None] = {
    "Query.viewer": None,
    "Query.viewerScopes": None,
    "Query.validationRules": None,
    # Null without the history, and only in an answer to a write: `test_version_conflicts.py`.
    "VersionConflictError.changedBy": None,
    "VersionConflictError.changes": None,
    "User.isViewer": None,
    "User.viewerCan": None,
    "Query.node": Read("query ($id: ID!) { it: node(id: $id) { id } }", given=HAS),
    "Query.nodes": Read(
        "query ($id: ID!) { it: nodes(ids: [$id]) { id } }", given=[HAS], denied=[None]
    ),
    "Query.user": Read("query ($id: ID!) { it: user(id: $id) { id } }", given=HAS),
    "Query.userBy": Read(
        "query ($key: BigInt!) { it: userBy(by: { databaseId: $key }) { id } }", given=HAS
    ),
    "Query.users": Read(USERS.format("nodes { id }"), given={"nodes": [HAS]}, denied={"nodes": []}),
    "UserConnection.totalCount": Read(
        USERS.format("totalCount"), given={"totalCount": 1}, denied={"totalCount": 0}
    ),
    "UserConnection.countAtMost": Read(
        USERS.format("countAtMost"), given={"countAtMost": 1}, denied={"countAtMost": 0}
    ),
    "UserConnection.statusCounts": Read(
        USERS.format("statusCounts { count }"),
        given={"statusCounts": [{"count": 1}, {"count": 0}, {"count": 0}]},
        denied={"statusCounts": [{"count": 0}] * 3},
    ),
    "Query.userEvents": Read(
        "{ it: userEvents(first: 1) { nodes { type } } }",
        others=BOTH,
        own=None,
        given={"nodes": [{"type": "CREATED"}]},
        denied=FORBIDDEN,
    ),
    "Query.personalData": Read(
        "query ($id: ID!) { it: personalData(userId: $id) }",
        others=BOTH,
        own=MINE,
        given="JSON",
        denied=FORBIDDEN,
    ),
    "User.history": Read(
        "query ($id: ID!) { user(id: $id) { it: history { nodes { type } } } }",
        others=BOTH,
        own=MINE,
        given={"nodes": [{"type": "CREATED"}]},
        denied=FORBIDDEN,
    ),
    "UserEventConnection.countAtMost": Read(
        "{ it: userEvents { countAtMost } }",
        others=BOTH,
        own=None,
        given={"countAtMost": 4},
        denied=FORBIDDEN,
    ),
    "UserEvent.user": Read("subscription { userEvents { it: user { id } } }", given=HAS),
    "UserEvent.userEdge": Read(
        "subscription { userEvents { it: userEdge { node { id } } } }", given={"node": HAS}
    ),
    "Actor.user": Read(
        "subscription { userEvents { it: actor { user { id } } } }",
        given={"user": HAS},
        denied={"user": None},
    ),
    "Subscription.userEvents": Read(
        "subscription ($after: String!) { it: userEvents(after: $after) { type } }",
        others=BOTH,
        own=None,
        given={"type": "CREATED"},
        denied=FORBIDDEN,
    ),
    "Mutation.createUser": Write(
        "CreateUserInput",
        frozenset({WRITE}),
        {"username": "eve", "email": "eve@example.com", "idempotencyKey": "k"},
        None,
    ),
    "Mutation.updateUser": Write("UpdateUserInput", frozenset({WRITE}), {"displayName": "Ada"}),
    "Mutation.upsertUser": Write(
        "UpsertUserInput",
        frozenset({WRITE}),
        {"by": {"username": "ada"}, "displayName": "Lady"},
        None,
    ),
    "Mutation.deactivateUser": Write("UserTransitionInput", frozenset({WRITE})),
    "Mutation.reactivateUser": Write("UserTransitionInput", frozenset({WRITE})),
    "Mutation.deleteUser": Write("DeleteUserInput", frozenset({WRITE})),
    "Mutation.restoreUser": Write("UserTransitionInput", frozenset({WRITE}), {}, GONE),
    "Mutation.eraseUser": Write(
        "EraseUserInput", frozenset({ERASE}), {"confirmUsername": "gone", "reason": "Asked"}, GONE
    ),
    "Mutation.bulkUsers": Write(
        "BulkUsersInput",
        frozenset({WRITE}),
        {
            "operations": [{"create": {"username": "eve", "email": "eve@example.com"}}],
            "idempotencyKey": "k",
        },
        None,
    ),
}


def fields_with_resolvers() -> set[str]:
    """The names of all fields with a resolver."""
    found = set()
    for name in CORE.type_map:
        definition = SCHEMA.get_type_by_name(name)
        if isinstance(definition, StrawberryObjectDefinition) and not definition.is_input:
            for one in definition.fields:
                if one.base_resolver is not None:
                    found.add(f"{name}.{SCHEMA.config.name_converter.get_graphql_name(one)}")
    return found


def test_rules_cover_every_field_with_a_resolver() -> None:
    assert fields_with_resolvers() == set(RULES)


async def read(directory: DirectoryClient, name: str, query: str, caller: Caller, key: int) -> Any:
    """Returns the value of a field, or the error code if it fails."""
    if name in {"UserEvent.user", "UserEvent.userEdge", "Actor.user"}:
        return await user_of_event(directory, query, caller, key)
    if name.startswith("Subscription"):
        results = directory.follow(caller, query, after=await cursor_at(directory.database, 1))
        try:
            async with aclosing(results):
                first = orjson.loads((await anext(results)).texts[0])
        except RequestError as rejected:
            return rejected.errors[0]["extensions"]["code"]
        return first["data"]["it"]
    answer = await directory.send(caller, query, **variables_of(query, key))
    data = answer["data"] if name != "User.history" else answer["data"]["user"]
    if name == "User.history" and data is None:  # the user is hidden, and the history with them
        assert "errors" not in answer
        return FORBIDDEN
    if "errors" in answer:
        path = ["user", "it"] if name == "User.history" else ["it"]
        [(code, at)] = answer["errors"]
        assert (data, at) == ({"it": None}, path)
        return code
    return "JSON" if name == "Query.personalData" and data["it"] else data["it"]


def variables_of(query: str, key: int) -> dict[str, Any]:
    values = {"id": id_of(key), "key": str(key)}
    return {name: value for name, value in values.items() if f"${name}:" in query}


async def user_of_event(directory: DirectoryClient, query: str, caller: Caller, key: int) -> Any:
    """Resolves users of an event as a subscription does. The user is also the author."""
    async with directory.database.engine.connect() as connection:
        found = select(Event.__table__).where(Event.user_id == key)
        row = (await connection.execute(found)).first()
    assert row
    author = {"actor_kind": ActorKind.USER, "actor_id": str(key)}
    made = execute(
        CORE,
        parse(query),
        root_value=UserEvent.of(SimpleNamespace(**row._asdict() | author)),
        context_value=directory.context(caller),
    )
    result: Any = await made if isawaitable(made) else made
    return result.data["userEvents"]["it"]


def with_id(value: Any, key: int) -> Any:
    """Replaces the placeholder "ID" in the expected value."""
    match value:
        case {"id": "ID"}:
            return {"id": id_of(key)}
        case dict():
            return {name: with_id(one, key) for name, one in value.items()}
        case list():
            return [with_id(one, key) for one in value]
    return value


READS = {name: rule for name, rule in RULES.items() if isinstance(rule, Read)}
WRITES = {name: rule for name, rule in RULES.items() if isinstance(rule, Write)}


@pytest.mark.parametrize("name", READS)
async def test_read_returns_its_value_only_with_the_required_scopes(
    directory: DirectoryClient, name: str
) -> None:
    rule = READS[name]
    before = await directory.all_rows()
    for scopes in SCOPE_SETS:
        for caller, key in (
            (service(*scopes), ADA),
            (linked(ME, *scopes), ADA),
            (linked(ME, *scopes), ME),
        ):
            needs = rule.own if key == caller.user_id and rule.own is not None else rule.others
            allowed = needs is not None and needs <= scopes
            expected = with_id(rule.given, key) if allowed else rule.denied
            assert await read(directory, name, rule.query, caller, key) == expected, caller
    assert await directory.all_rows() == before


@pytest.mark.parametrize("name", ["node", "nodes"])
async def test_event_by_id_is_null_without_the_required_scopes(
    directory: DirectoryClient, name: str
) -> None:
    query = {
        "node": "query ($id: ID!) { it: node(id: $id) { id } }",
        "nodes": "query ($id: ID!) { it: nodes(ids: [$id]) { id } }",
    }[name]
    for scopes in SCOPE_SETS:
        for caller, event in ((service(*scopes), ME), (linked(ME, *scopes), ME), (linked(ME), ADA)):
            mine = caller.user_id == ME and event == ME
            allowed = (MINE if mine else BOTH) <= caller.scopes
            text = global_ids.encode(
                "UserEvent", event
            )  # the ids of the first events and users are equal
            found = {"id": text} if allowed else None
            expected = [found] if name == "nodes" else found
            assert await directory.ask(caller, query, id=text) == expected, caller


def mutation(name: str, rule: Write) -> str:
    verb, errors = name.partition(".")[2], "errors { __typename code message path }"
    each = f"results {{ {errors} }}" if verb == "bulkUsers" else ""
    return f"mutation ($input: {rule.kind}!) {{ it: {verb}(input: $input) {{ {errors} {each} }} }}"


def forbidden_error(*path: str, needs: Scopes = frozenset({WRITE})) -> list[dict[str, Any]]:
    message = f"Missing scope `{min(needs)}`."
    return [
        {"__typename": "GenericError", "code": FORBIDDEN, "message": message, "path": list(path)}
    ]


@pytest.mark.parametrize("name", WRITES)
async def test_mutation_is_forbidden_without_the_required_scopes(
    directory: DirectoryClient, name: str
) -> None:
    rule, before = WRITES[name], await directory.all_rows()
    query = mutation(name, rule)
    for scopes in SCOPE_SETS:
        for caller in (service(*scopes), linked(ME, *scopes)):
            if rule.needs <= scopes:
                continue
            # The error does not reveal whether the user exists.
            for key in {rule.user_id, rule.user_id and NOBODY}:
                given = rule.input | ({"id": id_of(key)} if key else {})
                answer = await directory.ask(caller, query, input=given)
                if name == "Mutation.bulkUsers":
                    expected = [{"errors": forbidden_error("input", "operations", "0", "create")}]
                    assert answer["results"] == expected
                    assert [error["code"] for error in answer["errors"]] == ["BATCH_ABORTED"]
                else:
                    assert answer == {"errors": forbidden_error("input", needs=rule.needs)}, caller
    assert await directory.all_rows() == before
    given = rule.input | ({"id": id_of(rule.user_id)} if rule.user_id else {})
    done = await directory.ask(service(*rule.needs), query, input=given)
    assert done["errors"] == []
    if name != "Mutation.reactivateUser":  # the user is already active
        assert await directory.all_rows() != before


async def test_validate_only_requires_the_same_scopes(directory: DirectoryClient) -> None:
    before = await directory.all_rows()
    for name in ("Mutation.createUser", "Mutation.updateUser"):
        rule = RULES[name]
        assert isinstance(rule, Write)
        given = rule.input | {"validateOnly": True} | ({"id": id_of(ADA)} if rule.user_id else {})
        for caller in (service(*EVERY_SCOPE - {WRITE}), linked(ME, READ)):
            answer = await directory.ask(caller, mutation(name, rule), input=given)
            assert answer == {"errors": forbidden_error("input")}
        answer = await directory.ask(service(WRITE), mutation(name, rule), input=given)
        assert answer == {"errors": []}
    assert await directory.all_rows() == before
