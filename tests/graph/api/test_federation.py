"""The subgraph that `ROSTER_FEDERATION=on` serves: its schema, `_service` and `_entities`."""

import asyncio
import gc
import json
import re
from collections.abc import AsyncIterator, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from strawberry.extensions import SchemaExtension

from db.session import Session
from db.statements.users import USERS_BY_EXTERNAL_ID
from graph.api import global_ids
from graph.api.entities import MAX_REPRESENTATIONS
from graph.api.errors import MAX_MESSAGE
from graph.execution.schema import FederatedSchema, Schema
from graph.execution.strawberry_types import StrawberryResolvers
from graph.protocol.errors import RequestError
from graph.protocol.request import Request
from graph.settings import Settings
from graph.strawberry_adapter import core_schema
from tests.graph.compiler.differential import Case, assert_same
from tests.graph.documents.test_cost import undeclared
from tests.support.callers import DirectoryClient, directory_client, id_of, linked, service
from tests.support.client import Client, serving
from tests.support.schema import OPTIONS
from tests.support.signing import RSA, TRUSTED, pem, token
from users import policy
from users.policy import EVERY_SCOPE, Caller, Scope

PRINTED = (Path(__file__).parents[3] / "schema.graphql").read_text().rstrip("\n")
SUBGRAPH = FederatedSchema(OPTIONS)
CORE = core_schema(SUBGRAPH)
RESOLVERS = StrawberryResolvers(SUBGRAPH)
SDL = "{ _service { sdl } }"
ENTITIES = """query ($of: [_Any!]!) { _entities(representations: $of) {
  __typename ... on User { username } ... on UserEvent { type } } }"""
ADMIN = service(*EVERY_SCOPE)
MIA, ADA, GONE, NOBODY = 1, 2, 3, 99
sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

ONE_OF = "directive @oneOf on INPUT_OBJECT\n"
CHANGES = {
    ONE_OF: f"""{ONE_OF}
schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@inaccessible", "@key", \
"@shareable"]) {{
  query: Query
  mutation: Mutation
  subscription: Subscription
}}
""",
    "type PageInfo {": "type PageInfo @shareable {",
    "type User implements Node {": "type User implements Node "
    '@key(fields: "id") @key(fields: "databaseId") @key(fields: "externalId") {',
    "type UserEvent implements Node {": 'type UserEvent implements Node @key(fields: "id") {',
    "  ): Node\n": "  ): Node @shareable\n",
    "  ): [Node]!\n": "  ): [Node]! @shareable\n",
    "  ): JSON\n}\n": """  ): JSON

  \"""
  Entities by their keys, in the order asked for; null where there is none. For gateways, at \
most 500.
  \"""
  _entities(
    \"""Objects with `__typename` and exactly one key, at most 500.\"""
    representations: [_Any!]!
  ): [_Entity]!

  \"""This subgraph, for gateways.\"""
  _service: _Service!
}
""",
}
PAYLOADS = 9  # types with a field `query`
ADDED = '''

scalar _Any

"""The types that other subgraphs can refer to."""
union _Entity = User | UserEvent

"""The subgraph that this server is."""
type _Service {
  """The schema of the subgraph, with its directives."""
  sdl: String!
}'''


def user(**key: Any) -> dict[str, Any]:
    return {"__typename": "User", **key}


def event_of(key: int) -> dict[str, Any]:
    return {"__typename": "UserEvent", "id": global_ids.encode("UserEvent", key)}


MIA_FOUND = {"__typename": "User", "username": "mia"}
ADA_FOUND = {"__typename": "User", "username": "ada"}


async def link(directory: DirectoryClient, user_id: int, external_id: str) -> None:
    query = """mutation ($id: ID!, $externalId: String!) {
      updateUser(input: { id: $id, externalId: $externalId }) { errors { code } } }"""
    payload = await directory.ask(ADMIN, query, id=id_of(user_id), externalId=external_id)
    assert payload == {"errors": []}


