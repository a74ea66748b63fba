"""Every statement of an operation goes through its session. Observed at the driver."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from asyncpg.prepared_stmt import PreparedStatement
from graphql import FieldNode, GraphQLObjectType, TypeInfo, TypeInfoVisitor, Visitor, parse, visit
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from strawberry.utils.str_converters import to_camel_case

from db.session import Session
from graph.settings import Settings
from tests.support.client import Client, serving
from tests.support.schema import SCHEMA

EVENT = """id type at reason requestId versionAfter userId cursor user { username }
  actor { type kind id label user { username } }
  changes { fieldName field before after redacted } statusBefore statusAfter
  userEdge { cursor node { username } }"""
USER = f"""id databaseId username email displayName isActive status statusReason statusChangedAt
  externalId version createdAt updatedAt deletedAt eraseAfter erasedAt isViewer viewerCan
  history(first: 2, orderBy: NEWEST_FIRST) {{ countAtMost
    edges {{ cursor node {{ id }} }} pageInfo {{ endCursor }}
    nodes {{ {EVENT} }} }}"""
QUERIES = {
    "node": f"a: node(id: $id) {{ ...on User {{ {USER} }} }} b: node(id: $event) {{ id }}",
    "nodes": "nodes(ids: [$id, $event, $id]) { id }",
    "viewer": "viewer { username }",
    "user": f"user(id: $id) {{ {USER} }} brief: user(id: $id) {{ username }}",
    "userBy": 'a: userBy(by: {username: "ada"}) { id } b: userBy(by: {email: "ada@example.com"})'
    '{ id } c: userBy(by: {externalId: "x"}) { id } d: userBy(by: {id: $id}) { id }'
    'e: userBy(by: {databaseId: "1"}) { id }',
    "users": "users { totalCount followFrom nodes { username } } "
    'b: users(search: "ada") { countAtMost '
    "statusCounts { status count } edges { node { email } } } "
    "c: users(filter: {status: [DELETED]}, last: 3) { nodes { id } }",
    "userEvents": "userEvents(after: $cursor) { nodes { id } } b: userEvents(filter: "
    "{type: [CREATED]}, orderBy: NEWEST_FIRST) { countAtMost nodes { user { username } } }",
    "personalData": "personalData(userId: $id)",
    "validationRules": "validationRules { input field }",
    "viewerScopes": "viewerScopes",
}
READ_AGAIN = "query { users { totalCount followFrom nodes { id } } userEvents { nodes { id } } }"
PAYLOAD = (
    "{ errors { code message } user { username history(first: 1) { nodes { id } } } "
    f"{READ_AGAIN} }}"
)
MUTATIONS = {
    "createUser": f'createUser(input: {{username: "bob", email: "bob@x.org"}}) {PAYLOAD}'
    'taken: createUser(input: {username: "BOB", email: "bob@x.org"}) { errors { code } }'
    'once: createUser(input: {username: "cyd", email: "cyd@x.org", idempotencyKey: "k"})'
    "{ errors { code } }",
    "upsertUser": 'upsertUser(input: {by: {externalId: "x"}, username: "eve", email: "eve@x.org"}) '
    + PAYLOAD,
    "updateUser": f'updateUser(input: {{id: $id, displayName: "A"}}) {PAYLOAD}'
    "stale: updateUser(input: {id: $id, expectedVersion: 0}) { errors { code "
    "... on VersionConflictError { changedBy { label } changes { before } } } }",
    "deactivateUser": f"deactivateUser(input: {{id: $id}}) {PAYLOAD}",
    "reactivateUser": f"reactivateUser(input: {{id: $id}}) {PAYLOAD}",
    "deleteUser": f"deleteUser(input: {{id: $id}}) {PAYLOAD}",
    "restoreUser": f"restoreUser(input: {{id: $id}}) {PAYLOAD}",
    "bulkUsers": 'bulkUsers(input: {operations: [{create: {username: "cc1", email: "c1@x.org"}}, '
    f"{{delete: {{id: $id}}}}]}}) {{ errors {{ code }} results {{ user {{ id }} }} {READ_AGAIN} }}",
    "eraseUser": 'eraseUser(input: {id: $id, confirmUsername: "eve", reason: "As asked."}) '
    f"{{ errors {{ code }} {READ_AGAIN} }}",
}
# The feed's watermark is read once for all operations of a process.
OF_FEED = ("user_events.id DESC", "pg_locks", "WHERE user_events.id >= ")

_method: ContextVar[str] = ContextVar("method", default="")


class Statements:
    """The statements the driver executed, each with the session method that ran it."""

    def __init__(self, client: Client) -> None:
        self.ran: list[tuple[str, str]] = []
        self.open: list[str] = []  # running methods; a driver's thread has no context
        event.listen(client.database.engine.sync_engine, "connect", self._watch)

    def _watch(self, connection: Any, _: object) -> None:
        driver = connection.driver_connection
        if hasattr(driver, "add_query_logger"):
            driver.add_query_logger(lambda query: self.ran.append((query.query, _method.get())))
        else:
            connection._connection._conn.set_trace_callback(  # noqa: SLF001 - there is no public access
                lambda text: self.ran.append((text, self.open[-1] if self.open else ""))
            )

    def watch_prepared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Records prepared statements of asyncpg, which its query logger omits."""
        for name in ("fetch", "executemany"):
            method = getattr(PreparedStatement, name)

            async def run(prepared: Any, *given: Any, method: Any = method) -> Any:
                self.ran.append((prepared.get_query(), _method.get()))
                return await method(prepared, *given)

            monkeypatch.setattr(PreparedStatement, name, run)

    def past_the_session(self) -> list[str]:
        return [
            text
            for text, method in self.ran
            if not method and not any(part in text for part in OF_FEED)
        ]


