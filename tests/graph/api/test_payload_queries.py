"""`query` of payloads: reads after the write of the same field."""

import asyncio
from typing import Any

import pytest
from graphql import GraphQLObjectType
from sqlalchemy import event

from graph.settings import Settings
from tests.support.callers import DirectoryClient, id_of, linked, service
from tests.support.client import Client, count, serving
from tests.support.schema import CORE
from users.policy import EVERY_SCOPE, Scope

ME, ADA, GONE = 1, 2, 3
EVERYBODY = service(*EVERY_SCOPE)
NAMES = """query { users(orderBy: {field: USERNAME, direction: ASC}) {
  totalCount nodes { username version } } }"""
KEYED = """mutation { createUser(
  input: {username: "eve", email: "eve@example.com", idempotencyKey: "k"}) {
  replayed errors { code } query { users { totalCount } } } }"""


def names(**versions: int) -> dict[str, Any]:
    nodes = [{"username": name, "version": version} for name, version in versions.items()]
    return {"users": {"totalCount": len(nodes), "nodes": nodes}}


def test_every_payload_has_the_queries() -> None:
    mutation = CORE.mutation_type
    assert mutation
    for field in mutation.fields.values():
        payload = field.type
        assert isinstance(payload, GraphQLObjectType)
        assert payload.fields["query"].type is CORE.query_type
        assert list(payload.fields)[-1] == "query"


async def test_each_mutation_reads_the_state_after_its_own_write(
    directory: DirectoryClient,
) -> None:
    mutation = """mutation ($ada: ID!, $gone: ID!) {
      createUser(input: {username: "eve", email: "eve@example.com"}) { %s }
      updateUser(input: {id: $ada, displayName: "Ada"}) { %s }
      upsertUser(input: {by: {username: "zoe"}, email: "zoe@example.com"}) { %s }
      deactivateUser(input: {id: $ada}) { %s }
      reactivateUser(input: {id: $ada}) { %s }
      deleteUser(input: {id: $ada}) { %s }
      restoreUser(input: {id: $ada}) { %s }
      bulkUsers(input: {operations: [{update: {id: $ada, displayName: "A"}}]}) { %s }
      eraseUser(input: {id: $gone, confirmUsername: "gone", reason: "Asked"}) {
        query { user(id: $gone) { username version } } } }"""
    given = {"ada": id_of(ADA), "gone": id_of(GONE)}
    answer = await directory.ask_all(EVERYBODY, mutation % ((NAMES,) * 8), **given)
    assert answer == {
        "createUser": {"query": names(ada=1, eve=1, mia=1)},
        "updateUser": {"query": names(ada=2, eve=1, mia=1)},
        "upsertUser": {"query": names(ada=2, eve=1, mia=1, zoe=1)},
        "deactivateUser": {"query": names(ada=3, eve=1, mia=1, zoe=1)},
        "reactivateUser": {"query": names(ada=4, eve=1, mia=1, zoe=1)},
        "deleteUser": {"query": names(eve=1, mia=1, zoe=1)},
        "restoreUser": {"query": names(ada=6, eve=1, mia=1, zoe=1)},
        "bulkUsers": {"query": names(ada=7, eve=1, mia=1, zoe=1)},
        "eraseUser": {"query": {"user": {"username": "erased-3", "version": 3}}},
    }


async def test_same_lookup_after_two_writes_is_read_twice(directory: DirectoryClient) -> None:
    below = """{ query { viewer { displayName } node(id: $id) { ... on User { displayName
      history { countAtMost nodes { type } } } } nodes(ids: [$id]) { id }
      userBy(by: {username: "MIA"}) { displayName } } }"""
    mutation = f"""mutation ($id: ID!) {{
      a: updateUser(input: {{id: $id, displayName: "A"}}) {below}
      b: updateUser(input: {{id: $id, displayName: "B"}}) {below} }}"""

    def seen(name: str, *types: str) -> dict[str, Any]:
        history = {"countAtMost": len(types), "nodes": [{"type": type_} for type_ in types]}
        return {
            "query": {
                "viewer": {"displayName": name},
                "node": {"displayName": name, "history": history},
                "nodes": [{"id": id_of(ME)}],
                "userBy": {"displayName": name},
            }
        }

    answer = await directory.ask_all(linked(ME, *EVERY_SCOPE), mutation, id=id_of(ME))
    assert answer == {
        "a": seen("A", "CREATED", "UPDATED"),
        "b": seen("B", "CREATED", "UPDATED", "UPDATED"),
    }


