"""The schema is the only way to execute an operation, with or without a transport."""

import asyncio
from typing import Any, cast

import pytest
import strawberry
from fastapi import FastAPI
from graphql import GraphQLError, parse
from httpx import ASGITransport, AsyncClient
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from strawberry.extensions import DisableValidation
from strawberry.fastapi import GraphQLRouter
from strawberry.schema.config import StrawberryConfig

from db.models import User
from graph.api import queries as api
from graph.api.context import GraphInfo
from graph.execution.limited_execution import LimitedExecution, UnsupportedSchemaError
from graph.execution.options import ExecutionOptions, OperationTimeouts
from graph.execution.schema import Schema, build_schema
from graph.execution.standalone import operation_context
from graph.limits.throttle import RateLimiter
from graph.settings import Settings
from tests.support.client import serving
from tests.support.loop_time import pass_time

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ALIASES = "{ " + " ".join(f"a{n}: __typename" for n in range(16)) + " }"
COUNT = "{ users { totalCount } }"


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "hello"


class Limited(LimitedExecution):
    pass


@sqlite
async def test_operations_are_executed_without_http(database_url: str) -> None:
    settings = Settings(database_url=database_url)
    schema = build_schema(settings)
    async with operation_context(settings) as context:
        result = await schema.execute(COUNT, context_value=context)
        assert (result.data, result.errors) == ({"users": {"totalCount": 0}}, None)
    async with operation_context(settings) as context:
        create = """mutation ($input: CreateUserInput!) {
          createUser(input: $input) { user { username } } }"""
        given = {"input": {"username": "ada", "email": "a@b.example"}}
        result = await schema.execute(create, given, context)
        assert result.data == {"createUser": {"user": {"username": "ada"}}}


@sqlite
async def test_events_are_streamed_without_http(database_url: str) -> None:
    settings = Settings(database_url=database_url)
    schema = build_schema(settings)
    async with operation_context(settings) as context:
        create = """mutation {
          createUser(input: {username: "ada", email: "a@b.example"}) { user { id } } }"""
        first = await schema.execute(create, context_value=context)
        assert first.errors is None
    async with operation_context(settings) as context:
        listed = "{ userEvents { edges { cursor } } }"
        await schema.execute(
            create.replace("ada", "bob").replace("a@", "b@"), context_value=context
        )
    async with operation_context(settings) as context:
        found: Any = await schema.execute(listed, context_value=context)
        cursor = found.data["userEvents"]["edges"][0]["cursor"]
        follow = "subscription ($after: String) { userEvents(after: $after) { type versionAfter } }"
        results = await schema.subscribe(follow, {"after": cursor}, context)
        async for result in results:
            assert result.data == {"userEvents": {"type": "CREATED", "versionAfter": 1}}
            break
        await results.aclose()


async def test_limits_apply_in_strawberrys_router() -> None:
    app = FastAPI()
    app.include_router(GraphQLRouter(Limited(query=Query)), prefix="/graphql")
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as http:
        answer = await http.post("/graphql", json={"query": "{ hello }"})
        assert answer.json() == {"data": {"hello": "hello"}}
        for query, code in (
            (ALIASES, "TOO_MANY_ALIASES"),
            ("{ hello }" + " " * 20_000, "QUERY_TOO_LONG"),
            ("{ " + "hello " * 1_001 + "}", "TOO_MANY_TOKENS"),
        ):
            answer = await http.post("/graphql", json={"query": query})
            assert answer.json()["errors"][0]["extensions"]["code"] == code
            async with http.stream(
                "POST", "/graphql", json={"query": query}, headers={"accept": "text/event-stream"}
            ) as stream:
                assert code in (await stream.aread()).decode()


class ReplacingExtension(strawberry.extensions.SchemaExtension):
    """Replaces the document before it is validated."""

    def on_validate(self) -> Any:
        self.execution_context.graphql_document = parse(str(self.execution_context.query))
        yield