@pytest.fixture(params=[False, True], ids=["unheard", "heard"])
async def watched(
    database_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Client, Statements]]:
    async with serving(Settings(database_url=database_url, pool_size=1)) as client:
        await client.database.engine.dispose()
        statements = Statements(client)
        statements.watch_prepared(monkeypatch)
        mark_methods(monkeypatch, statements)
        if request.param:
            engine = client.database.engine.sync_engine
            event.listen(engine, "before_cursor_execute", lambda *_: None)
        yield client, statements


def mark_methods(monkeypatch: pytest.MonkeyPatch, statements: Statements) -> None:
    """Sets the current method while a method of the session runs, and only then."""

    def marked(name: str) -> Any:
        method = getattr(Session, name)

        async def run(*given: Any, **options: Any) -> Any:
            with marking(name, statements):
                return await method(*given, **options)

        return run

    for name in ("execute", "scalar", "get", "fetch", "insert_user", "check_primary", "checkpoint"):
        monkeypatch.setattr(Session, name, marked(name))
    mark_loads(monkeypatch, statements)
    mark_transactions(monkeypatch, statements)


def mark_loads(monkeypatch: pytest.MonkeyPatch, statements: Statements) -> None:
    load = Session.load

    def run_load(*given: Any) -> Any:
        token = _method.set("load")
        try:
            loading = load(*given)
        finally:
            _method.reset(token)
        statements.open.append("load")
        loading.add_done_callback(lambda _: statements.open.remove("load"))
        return loading

    monkeypatch.setattr(Session, "load", run_load)


def mark_transactions(monkeypatch: pytest.MonkeyPatch, statements: Statements) -> None:
    transaction = Session.transaction

    @asynccontextmanager
    async def run_transaction(*given: Any, **options: Any) -> AsyncIterator[Any]:
        block = transaction(*given, **options)
        with marking("transaction", statements):
            session = await block.__aenter__()
        try:
            yield session
        except BaseException as error:
            with marking("transaction", statements):
                await block.__aexit__(type(error), error, error.__traceback__)
            raise
        with marking("transaction", statements):
            await block.__aexit__(None, None, None)

    monkeypatch.setattr(Session, "transaction", run_transaction)