async def test_rejected_and_validated_writes_read_the_unchanged_state(
    directory: DirectoryClient,
) -> None:
    before = await directory.all_rows()
    below = "{ errors { code } query { users(filter: {username: {eq: $name}}) { totalCount } } }"
    mutation = f"""mutation ($name: String!) {{
      taken: createUser(input: {{username: "ADA", email: "a@example.org"}}) {below}
      valid: createUser(
        input: {{username: $name, email: "e@example.org", validateOnly: true}}) {below}
      missing: eraseUser(input: {{id: "{id_of(99)}", confirmUsername: "x", reason: "x"}}) {below}
      batch: bulkUsers(input: {{operations: [{{delete: {{id: "{id_of(99)}"}}}}]}}) {below} }}"""
    nobody = {"users": {"totalCount": 0}}
    assert await directory.send(EVERYBODY, mutation, name="eve") == {
        "data": {
            "taken": {"errors": [{"code": "TAKEN"}], "query": nobody},
            "valid": {"errors": [], "query": nobody},
            "missing": {"errors": [{"code": "NOT_FOUND"}], "query": nobody},
            "batch": {"errors": [{"code": "BATCH_ABORTED"}], "query": nobody},
        }
    }
    assert await directory.all_rows() == before


async def test_replayed_answer_reads_the_present_state(directory: DirectoryClient) -> None:
    first = await directory.ask(EVERYBODY, KEYED)
    assert first == {"replayed": False, "errors": [], "query": {"users": {"totalCount": 3}}}
    delete = "mutation ($id: ID!) { deleteUser(input: {id: $id}) { changed } }"
    assert await directory.ask(EVERYBODY, delete, id=id_of(ADA)) == {"changed": True}
    again = await directory.ask(EVERYBODY, KEYED)
    assert again == {"replayed": True, "errors": [], "query": {"users": {"totalCount": 2}}}


async def test_reads_have_the_permissions_of_the_caller(directory: DirectoryClient) -> None:
    mutation = """mutation ($id: ID!) { deactivateUser(input: {id: $id}) { changed user { id }
      query { viewer { id } node(id: $id) { id } user(id: $id) { id } nodes(ids: [$id]) { id }
        users { totalCount nodes { id } } personalData(userId: $id) userEvents { nodes { id } } }
    } }"""
    hidden = {"node": None, "user": None, "nodes": [None]}
    failed = [
        ("FORBIDDEN", ["deactivateUser", "query", name]) for name in ("personalData", "userEvents")
    ]
    for caller, viewer, listed in (
        (service(Scope.WRITE), None, []),
        (linked(ME, Scope.WRITE), {"id": id_of(ME)}, [{"id": id_of(ME)}]),
    ):
        answer = await directory.send(caller, mutation, id=id_of(ADA))
        read = {
            "viewer": viewer,
            **hidden,
            "users": {"totalCount": len(listed), "nodes": listed},
            "personalData": None,
            "userEvents": None,
        }
        changed = viewer is None  # the first of the two
        payload = {"changed": changed, "user": None, "query": read}
        assert sorted(answer.pop("errors")) == failed
        assert answer == {"data": {"deactivateUser": payload}}


async def test_forbidden_write_still_reads(directory: DirectoryClient) -> None:
    before = await directory.all_rows()
    mutation = """mutation ($id: ID!) { deleteUser(input: {id: $id}) { errors { code }
      query { user(id: $id) { username } personalData(userId: $id) } } }"""
    answer = await directory.send(service(Scope.READ), mutation, id=id_of(ADA))
    assert answer == {
        "data": {
            "deleteUser": {
                "errors": [{"code": "FORBIDDEN"}],
                "query": {"user": {"username": "ada"}, "personalData": None},
            }
        },
        "errors": [("FORBIDDEN", ["deleteUser", "query", "personalData"])],
    }
    assert await directory.all_rows() == before


async def test_failed_read_of_a_non_null_field_keeps_the_result_of_the_write(
    directory: DirectoryClient,
) -> None:
    mutation = """mutation ($id: ID!, $ids: [ID!]!) {
      updateUser(input: {id: $id, displayName: "Ada"}) {
        changed errors { code } query { nodes(ids: $ids) { id } } } }"""
    given = {"id": id_of(ADA), "ids": [id_of(ADA)] * 101}
    assert await directory.send(EVERYBODY, mutation, **given) == {
        "data": {"updateUser": {"changed": True, "errors": [], "query": None}},
        "errors": [("INVALID_ARGUMENT", ["updateUser", "query", "nodes"])],
    }