@pytest.mark.parametrize(
    "extensions",
    [
        (),
        (strawberry.extensions.ParserCache,),
        (strawberry.extensions.ValidationCache,),
        (strawberry.extensions.ParserCache, strawberry.extensions.ValidationCache),
        (ReplacingExtension,),
    ],
)
async def test_limits_apply_to_execute_stream_and_subscribe(extensions: Any) -> None:
    schema = Limited(query=Query, extensions=extensions)
    for query, code in (
        (ALIASES, "TOO_MANY_ALIASES"),
        ("{ hello }" + " " * 20_000, "QUERY_TOO_LONG"),
        ("{ hello " + "@skip(if: false) " * 21 + "}", "TOO_MANY_DIRECTIVES"),
    ):
        results = [
            await schema.execute(query),
            *[each async for each in await schema.stream(query)],
            *[each async for each in await schema.subscribe(query)],
        ]
        assert len(results) == 3
        for result in results:
            assert result.data is None
            assert (result.errors[0].extensions or {})["code"] == code
    with pytest.raises(RuntimeError, match="await schema"):
        schema.execute_sync("{ hello }")


class RewritingExtension(strawberry.extensions.SchemaExtension):
    """Replaces the text of a query by the one in its context."""

    def on_operation(self) -> Any:
        self.execution_context.query = self.execution_context.context
        yield


async def test_limits_apply_to_a_text_that_an_extension_replaces() -> None:
    schema = Limited(query=Query, extensions=[RewritingExtension])
    result = await schema.execute("{ __typename }", context_value="{ hello }")
    assert (result.data, result.errors) == ({"hello": "hello"}, None)
    for query, code in (
        (ALIASES, "TOO_MANY_ALIASES"),
        ("{ hello }" + " " * 20_000, "QUERY_TOO_LONG"),
        ("{ hello", "GRAPHQL_PARSE_FAILED"),
        ("{ unknown }", "GRAPHQL_VALIDATION_FAILED"),
    ):
        result = await schema.execute("{ __typename }", context_value=query)
        assert result.data is None
        assert ((result.errors or [])[0].extensions or {})["code"] == code


class ManyRowsExtension(strawberry.extensions.SchemaExtension):
    """Changes the variables of an operation in place, or replaces them."""

    def on_operation(self) -> Any:
        if self.execution_context.context == "in place":
            cast("dict[str, Any]", self.execution_context.variables)["first"] = 500
        else:
            self.execution_context.variables = {"first": 500}
        yield


@pytest.mark.parametrize("way", ["in place", "replaced"])
async def test_cost_limit_applies_to_variables_that_an_extension_changes(way: str) -> None:
    text = """query($first: Int) { users(first: $first) {
      edges { node { history(first: 100) { edges { node { id } } } } } } }"""
    schema = Schema(extensions=[ManyRowsExtension])
    result = await schema.execute(text, {"first": 1}, context_value=way)
    assert [(error.extensions or {})["code"] for error in result.errors or []] == ["TOO_EXPENSIVE"]


class StreamingExtension(strawberry.extensions.SchemaExtension):
    """Counts the results of streams, and reports an error of its own."""

    seen: list[Any] = []  # noqa: RUF012 - of this test

    def on_validate(self) -> Any:
        self.execution_context.pre_execution_errors = [GraphQLError("mine")]
        yield

    def on_stream_result(self, result: Any) -> Any:
        self.seen.append(result)
        yield


async def test_extension_sees_the_streamed_result_of_an_invalid_document() -> None:
    schema = Limited(query=Query, extensions=[StreamingExtension])
    StreamingExtension.seen.clear()
    [result] = [each async for each in await schema.stream("{ unknown }")]
    assert [error.message for error in result.errors or []] == ["mine"]
    assert StreamingExtension.seen == [result]


@strawberry.type
class SlowQuery:
    @strawberry.field
    async def slow(self) -> int:
        await asyncio.sleep(3600)
        return 1


