"""Strawberry's documented features have the same effect as with Strawberry's own class."""

# ruff: noqa: ARG001, ARG002, ARG003, S105 - resolvers have the parameters that are tested

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, NewType, cast

import pytest
import strawberry
from graphql import GraphQLError
from strawberry import relay
from strawberry.dataloader import DataLoader
from strawberry.directive import DirectiveLocation, DirectiveValue
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import (
    AddValidationRules,
    DisableIntrospection,
    FieldExtension,
    MaskErrors,
    ParserCache,
    SchemaExtension,
    ValidationCache,
)
from strawberry.extensions.field_extension import AsyncExtensionResolver, SyncExtensionResolver
from strawberry.federation import Schema as FederationSchema
from strawberry.permission import BasePermission
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exception_handlers import ExceptionHandler
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema_directive import Location
from strawberry.types import Info
from strawberry.types.field import StrawberryField
from strawberry.types.graphql import OperationType

from graph.execution.limited_execution import LimitedExecution
from graph.strawberry_adapter import STRAWBERRY_EXECUTION_CONTEXT

notes: list[str] = []


class Denied(BasePermission):
    message = "not for you"
    error_extensions = {"code": "DENIED"}  # noqa: RUF012 - as Strawberry declares it

    def has_permission(self, source: Any, info: Any, **arguments: Any) -> bool:
        notes.append(f"asked {info.field_name} {arguments}")
        return bool(arguments.get("word") == "please")


class AsyncAllowed(BasePermission):
    async def has_permission(self, source: Any, info: Any, **_: Any) -> bool:
        return True


class LoudExtension(FieldExtension):
    def __init__(self, mark: str = "!") -> None:
        self.mark = mark

    def resolve(self, next_: SyncExtensionResolver, source: Any, info: Any, **given: Any) -> Any:
        return str(next_(source, info, **given)).upper() + self.mark

    async def resolve_async(
        self, next_: AsyncExtensionResolver, source: Any, info: Any, **given: Any
    ) -> Any:
        return str(await next_(source, info, **given)).upper() + self.mark


@dataclass
class Record:
    name: str
    age: int = 7


def full_name(parent: strawberry.Parent[Record]) -> str:
    return f"{parent.name} of Parent"


async def first_letter(root: Any, info: Info) -> str:
    return f"{root.name[0]} {info.field_name} {info.python_name} {sorted(info.variable_values)}"


@strawberry.type
class Person:
    name: str
    secret: strawberry.Private[str] = "hidden"
    age: int = strawberry.field(default=7, permission_classes=[AsyncAllowed])
    full_name: str = strawberry.field(resolver=full_name)
    first_letter: str = strawberry.field(resolver=first_letter)

    @strawberry.field(extensions=[LoudExtension("?"), LoudExtension("!")])
    def loud(self, info: Info, times: int = 1) -> str:
        return self.name * times

    @strawberry.field(extensions=[LoudExtension()])
    async def loud_later(self, info: Info) -> str:
        return self.name

    @strawberry.field(permission_classes=[Denied])
    def guarded(self, info: Info, word: str = "now") -> str:
        return f"guarded {word} {self.secret}"

    @strawberry.field
    def shown(self, my_info: Info) -> str:
        return my_info.field_name

    @strawberry.field
    def rooted(self, root: Any, info: Info) -> str:
        return f"{root.name} {self is root} {info.field_name}"

    @strawberry.field
    def extended(self, info: Info) -> str:
        return str(info.input_extensions)


@strawberry.type
class Rock:
    weight: float

    @classmethod
    def is_type_of(cls, obj: Any, _info: Any) -> bool:
        return isinstance(obj, Rock | Record)


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Cat(Named):
    lives: int = 9


@strawberry.type
class Dog(Named):
    tricks: list[str]


@strawberry.type
class Planet(relay.Node):
    id: relay.NodeID[int]
    title: str

    @classmethod
    def resolve_nodes(cls, *, info: Any, node_ids: Any, required: bool = False) -> Any:
        return [Planet(id=int(each), title=f"planet {each}") for each in node_ids]