class marking:  # noqa: N801 - as a function
    def __init__(self, name: str, statements: Statements) -> None:
        self._name, self._open = name, statements.open

    def __enter__(self) -> None:
        self._token = _method.set(self._name)
        self._open.append(self._name)

    def __exit__(self, *_: object) -> None:
        _method.reset(self._token)
        self._open.remove(self._name)


async def create_user_and_ids(client: Client) -> dict[str, str]:
    user = await client.create("ada", externalId="x")
    [event_of_user] = (
        await client.ask(
            "query ($id: ID!) { user(id: $id) { history { edges { cursor node { id } } } } }",
            id=user["id"],
        )
    )["history"]["edges"]
    return {
        "id": user["id"],
        "event": event_of_user["node"]["id"],
        "cursor": event_of_user["cursor"],
    }


def document(kind: str, fields: str) -> str:
    given = {"$id: ID!": "$id", "$event: ID!": "$event", "$cursor: String!": "$cursor"}
    declared = ", ".join(name for name, used in given.items() if used in fields)
    return f"{kind} {f'({declared})' if declared else ''} {{ {fields} }}"


@pytest.mark.parametrize("field", QUERIES)
async def test_queries_run_every_statement_through_the_session(
    watched: tuple[Client, Statements], field: str
) -> None:
    client, statements = watched
    given = await create_user_and_ids(client)
    statements.ran.clear()
    answer = await client.send(
        document("query", QUERIES[field]),
        **{k: v for k, v in given.items() if f"${k}" in QUERIES[field]},
    )
    assert "errors" not in answer, answer
    assert statements.past_the_session() == []
    assert any(method for _, method in statements.ran) or field in {
        "viewer",
        "viewerScopes",
        "validationRules",
    }


async def test_mutations_run_every_statement_through_the_session(
    watched: tuple[Client, Statements],
) -> None:
    client, statements = watched
    given = await create_user_and_ids(client)
    for fields in MUTATIONS.values():
        statements.ran.clear()
        answer = await client.send(
            document("mutation", fields), **({"id": given["id"]} if "$id" in fields else {})
        )
        assert "errors" not in answer, answer
        failed_fields = {name for name, payload in answer["data"].items() if payload["errors"]}
        assert failed_fields <= {"taken", "stale"}, answer
        assert statements.past_the_session() == []
        assert statements.ran


async def test_statement_that_bypasses_the_session_is_detected(
    watched: tuple[Client, Statements],
) -> None:
    client, statements = watched
    async with AsyncSession(client.database.engine) as session:
        await session.execute(text("SELECT 42"))
    assert "SELECT 42" in statements.past_the_session()


def test_cases_cover_every_field_with_a_resolver() -> None:
    converted = SCHEMA._schema  # noqa: SLF001 - Strawberry has no public access
    assert converted.query_type
    assert converted.mutation_type
    assert set(QUERIES) == set(converted.query_type.fields)
    assert set(MUTATIONS) == set(converted.mutation_type.fields)
    selected: set[str] = set()
    info = TypeInfo(converted)

    class Fields(Visitor):
        def enter_field(self, node: FieldNode, *_: object) -> None:
            parent = info.get_parent_type()
            selected.add(f"{parent.name if parent else ''}.{node.name.value}")

    for kind, documents in (("query", QUERIES), ("mutation", MUTATIONS)):
        for fields in documents.values():
            visit(parse(document(kind, fields)), TypeInfoVisitor(info, Fields()))
    resolved = {
        f"{name}.{field.graphql_name or to_camel_case(field.python_name)}"
        for name, type_ in converted.type_map.items()
        if isinstance(type_, GraphQLObjectType)
        and (definition := type_.extensions.get("strawberry-definition"))
        for field in definition.fields
        if field.base_resolver and name != "Subscription"
    }
    assert resolved
    assert resolved - selected == set()