@pytest.mark.parametrize("extensions", [(), (strawberry.extensions.ParserCache,)])
async def test_time_and_concurrency_limits_apply_to_a_streamed_query(extensions: Any) -> None:
    options = ExecutionOptions(
        timeouts=OperationTimeouts(query=60), rate_limiter=RateLimiter(None, 1, 1)
    )
    schema = Limited(query=SlowQuery, extensions=extensions, options=options)

    async def code() -> str:
        [result] = [each async for each in await schema.stream("{ slow }")]
        return str((result.errors[0].extensions or {})["code"])

    [rejected], [executed] = await asyncio.wait(
        [asyncio.create_task(code()) for _ in range(2)], return_when=asyncio.FIRST_COMPLETED
    )
    assert await rejected == "OVERLOADED"
    pass_time(60)
    assert await executed == "TIMEOUT"


def test_unsupported_extension_or_option_is_rejected() -> None:
    with pytest.raises(UnsupportedSchemaError, match="DisableValidation"):
        Limited(query=Query, extensions=[DisableValidation])
    config = StrawberryConfig(enable_experimental_incremental_execution=True)
    with pytest.raises(UnsupportedSchemaError, match="enable_experimental_incremental_execution"):
        Limited(query=Query, config=config)


class NotingExtension(strawberry.extensions.SchemaExtension):
    seen: list[str] = []  # noqa: RUF012 - of this test

    def on_operation(self) -> Any:
        self.seen.append(str(self.execution_context.query))
        yield

    def get_results(self) -> dict[str, Any]:
        return {"noted": True}


@sqlite
async def test_transports_run_schema_extensions(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.app.build_schema", lambda *_: Schema(extensions=[NotingExtension]))
    NotingExtension.seen.clear()
    async with serving(Settings(database_url=database_url)) as client:
        answer = (await client.http.post("/graphql", json={"query": COUNT})).json()
        assert answer == {"data": {"users": {"totalCount": 0}}, "extensions": {"noted": True}}
        answer = (await client.http.post("/graphql", json={"query": "{ nothing }"})).json()
        assert answer["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert NotingExtension.seen == [COUNT, "{ nothing }"]


@strawberry.type
class ReadingQuery(api.Query):
    @strawberry.field
    async def one(self, info: GraphInfo) -> int:
        return int((await info.context.session.execute(text("SELECT 1"))).scalar_one())

    @strawberry.field
    async def names(self, info: GraphInfo) -> list[str]:
        assert isinstance(info.context.session, AsyncSession)
        found = await info.context.session.scalars(select(User.username).order_by(User.id))
        return list(found)


async def test_statements_of_two_fields_share_one_connection_with_twenty_lookups(
    database_url: str,
) -> None:
    settings = Settings(database_url=database_url, pool_size=1, pool_timeout=60)
    schema = Schema(ExecutionOptions(limits=settings.document_limits()), query=ReadingQuery)
    aliases = " ".join(f'u{n}: user(id: "VXNlcjox") {{ username }}' for n in range(20))
    async with operation_context(settings) as context:
        create = """mutation {
          createUser(input: {username: "ada", email: "a@b.example"}) { user { id } } }"""
        assert (await schema.execute(create, context_value=context)).errors is None
        read = f"{{ one names again: one {aliases} }}"
        result = await schema.execute(read, context_value=context)
    users = {f"u{n}": {"username": "ada"} for n in range(20)}
    assert result.errors is None
    assert result.data == {"one": 1, "names": ["ada"], "again": 1, **users}


@strawberry.type
class AppendingQuery:
    @strawberry.field
    def appended(self, info: GraphInfo, texts: list[str], more: str = "") -> list[str]:  # noqa: ARG002 - for the fast path
        texts.append(more)
        return texts


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ('{ appended(texts: ["a"], more: "x") }', None),
        ('query ($more: String!) { appended(texts: ["a"], more: $more) }', {"more": "x"}),
    ],
)
async def test_list_that_a_resolver_changes_is_unchanged_in_the_next_execution(
    query: str, variables: dict[str, Any] | None
) -> None:
    schema = Limited(query=AppendingQuery, options=ExecutionOptions(shares_arguments=True))
    for _ in range(3):
        result = await schema.execute(query, variables)
        assert (result.data, result.errors) == ({"appended": ["a", "x"]}, None)