class Tone(Enum):
    LOW = "low"
    HIGH = "high"


Tones = strawberry.enum(Tone)
Shout = NewType("Shout", str)
SHOUT = strawberry.scalar(
    name="Shout", serialize=lambda value: value.upper(), parse_value=lambda text: text.lower()
)


@strawberry.input
class Inner:
    tone: Tones = Tone.LOW  # type: ignore[valid-type]
    words: list[Shout] | None = strawberry.UNSET


@strawberry.input
class Given:
    inner: Inner
    note: strawberry.Maybe[str | None]
    numbers: list[int] = strawberry.field(default_factory=lambda: [1])


async def load(keys: list[int]) -> list[str]:
    notes.append(f"loaded {keys}")
    return [f"number {key}" for key in keys]


@strawberry.type
class Problem:
    reason: str


@strawberry.type
class Query:
    @strawberry.field
    def person(self, info: Info) -> Person:
        return Person(name="ada")

    @strawberry.field
    async def people(self) -> list[Person]:
        return [Person(name="ada"), Person(name="bob")]

    @strawberry.field
    def numbers(self) -> list[int]:
        return cast("list[int]", (number for number in (1, 2)))

    @strawberry.field
    def things(self) -> list[Annotated[Cat | Dog, strawberry.union("Thing")]]:
        return [Cat(name="Tom"), Dog(name="Rex", tricks=["sit"])]

    @strawberry.field
    def named(self) -> list[Named]:
        return [Dog(name="Rex", tricks=[]), Cat(name="Tom")]

    @strawberry.field
    def rock(self) -> Rock:
        return Rock(weight=1.5)

    @strawberry.field
    async def loaded(self, info: Info, key: int) -> str:
        return cast("str", await info.context["loader"].load(key))

    @strawberry.field
    def said(self, info: Info, text: Shout, given: Given) -> Shout:
        return Shout(f"{text} {given} {given.inner.words is strawberry.UNSET}")

    @strawberry.field
    def planet(self, info: Info, id: relay.GlobalID) -> str:
        return f"{type(id).__name__} {id.type_name} {id.node_id}"

    @strawberry.field
    def crash(self) -> str:
        raise ZeroDivisionError("crashed")

    @strawberry.field
    def rooted(self, info: Info) -> str:
        return f"{info.root_value} {self} {info.context}"


@strawberry.type
class Mutation:
    @strawberry.mutation(permission_classes=[Denied])
    async def change(self, info: Info, word: str) -> str:
        notes.append(f"changed {word}")
        return word


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info, to: int = 2) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number

    @strawberry.subscription(permission_classes=[Denied])
    async def guarded(self, info: Info, word: str) -> AsyncGenerator[str, None]:
        yield word

    @strawberry.subscription
    async def breaking(self) -> AsyncGenerator[int, None]:
        yield 1
        raise ZeroDivisionError("broke")


@strawberry.directive(locations=[DirectiveLocation.FIELD])
def replace(value: DirectiveValue[str], old: str, new: str) -> str:
    return value.replace(old, new)


@strawberry.directive(locations=[DirectiveLocation.FIELD])
async def louder(value: DirectiveValue[str], info: Info) -> str:
    return f"{value.upper()} {info.field_name}"


@strawberry.schema_directive(locations=[Location.FIELD_DEFINITION])
class Owner:
    team: str


class Limited(LimitedExecution):
    pass