@pytest.fixture
async def subgraph(directory: DirectoryClient) -> AsyncIterator[DirectoryClient]:
    async with directory_client(directory.database, SUBGRAPH) as asks:
        yield asks


def test_schema_without_the_setting_is_the_same_after_a_subgraph_was_built() -> None:
    FederatedSchema()
    assert Schema().as_str() == PRINTED
    assert "_entities" not in json.dumps(Schema().introspect())


def test_subgraph_adds_gateway_fields_and_directives_to_the_schema() -> None:
    expected = PRINTED
    assert expected.count("  query: Query\n") == PAYLOADS
    expected = expected.replace("  query: Query\n", "  query: Query @inaccessible\n")
    for before, after in CHANGES.items():
        assert expected.count(before) == 1, before
        expected = expected.replace(before, after)
    assert SUBGRAPH.as_str().splitlines() == (expected + ADDED).splitlines()


def test_every_field_of_the_subgraph_that_may_read_declares_its_cost() -> None:
    assert list(undeclared(CORE)) == []


@pytest.mark.parametrize("introspection", ["false", "true"])
@sqlite
async def test_service_is_answered_to_every_valid_caller_even_without_introspection(
    database_url: str, introspection: str
) -> None:
    settings = Settings(
        mode="production",
        introspection=introspection,
        federation="on",
        **TRUSTED,
        auth_public_key=pem(RSA),
        database_url=database_url,
    )
    async with serving(settings) as client:
        answer = await client.send(SDL)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAUTHENTICATED"]
        client.http.headers["authorization"] = f"Bearer {token(sub='gateway')}"
        assert await client.ask(SDL) == {"sdl": SUBGRAPH.as_str()}
        schema = await client.send("{ __schema { queryType { name } } }")
        assert ("errors" in schema) == (introspection == "false")


@sqlite
async def test_server_without_the_setting_has_no_gateway_fields(client: Client) -> None:
    for query in (SDL, ENTITIES):
        answer = await client.send(query, of=[])
        codes = {error["extensions"]["code"] for error in answer["errors"]}
        assert codes == {"GRAPHQL_VALIDATION_FAILED"}


async def test_entities_of_mixed_keys_take_one_statement_per_kind_of_key(
    subgraph: DirectoryClient, statements: list[str]
) -> None:
    await link(subgraph, MIA, "hr-1")
    kinds: list[tuple[dict[str, Any], dict[str, str] | None]] = [
        (user(id=id_of(MIA)), MIA_FOUND),
        (user(databaseId=str(ADA)), ADA_FOUND),
        (user(databaseId=ADA), ADA_FOUND),
        (user(externalId="hr-1"), MIA_FOUND),
        (user(externalId="hr-2"), None),
        (event_of(2), {"__typename": "UserEvent", "type": "CREATED"}),
        (user(id=id_of(GONE)), {"__typename": "User", "username": "gone"}),
        (user(id=id_of(NOBODY)), None),
        (event_of(NOBODY), None),
        (user(databaseId="9223372036854775807"), None),
    ]
    wanted = kinds * 10
    statements.clear()
    found = await subgraph.ask(ADMIN, ENTITIES, of=[each for each, _ in wanted])
    assert found == [entity for _, entity in wanted]
    assert sorted(looked_up(statements)) == [
        *("user_events by id", "users by external_id", "users by id"),
    ], statements


def looked_up(statements: list[str]) -> list[str]:
    """Return the table and the column of each lookup by keys."""
    lookup = re.compile(r"FROM (\w+)\s+WHERE \w+\.(\w+) (?:IN|= ANY)")
    return [f"{m[1]} by {m[2]}" for text in statements if (m := lookup.search(text))]