async def test_write_without_query_runs_no_further_statements(
    client: Client, statements: list[str]
) -> None:
    create = """mutation ($name: String!, $email: String!, $reads: Boolean!) {
      createUser(input: {username: $name, email: $email}) {
        user { username } query @include(if: $reads) { users { totalCount } } } }"""
    ran = {}
    for name, reads in (("warm", False), ("ada", False), ("eve", True)):
        statements.clear()
        await client.ask(create, name=name, email=f"{name}@example.com", reads=reads)
        ran[name] = [text for text in statements if "count(" in text]
    assert [len(ran[name]) for name in ("ada", "eve")] == [0, 1]


async def test_concurrent_reads_below_a_payload_use_one_connection(database_url: str) -> None:
    mutation = """mutation { createUser(input: {username: "ada", email: "ada@example.com"}) {
      query { viewer { id } userBy(by: {username: "ada"}) { username }
        a: users { totalCount } b: users { countAtMost } c: users { nodes { username } } } } }"""
    async with serving(Settings(database_url=database_url, pool_size=5)) as client:
        await client.database.engine.dispose()
        pool: Any = client.database.engine.sync_engine.pool
        held: list[int] = []

        @event.listens_for(pool, "checkout")
        def count_checkout(*_: object) -> None:
            held.append(pool.checkedout())

        found = {"username": "ada"}
        assert await client.ask(mutation) == {
            "query": {
                "viewer": None,
                "userBy": found,
                "a": {"totalCount": 1},
                "b": {"countAtMost": 1},
                "c": {"nodes": [found]},
            }
        }
        assert (max(held), pool.checkedout()) == (1, 0)


@pytest.mark.parametrize("pool_size", [1, 5])
async def test_concurrent_mutations_with_reads_all_end(database_url: str, pool_size: int) -> None:
    settings = Settings(
        database_url=database_url, pool_size=pool_size, pool_timeout=300, mutation_timeout=300
    )
    mutation = """mutation ($name: String!, $email: String!) {
      createUser(input: {username: $name, email: $email}) { errors { code } query {
        userBy(by: {username: $name}) { username }
        users(filter: {username: {eq: $name}}) { totalCount countAtMost nodes { username } }
        userEvents(first: 1) { nodes { type } } } } }"""
    async with serving(settings) as client:

        async def create(number: int) -> None:
            name = f"user{number}"
            payload = await client.ask(mutation, name=name, email=f"{name}@example.com")
            found = {"username": name}
            assert payload == {
                "errors": [],
                "query": {
                    "userBy": found,
                    "users": {"totalCount": 1, "countAtMost": 1, "nodes": [found]},
                    "userEvents": {"nodes": [{"type": "CREATED"}]},
                },
            }

        await create(0)
        await asyncio.gather(*map(create, range(1, 30)))
        assert await count(client.database) == (30, 30)


@pytest.mark.parametrize(
    ("options", "fields", "error"),
    [
        (
            {"max_cost": 100},
            "a: users(first: 60) { nodes { id } } b: users(first: 60) { nodes { id } }",
            ("TOO_EXPENSIVE", 100),
        ),
        ({"max_depth": 4}, "users { nodes { id } }", ("TOO_DEEP", 4)),
        ({"max_aliases": 1}, "a: viewer { id } b: viewer { id }", ("TOO_MANY_ALIASES", 1)),
        ({"introspection": False}, "__schema { types { name } }", ("INTROSPECTION_DISABLED", None)),
        (
            {"introspection": False},
            '__type(name: "User") { name }',
            ("INTROSPECTION_DISABLED", None),
        ),
    ],
    ids=["cost", "depth", "aliases", "schema", "type"],
)
async def test_operation_over_a_limit_below_query_writes_nothing(
    database_url: str, options: dict[str, Any], fields: str, error: tuple[str, int | None]
) -> None:
    mutation = f"""mutation {{ createUser(input: {{username: "ada", email: "ada@example.com"}}) {{
      query {{ {fields} }} }} }}"""
    async with serving(Settings(database_url=database_url, **options)) as client:
        answer = await client.send(mutation)
        found = [e["extensions"] for e in answer["errors"]]
        assert [(each["code"], each.get("limit")) for each in found] == [error]
        assert answer.get("data") is None
        assert await count(client.database) == (0, 0)