class RecordingExtension(SchemaExtension):
    """Records every hook, with the errors and the result that it sees."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def note(self, text: str) -> None:
        notes.append(f"{self.name} {text}")

    def on_operation(self) -> Iterator[None]:
        self.note("operation begins")
        yield
        context = self.execution_context
        self.note(f"operation ends {context.operation_name}")

    async def on_parse(self) -> AsyncIterator[None]:
        self.note("parse begins")
        yield
        self.note(f"parse ends {self.execution_context.graphql_document is not None}")

    def on_validate(self) -> Iterator[None]:
        self.note("validate begins")
        yield
        errors = self.execution_context.pre_execution_errors or []
        self.note(f"validate ends {[error.message for error in errors]}")

    def on_execute(self) -> Iterator[None]:
        self.note("execute begins")
        yield
        result = self.execution_context.result
        self.note(f"execute ends {result and result.data}")

    async def resolve(self, _next: Any, root: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
        self.note(f"resolves {info.field_name}")
        found = _next(root, info, *args, **kwargs)
        return await found if hasattr(found, "__await__") else found

    def get_results(self) -> dict[str, Any]:
        return {f"noted{self.name}": True}


class RenamingExtension(SchemaExtension):
    async def resolve(self, _next: Any, root: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
        found = _next(root, info, *args, **kwargs)
        found = await found if hasattr(found, "__await__") else found
        return f"renamed {found}" if info.field_name == "name" else found


def schemas(**parts: Any) -> tuple[strawberry.Schema, strawberry.Schema]:
    given: dict[str, Any] = {
        "query": Query,
        "mutation": Mutation,
        "subscription": Subscription,
        "types": [Cat, Dog],
        "config": StrawberryConfig(scalar_map={Shout: SHOUT}),
    }
    return strawberry.Schema(**given | parts), Limited(**given | parts)


def seen(result: Any) -> Any:
    """The data, errors with the types of their causes, and extensions of a result."""
    errors = [
        (error.formatted, type(error.original_error).__name__) for error in result.errors or ()
    ]
    return result.data, errors, result.extensions or {}


async def executed(schema: strawberry.Schema, query: str, **given: Any) -> Any:
    notes.clear()
    context = {"loader": DataLoader(load_fn=load)}
    result = await schema.execute(query, **{"context_value": context} | given)
    return *seen(result), list(notes)


async def assert_same(query: str, parts: dict[str, Any] | None = None, **given: Any) -> Any:
    """Executes several times, since the compiler generates code for the second execution."""
    plain, limited = schemas(**parts or {})
    expected = await executed(plain, query, **given)
    for _ in range(3):
        assert await executed(limited, query, **given) == expected
    return expected


QUERIES = [
    "{ person { name age fullName firstLetter shown extended } }",
    "query ($a: Int) { person { firstLetter loud(times: $a) } }",
    "{ people { rooted } }",
    "{ people { name age loud loudLater(  ) fullName } }".replace("(  )", ""),
    '{ person { guarded yes: guarded(word: "please") } }',
    "{ numbers things { __typename ... on Named { name } ... on Cat { lives } } }",
    "{ named { name ... on Dog { tricks } } rock { weight __typename } }",
    "{ a: loaded(key: 1) b: loaded(key: 2) }",
    '{ said(text: "LOUD", given: {inner: {tone: HIGH, words: ["A"]}, note: null}) }',
    '{ said(text: "LOUD", given: {inner: {}}) }',
    '{ planet(id: "UGxhbmV0OjE=") }',
    '{ planet(id: "no") }',
    "{ crash }",
    '{ __schema { types { name } } __type(name: "Person") { fields { name } } }',
    'mutation { change(word: "please") }',
    'mutation { change(word: "now") }',
]


@pytest.mark.parametrize("query", QUERIES)
async def test_fields_match_strawberry(query: str) -> None:
    variables = {"a": 2} if "$a" in query else None
    await assert_same(query, variable_values=variables)


def relay_query() -> type:
    """Declares a new query type, since Relay's field extensions can be applied only once."""

    @strawberry.type
    class RelayQuery:
        node: relay.Node = relay.node()

        @relay.connection(relay.ListConnection[Planet])
        def planets(self) -> list[Planet]:
            return [Planet(id=n, title=f"planet {n}") for n in range(3)]

    return RelayQuery


async def test_relay_nodes_and_connections_match_strawberry() -> None:
    text = """{ node(id: "UGxhbmV0OjE=") { ... on Planet { title id } }
      planets(first: 2) { edges { cursor node { id title } } pageInfo { hasNextPage } } }"""
    expected = await executed(strawberry.Schema(query=relay_query()), text)
    assert not expected[1]
    limited = Limited(query=relay_query())
    for _ in range(3):
        assert await executed(limited, text) == expected