@pytest.mark.parametrize(
    ("caller", "readable"),
    [
        (service(), {}),
        (service(Scope.WRITE, Scope.HISTORY), {}),
        (linked(MIA), {"mia"}),
        (linked(MIA, Scope.HISTORY), {"mia", "mia's event"}),
        (service(Scope.READ), {"mia", "ada", "gone"}),
        (service(Scope.READ, Scope.HISTORY), {"mia", "mia's event", "ada", "ada's event", "gone"}),
    ],
    ids=["none", "no read", "own", "own history", "read", "read history"],
)
async def test_entities_that_the_caller_may_not_read_are_null(
    subgraph: DirectoryClient, statements: list[str], caller: Caller, readable: set[str]
) -> None:
    await link(subgraph, MIA, "mine")
    await link(subgraph, ADA, "hers")
    created = {"__typename": "UserEvent", "type": "CREATED"}
    wanted = [
        (user(externalId="hers"), "ada", ADA_FOUND),
        (user(id=id_of(MIA)), "mia", MIA_FOUND),
        (user(id=id_of(ADA)), "ada", ADA_FOUND),
        (event_of(1), "mia's event", created),
        (event_of(2), "ada's event", created),
        (user(databaseId=MIA), "mia", MIA_FOUND),
        (user(databaseId=ADA), "ada", ADA_FOUND),
        (user(externalId="mine"), "mia", MIA_FOUND),
        (user(databaseId=NOBODY), "nobody", {}),
        (user(externalId="nobody"), "nobody", {}),
    ]
    found = await subgraph.send(caller, ENTITIES, of=[each for each, *_ in wanted])
    assert found == {
        "data": {"_entities": [entity if who in readable else None for _, who, entity in wanted]}
    }
    runs = []
    for key, nobody in (
        (user(id=id_of(ADA)), user(id=id_of(NOBODY))),
        (user(databaseId=ADA), user(databaseId=NOBODY)),
        (user(externalId="hers"), user(externalId="nobody")),
    ):
        for each in (key, nobody):
            statements.clear()
            await subgraph.send(caller, ENTITIES, of=[each])
            runs.append(list(statements))
        assert runs[-1] == runs[-2]  # the response time does not tell them apart
    if not policy.can_read_all(caller):
        assert runs[0] == runs[2] == []


async def test_deleted_and_erased_users_are_found_by_ids_only(subgraph: DirectoryClient) -> None:
    await link(subgraph, MIA, "hr-1")
    await subgraph.ask(
        ADMIN,
        "mutation ($id: ID!) { deleteUser(input: { id: $id }) { errors { code } } }",
        id=id_of(MIA),
    )
    by_keys = [user(id=id_of(MIA)), user(databaseId=MIA), user(externalId="hr-1")]
    assert await subgraph.ask(ADMIN, ENTITIES, of=by_keys) == [MIA_FOUND, MIA_FOUND, None]
    erased = await subgraph.ask(
        ADMIN,
        """mutation ($id: ID!) { eraseUser(input: {
          id: $id, confirmUsername: "mia", reason: "On request." }) { errors { code } } }""",
        id=id_of(MIA),
    )
    assert erased == {"errors": []}
    query = """query ($of: [_Any!]!) { _entities(representations: $of) { ... on User {
      username externalId erasedAt } } }"""
    first, second, third = await subgraph.ask(ADMIN, query, of=by_keys)
    assert first == second
    assert first["erasedAt"]
    assert (first["username"], first["externalId"]) == ("erased-1", None)
    assert third is None