async def test_permission_class_denies_access() -> None:
    data, errors, _, noted = await assert_same("{ person { guarded } }")
    assert data is None
    assert errors[0][0]["message"] == "not for you"
    assert errors[0][0]["extensions"] == {"code": "DENIED"}
    assert noted == ["asked guarded {'word': 'now'}"]


@pytest.mark.parametrize("query", QUERIES)
async def test_fields_with_schema_extensions_match_strawberry(query: str) -> None:
    variables = {"a": 2} if "$a" in query else None
    parts = {
        "extensions": [RecordingExtension, lambda: RecordingExtension("second"), RenamingExtension]
    }
    _, _, extensions, noted = await assert_same(query, parts, variable_values=variables)
    assert extensions == {"noted": True, "notedsecond": True}
    assert noted[0] == " operation begins"


async def test_extension_instance_takes_effect() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = await assert_same("{ person { name } }", {"extensions": [RenamingExtension()]})
    assert found[0] == {"person": {"name": "renamed ada"}}


@pytest.mark.parametrize("query", ["{", "{ nothing }", "{ person { name } } query B { crash }"])
async def test_hooks_run_for_invalid_documents(query: str) -> None:
    parts = {"extensions": [RecordingExtension]}
    plain, limited = schemas(**parts)
    given = {"operation_name": "B"} if "B" in query else {}
    expected = await executed(plain, query, **given)
    found = await executed(limited, query, **given)
    assert found[0] == expected[0]
    assert found[3] == expected[3]
    assert [error[0]["message"] for error in found[1]] == [e[0]["message"] for e in expected[1]]


@pytest.mark.parametrize(
    "query",
    [
        '{ person { name @replace(old: "a", new: "o") } }',
        'query ($new: String!) { person { name @replace(old: "a", new: $new) @louder } }',
        "{ person { name @louder @skip(if: false) } }",
    ],
)
async def test_operation_directives_take_effect(query: str) -> None:
    variables = {"new": "i"} if "$new" in query else None
    parts = {"directives": [replace, louder]}
    data, errors, _, _ = await assert_same(query, parts, variable_values=variables)
    assert not errors
    assert data["person"]["name"] != "ada"


async def test_schema_directives_are_printed() -> None:
    @strawberry.type
    class Owned:
        name: str = strawberry.field(directives=[Owner(team="core")], default="x")

    @strawberry.type
    class OwnedQuery:
        @strawberry.field
        def owned(self) -> Owned:
            return Owned()

    plain, limited = strawberry.Schema(query=OwnedQuery), Limited(query=OwnedQuery)
    assert '@owner(team: "core")' in limited.as_str() == plain.as_str()
    assert limited.introspect() == plain.introspect()


async def test_arguments_of_execute_take_effect() -> None:
    text = 'query A { rooted } query B { person { name } } mutation C { change(word: "w") }'
    given: dict[str, Any] = {"root_value": "root", "context_value": None}
    found = await assert_same(text, operation_name="A", **given)
    assert found[0] == {"rooted": "root root None"}
    await assert_same("{ person { extended } }", operation_extensions={"a": 1})
    plain, limited = schemas()
    allowed: Any = {"allowed_operation_types": [OperationType.QUERY]}
    for schema in (plain, limited):
        with pytest.raises(InvalidOperationTypeError):
            await schema.execute(text, operation_name="C", **allowed)
        with pytest.raises(CannotGetOperationTypeError):
            await schema.execute(text, operation_name="D")
        with pytest.raises(MissingQueryError):
            await schema.execute(None)


async def test_invalid_variables_are_errors() -> None:
    _, limited = schemas()
    result = await limited.execute(
        "query ($a: Int!) { person { loud(times: $a) } }", variable_values={"a": "x"}
    )
    assert result.data is None
    assert result.errors