DESCRIBED = "A representation must be an object with `__typename` and a key."
TYPED = "A representation must have a `__typename`: `User` or `UserEvent`."
USER_KEYS = (
    "A representation of `User` must have exactly one key and no other fields: `id`, "
    "`databaseId` or `externalId`."
)
EVENT_KEYS = "A representation of `UserEvent` must have the key `id` and no other fields."
NO_ID = "This is not an id of this directory."
NO_NUMBER = (
    "`databaseId` of a `User`: A BigInt must be an integer from 0 to 9223372036854775807, as a "
    "string of digits."
)
NO_TEXTS: list[Any] = [None, 1, True, {}, [id_of(MIA)]]
NO_NUMBERS: list[Any] = [
    *(None, "", "-1", "1.0", -1, 1.0, True, "x", "1" * 20, 2**63, "٣", [], {}),
]
MALFORMED: list[tuple[Any, str, str]] = [
    ("User", DESCRIBED, "INVALID_ARGUMENT"),
    (1, DESCRIBED, "INVALID_ARGUMENT"),
    (True, DESCRIBED, "INVALID_ARGUMENT"),
    ([user(id=id_of(MIA))], DESCRIBED, "INVALID_ARGUMENT"),
    ({}, TYPED, "INVALID_ARGUMENT"),
    ({"id": id_of(MIA)}, TYPED, "INVALID_ARGUMENT"),
    ({"__typename": None, "id": id_of(MIA)}, TYPED, "INVALID_ARGUMENT"),
    ({"__typename": ["User"], "id": id_of(MIA)}, TYPED, "INVALID_ARGUMENT"),
    *[
        (
            {"__typename": name, "id": id_of(MIA)},
            f"`{name}` is not an entity. The entities are `User` and `UserEvent`.",
            "INVALID_ARGUMENT",
        )
        for name in ("Device", "user", "", "Node", "_Entity", "PageInfo", "\0", "Üser")
    ],
    (user(), USER_KEYS, "INVALID_ARGUMENT"),
    (user(username="mia"), USER_KEYS, "INVALID_ARGUMENT"),
    (user(email="mia@example.com"), USER_KEYS, "INVALID_ARGUMENT"),
    (user(database_id=MIA), USER_KEYS, "INVALID_ARGUMENT"),
    (user(id=id_of(MIA), databaseId=MIA), USER_KEYS, "INVALID_ARGUMENT"),
    (user(id=id_of(MIA), username="mia"), USER_KEYS, "INVALID_ARGUMENT"),
    ({"__typename": "UserEvent"}, EVENT_KEYS, "INVALID_ARGUMENT"),
    ({"__typename": "UserEvent", "databaseId": 1}, EVENT_KEYS, "INVALID_ARGUMENT"),
    *[
        (
            user(**{field: value}),
            f"`{field}` of a `User`: This must be a string.",
            "INVALID_ARGUMENT",
        )
        for field in ("id", "externalId")
        for value in NO_TEXTS
    ],
    *[
        (user(id=text), NO_ID, "INVALID_ID")
        for text in ("", "1", "VXNlcjox=", "\0", "ü", "VXNlcjow")
    ],
    (
        user(id=global_ids.encode("UserEvent", 1)),
        "This is the id of a UserEvent, not of a User.",
        "INVALID_ID",
    ),
    (
        {"__typename": "UserEvent", "id": id_of(MIA)},
        "This is the id of a User, not of a UserEvent.",
        "INVALID_ID",
    ),
    *[(user(databaseId=value), NO_NUMBER, "INVALID_ARGUMENT") for value in NO_NUMBERS],
]


@sqlite
async def test_malformed_representation_is_an_error_at_its_position_only(
    subgraph: DirectoryClient,
) -> None:
    for representation, message, code in MALFORMED:
        of = [user(id=id_of(MIA)), representation, user(databaseId=ADA)]
        assert await answer(subgraph, of) == {
            "errors": [
                {
                    "message": message,
                    "locations": [{"line": 1, "column": 25}],
                    "path": ["_entities", 1],
                    "extensions": {"code": code},
                }
            ],
            "data": {"_entities": [MIA_FOUND, None, ADA_FOUND]},
        }


async def answer(subgraph: DirectoryClient, of: Any) -> Any:
    """Returns the whole answer to the admin, or the errors of a rejected operation."""
    try:
        context = subgraph.context(ADMIN)
        operation = await SUBGRAPH.prepare(Request(ENTITIES, {"of": of}), context)
        return json.loads(b"".join(await operation.run()))
    except RequestError as error:
        return {"errors": error.errors}


@sqlite
async def test_error_about_a_long_name_is_cut(subgraph: DirectoryClient) -> None:
    found = await answer(subgraph, [{"__typename": "X" * 100_000, "id": "1"}])
    [error] = found["errors"]
    assert len(error["message"]) == MAX_MESSAGE


@sqlite
async def test_null_among_representations_rejects_the_operation(subgraph: DirectoryClient) -> None:
    for of in (None, [None], [user(id=id_of(MIA)), None]):
        found = await answer(subgraph, of)
        [error] = found["errors"]
        assert (set(found), error["extensions"]) == (
            {"errors"},
            {"code": "GRAPHQL_VALIDATION_FAILED"},
        )


@sqlite
async def test_representations_are_limited_in_number_and_by_their_cost(
    subgraph: DirectoryClient, statements: list[str]
) -> None:
    most = [user(databaseId=MIA)] * MAX_REPRESENTATIONS
    assert (await answer(subgraph, most))["data"]["_entities"] == [MIA_FOUND] * MAX_REPRESENTATIONS
    assert looked_up(statements) == ["users by id"]
    statements.clear()
    assert await answer(subgraph, [*most, most[0]]) == {
        "errors": [
            {
                "message": "A list can have at most 500 elements.",
                "extensions": {"code": "LIST_TOO_LONG", "limit": 500},
            }
        ]
    }
    histories = """query ($of: [_Any!]!) { _entities(representations: $of) {
      ... on User { history(first: 20) { nodes { id } } } } }"""

    async def cost(text: str, number: int) -> int:
        request = Request(text, {"of": most[:number]})
        operation = await SUBGRAPH.prepare(request, subgraph.context(ADMIN))
        assert operation.is_compiled
        return operation.prepared.cost

    # Each costs 1 like a row; and a history 20 events and 1 for its list.
    assert [await cost(ENTITIES, number) for number in (0, 1, 100)] == [0, 1, 100]
    one = await cost(histories, 1)
    assert await cost(histories, 100) == 100 * one
    too_many = 5_000 // one + 1
    with pytest.raises(RequestError) as rejected:
        await cost(histories, too_many)
    assert rejected.value.code == "TOO_EXPENSIVE"
    assert statements == []


@sqlite
async def test_persisted_documents_can_read_entities(database_url: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"entities": ENTITIES, "service": SDL}))
    settings = Settings(
        database_url=database_url,
        federation=True,
        persisted_documents="on",
        persisted_documents_file=manifest,
    )
    async with serving(settings) as client:

        async def post(**body: Any) -> Any:
            return (await client.http.post("/graphql", json=body)).json()

        of = {"of": [user(databaseId=1)]}
        data = {"data": {"_entities": [None]}}
        assert await post(documentId="entities", variables=of) == data
        digest = sha256(ENTITIES.encode()).hexdigest()
        hashed = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
        assert await post(extensions=hashed, variables=of) == data
        assert await post(query=ENTITIES, extensions=hashed, variables=of) == data
        assert await post(documentId="service") == {
            "data": {"_service": {"sdl": SUBGRAPH.as_str()}}
        }
        rejected = await post(query=ENTITIES, variables=of)
        assert rejected["errors"][0]["extensions"]["code"] == "DOCUMENT_NOT_TRUSTED"


ODD_TEXTS = [
    *("hr-1", "HR-1", " hr-1", "hr-1\n", "\u00e9", "e\u0301", "\ufb01", "\0", "\ud800", "", "%"),
    *("_", "x" * 5_000, "\U0001f600", "nobody"),
]


async def test_external_ids_match_as_in_user_by(subgraph: DirectoryClient) -> None:
    await link(subgraph, MIA, "e\u0301")
    await link(subgraph, ADA, "hr-1")
    by = "query ($text: String!) { userBy(by: { externalId: $text }) { __typename username } }"
    representations = [user(externalId=text) for text in ODD_TEXTS]
    for caller in (ADMIN, service(), linked(MIA), linked(ADA)):
        expected = [await subgraph.ask(caller, by, text=text) for text in ODD_TEXTS]
        assert await subgraph.ask(caller, ENTITIES, of=representations) == expected