async def test_process_errors_is_called() -> None:
    class Processing(Limited):
        def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
            notes.extend(f"processed {error.message}" for error in errors)
            notes.append(f"of {execution_context and execution_context.query}")

    schema = Processing(query=Query, config=StrawberryConfig(scalar_map={Shout: SHOUT}))
    assert (await executed(schema, "{ crash }"))[3] == ["processed crashed", "of { crash }"]
    assert (await executed(schema, "{ no }"))[3][0].startswith("processed Cannot query field")


async def test_default_resolver_takes_effect() -> None:
    @strawberry.type
    class Loose:
        name: str

    @strawberry.type
    class LooseQuery:
        @strawberry.field
        def loose(self) -> list[Loose]:
            return cast("list[Loose]", [{"name": "of a mapping"}])

        @strawberry.field
        def rock(self) -> Rock:
            return Rock(weight=1)

    def get(source: Any, name: str) -> Any:
        return source[name] if isinstance(source, dict) else getattr(source, name)

    parts = {
        "query": LooseQuery,
        "mutation": None,
        "subscription": None,
        "types": (),
        "config": StrawberryConfig(default_resolver=get, auto_camel_case=False),
    }
    found = await assert_same("{ loose { name } rock { weight } }", parts)
    assert found[0] == {"loose": [{"name": "of a mapping"}], "rock": {"weight": 1.0}}


class CustomInfo(Info[Any, Any]):
    @property
    def tenant(self) -> str:
        return f"tenant of {self.field_name} {self.input_extensions}"


async def test_custom_info_and_field_classes_take_effect() -> None:
    class Counting(StrawberryField):
        def get_result(self, source: Any, info: Any, args: Any, kwargs: Any) -> Any:
            return f"counted {super().get_result(source, info, args, kwargs)}"

    def called(self: Any, info: Info) -> str:
        return "x"

    @strawberry.type
    class CustomQuery:
        @strawberry.field
        def tenant(self, info: Info) -> str:
            return cast("Any", info).tenant  # type: ignore[no-any-return]

        counted: str = Counting(  # type: ignore[assignment] # a field class has no overloads
            python_name="counted", default="basic"
        )
        method: str = strawberry.field(resolver=called)

    parts = {
        "query": CustomQuery,
        "mutation": None,
        "subscription": None,
        "types": (),
        "config": StrawberryConfig(info_class=CustomInfo),
    }
    found = await assert_same("{ tenant counted method }", parts, root_value=CustomQuery())
    assert found[0] == {
        "tenant": "tenant of tenant None",
        "counted": "counted basic",
        "method": "x",
    }


async def test_exception_handler_takes_effect() -> None:
    class Handler(ExceptionHandler[ZeroDivisionError]):
        exception_type = ZeroDivisionError
        error_type = Problem

        def handle(self, exception: Any, *, field: Any, info: Any) -> Any:
            return Problem(reason=str(exception))

    @strawberry.type
    class HandledQuery:
        @strawberry.field
        def risky(self, info: Info) -> Annotated[Rock | Problem, strawberry.union("Risk")]:
            raise ZeroDivisionError("handled")

    parts = {
        "query": HandledQuery,
        "mutation": None,
        "subscription": None,
        "types": (),
        "exception_handlers": [Handler()],
    }
    found = await assert_same("{ risky { ... on Problem { reason } } }", parts)
    assert found[0] == {"risky": {"reason": "handled"}}


async def test_bundled_extensions_of_strawberry_take_effect() -> None:
    from graphql import ValidationRule  # noqa: PLC0415

    class NoCrash(ValidationRule):
        def enter_field(self, node: Any, *_: Any) -> None:
            if node.name.value == "crash":
                self.report_error(GraphQLError("no crashing", node))

    rules = {"extensions": [lambda: AddValidationRules([NoCrash])]}
    assert (await assert_same("{ crash }", rules))[1][0][0]["message"] == "no crashing"
    await assert_same("{ person { name } }", rules)
    found = await assert_same("{ crash }", {"extensions": [MaskErrors]})
    assert found[1][0][0]["message"] == "Unexpected error."
    for extension in (ParserCache, ValidationCache):
        await assert_same("{ person { name } }", {"extensions": [extension]})
    found = await assert_same(
        "{ __schema { types { name } } }", {"extensions": [DisableIntrospection]}
    )
    assert found[1]


async def streamed(schema: strawberry.Schema, query: str, *, only: bool = True) -> Any:
    notes.clear()
    call = schema.subscribe if only else schema.stream
    return [seen(result) async for result in await call(query)], list(notes)


@pytest.mark.parametrize("extensions", [(), (RecordingExtension,)])
@pytest.mark.parametrize(
    "query",
    [
        "subscription { count }",
        "subscription { count(to: 3) }",
        'subscription { guarded(word: "please") }',
        'subscription { guarded(word: "now") }',
        "subscription { breaking }",
        "{ person { name } }",
    ],
)
async def test_subscriptions_match_strawberry(query: str, extensions: Any) -> None:
    plain, limited = schemas(extensions=extensions)
    for only in (True, False):
        expected = await streamed(plain, query, only=only)
        found = await streamed(limited, query, only=only)
        assert found == expected


async def test_limits_apply_to_a_federated_schema() -> None:
    class Federated(LimitedExecution, FederationSchema):
        pass

    @strawberry.federation.type(keys=["id"])
    class Product:
        id: strawberry.ID

        @classmethod
        def resolve_reference(cls, id: strawberry.ID) -> "Product":
            return Product(id=strawberry.ID(f"found {id}"))

    @strawberry.type
    class ProductQuery:
        @strawberry.field
        def product(self) -> Product:
            return Product(id=strawberry.ID("1"))

    plain = FederationSchema(query=ProductQuery, types=[Product])
    limited = Federated(query=ProductQuery, types=[Product])
    text = """{ _service { sdl } product { id }
      _entities(representations: [{__typename: "Product", id: "7"}]) { ... on Product { id } } }"""
    for _ in range(3):
        assert seen(await limited.execute(text)) == seen(await plain.execute(text))
    aliases = " ".join(f"a{n}: product {{ id }}" for n in range(20))
    result = await limited.execute(f"{{ {aliases} }}")
    assert result.errors


async def test_custom_execution_context_takes_effect() -> None:
    class Context(STRAWBERRY_EXECUTION_CONTEXT):
        def build_resolve_info(self, *args: Any, **kwargs: Any) -> Any:
            notes.append("built an info")
            return super().build_resolve_info(*args, **kwargs)

    found = await assert_same("{ person { name } }", {"execution_context_class": Context})
    assert found[3] == ["built an info", "built an info"]


async def test_custom_from_input_takes_effect() -> None:
    @strawberry.input
    class Upper:
        text: str

    def build(type_: Any, value: Any, context: Any) -> Any:
        return type_(text=context.convert(value["text"], str, "text").upper())

    definition: Any = Upper
    definition.__strawberry_definition__.from_input = build

    @strawberry.input
    class Outer:
        inner: Upper

    @strawberry.type
    class InputQuery:
        @strawberry.field
        def direct(self, info: Info, given: Upper) -> str:
            return given.text

        @strawberry.field
        def nested(self, info: Info, given: Outer) -> str:
            return given.inner.text

    parts = {"query": InputQuery, "mutation": None, "subscription": None, "types": ()}
    text = '{ direct(given: {text: "a"}) nested(given: {inner: {text: "b"}}) }'
    assert (await assert_same(text, parts))[0] == {"direct": "A", "nested": "B"}


async def test_resolvers_can_change_their_arguments() -> None:
    @strawberry.type
    class ChangingQuery:
        @strawberry.field
        def popped(self, info: Info, numbers: list[int]) -> int:
            return numbers.pop()

    parts = {"query": ChangingQuery, "mutation": None, "subscription": None, "types": ()}
    assert (await assert_same("{ popped(numbers: [1, 2]) }", parts))[0] == {"popped": 2}