async def test_entities_are_the_same_for_a_schema_with_extensions(
    subgraph: DirectoryClient,
) -> None:
    class NotingExtension(SchemaExtension):
        def on_operation(self) -> Iterator[None]:
            yield

    of = [user(id=id_of(MIA)), user(databaseId="2"), "x", user(externalId="no"), event_of(1)]
    extended = FederatedSchema(OPTIONS, extensions=[NotingExtension])
    operation = await extended.prepare(Request(ENTITIES, {"of": of}), subgraph.context(ADMIN))
    assert not operation.is_compiled  # Strawberry executes it
    assert json.loads(b"".join(await operation.run())) == await answer(subgraph, of)


@sqlite
async def test_failed_lookup_is_the_error_of_its_representations_only(
    subgraph: DirectoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Session.load

    def fail_for_external_ids(session: Session, lookup: Any, keys: Any) -> Any:
        if lookup is USERS_BY_EXTERNAL_ID:
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(RuntimeError("the connection was cut"))
            return failed
        return load(session, lookup, keys)

    monkeypatch.setattr(Session, "load", fail_for_external_ids)
    of = [user(externalId="a"), user(id=id_of(MIA)), "bad", user(externalId="b")]
    found = await subgraph.send(ADMIN, ENTITIES, of=of)
    assert found == {
        "data": {"_entities": [None, MIA_FOUND, None, None]},
        "errors": [
            ("INTERNAL_ERROR", ["_entities", 0]),
            ("INVALID_ARGUMENT", ["_entities", 2]),
            ("INTERNAL_ERROR", ["_entities", 3]),
        ],
    }


FRAGMENTS = """
fragment E on _Entity { kind: __typename ...U ... on UserEvent { id type user { ...U }
  actor { type user { id } } changes { fieldName after } } ... on Node { id } }
fragment U on User { id databaseId username status isViewer viewerCan externalId
  history(last: 2) { nodes { id type } } }"""


async def test_compiled_entities_match_graphql_core(subgraph: DirectoryClient) -> None:
    await link(subgraph, MIA, "hr-1")
    valid = [
        *(user(id=id_of(MIA)), user(databaseId=str(ADA)), user(externalId="hr-1"), event_of(1)),
        *(user(databaseId=NOBODY), event_of(2), user(id=id_of(GONE)), user(externalId="")),
    ]
    bad = [representation for representation, *_ in MALFORMED]
    lists = [[], valid[::-1] * 2, bad, valid[0], [None], None]
    text = "query ($of: [_Any!]!) { a: _entities(representations: $of) { ...E } " + (
        "b: _entities(representations: $of) { __typename ... on User { email } } }" + FRAGMENTS
    )
    literal = """query ($id: ID, $key: String) { _entities(representations: [
      { __typename: "User", id: $id }, { __typename: "User", externalId: $key },
      { __typename: "User", databaseId: 2 }, { __typename: "UserEvent", id: "x" }, 1
    ]) { ... on User { id username } } _service { sdl } }"""
    cases: list[tuple[str, dict[str, Any]]] = [(text, {"of": of}) for of in lists]
    cases += [(literal, {"id": id_of(MIA), "key": "hr-1"}), (literal, {})]
    gc.freeze()  # garbage is collected after each execution
    for caller in (ADMIN, service(), linked(ADA, Scope.HISTORY)):
        for query, variables in cases:
            await assert_same(
                Case(
                    CORE,
                    query,
                    variables,
                    context=partial(subgraph.context, caller),
                    resolvers=RESOLVERS,
                    shared=frozenset({"_Batch.run", "WakeUps._notify_loop"}),
                    valid=False,
                )
            )


async def test_payloads_and_events_of_a_subgraph_refer_to_the_same_query(
    subgraph: DirectoryClient,
) -> None:
    query = """mutation ($of: [_Any!]!) {
      createUser(input: { username: "zoe", email: "zoe@example.com" }) { user { username }
        query { _entities(representations: $of) { ... on User { username } } } } }"""
    assert await subgraph.ask(ADMIN, query, of=[user(databaseId=4)]) == {
        "user": {"username": "zoe"},
        "query": {"_entities": [{"username": "zoe"}]},
    }
