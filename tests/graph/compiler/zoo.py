"""A schema in which every field does what its name says."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLFloat,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    print_ast,
)

from tests.graph.compiler.animals import ABSTRACT, NAMED, OBJECTS, SOURCES
from tests.graph.compiler.leaves import ARGUMENTS, COLOUR
from tests.graph.compiler.resolver_values import (
    FIELD_KINDS,
    HOLDERS,
    KINDS,
    NO_LISTS,
    Fault,
    Info,
    Make,
    later,
)

# One value, or a list of three of which the second is of the kind, or a list of such lists.
SHAPES: dict[str, Callable[[Any], GraphQLOutputType]] = {
    "": lambda t: t,
    "Sure": GraphQLNonNull,
    "Many": GraphQLList,
    "ManySure": lambda t: GraphQLList(GraphQLNonNull(t)),
    "SureMany": lambda t: GraphQLNonNull(GraphQLList(t)),
    "SureManySure": lambda t: GraphQLNonNull(GraphQLList(GraphQLNonNull(t))),
    "Grid": lambda t: GraphQLList(GraphQLList(t)),
    "GridSure": lambda t: GraphQLList(GraphQLNonNull(GraphQLList(GraphQLNonNull(t)))),
}


def make_value(shape: str, kind: str, good: Make) -> Any:
    make = KINDS[kind]
    if "Many" in shape:
        return [good(), make(good), good()]
    if "Grid" in shape:
        return [[good()], [good(), make(good)], (good(),)]
    return make(good)


def field(type_: GraphQLOutputType, make: Callable[[], Any]) -> GraphQLField:
    """Returns a field whose resolver records its calls in the context, a list."""

    def resolve(_source: object, info: Info) -> Any:
        info.context.append(tuple(info.path.as_list()))
        return make()

    return GraphQLField(type_, resolve=resolve)


def fields(name: str, type_: Any, good: Make) -> Iterator[tuple[str, GraphQLField]]:
    for shape, wrapped in SHAPES.items():
        for kind in KINDS:
            yield (
                f"{kind}{name}{shape}",
                field(wrapped(type_), partial(make_value, shape, kind, good)),
            )
    for shape in ("", "Sure", "SureMany"):
        for kind, make in FIELD_KINDS.items():
            yield f"{kind}{name}{shape}", field(SHAPES[shape](type_), partial(make, good))
    for holder, shape in product(HOLDERS, ("Many", "ManySure")):
        for kind in ("good", "later", "fault"):
            held = partial(_held, holder, kind, good)
            yield f"{holder}Of{kind.title()}{name}{shape}", field(SHAPES[shape](type_), held)
    for no_list, give in NO_LISTS.items():
        for shape in ("Many", "SureMany", "Grid"):
            yield f"{no_list}As{name}{shape}", field(SHAPES[shape](type_), give)


def _held(holder: str, kind: str, good: Make) -> Any:
    return HOLDERS[holder](make_value("Many", kind, good))


class Thing:
    """A source whose fields are found by their names."""

    name = "thing"
    size = 3
    ratio = 0.5
    tags = ("a", "b")
    colour = 1
    none = None

    def method(self, info: Info, times: int) -> str:
        return f"{info.field_name} {self.name} " * times

    async def methodLater(self, info: Info) -> str:  # noqa: N802 - a field's name
        await later(None)
        return info.field_name

    @property
    def broken(self) -> str:
        raise Fault("broken")

    @property
    def attribute(self) -> str:
        raise AttributeError("attribute")

    @property
    def kind(self) -> str:
        return "Item"


class Sparse(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __getitem__(self, name: str) -> Any:
        if name == "absent":
            raise KeyError(name)
        return f"the {name}"

    def __iter__(self) -> Iterator[str]:
        return iter(["name"])

    def __len__(self) -> int:
        return 1


RECORD = {
    "name": "record",
    "size": 3.0,
    "ratio": 2,
    "tags": ["c", None],
    "colour": ("g", 2),
    "method": lambda info, times: f"{info.path.as_list()} {times}",
    "methodLater": lambda info: later(info.parent_type.name),
}


def describe_info(info: Info) -> str:
    """Everything that a resolver can see, as text."""
    values = info.variable_values
    return repr(
        {
            "field_name": info.field_name,
            "field_nodes": [print_ast(node) for node in info.field_nodes],
            "return_type": str(info.return_type),
            "parent_type": (str(info.parent_type), type(info.parent_type)),
            "path": (info.path.as_list(), info.path.key, info.path.typename),
            "schema": info.schema.get_type("Item") is not None,
            "fragments": {name: print_ast(node) for name, node in info.fragments.items()},
            "root_value": info.root_value,
            "operation": print_ast(info.operation),
            "coerced": values.coerced,
            "sources": {
                name: (str(s.signature.type), s.value) for name, s in values.sources.items()
            },
            "context": type(info.context),
            "is_awaitable": [info.is_awaitable(1)],
            "abort_signal": info.abort_signal,
        }
    )


def _plain_fields() -> dict[str, GraphQLField]:
    """The fields without a resolver."""
    return {
        "name": GraphQLField(GraphQLString),
        "size": GraphQLField(GraphQLNonNull(GraphQLInt)),
        "ratio": GraphQLField(GraphQLFloat),
        "tags": GraphQLField(GraphQLList(GraphQLNonNull(GraphQLString))),
        "colour": GraphQLField(COLOUR),
        "none": GraphQLField(GraphQLString),
        "absent": GraphQLField(GraphQLString),
        "method": GraphQLField(GraphQLString, {"times": GraphQLArgument(GraphQLInt, 2)}),
        "methodLater": GraphQLField(GraphQLString),
        "broken": GraphQLField(GraphQLString),
        "attribute": GraphQLField(GraphQLString),
    }


def _info_fields() -> dict[str, GraphQLField]:
    async def describe_info_later(_source: object, info: Info) -> str:
        await later(None)
        return describe_info(info)

    return {
        "echo": GraphQLField(
            GraphQLString, ARGUMENTS, resolve=lambda _source, _info, **given: repr(given)
        ),
        "told": GraphQLField(GraphQLString, resolve=lambda _source, info: describe_info(info)),
        "toldOnce": GraphQLField(
            GraphQLNonNull(GraphQLString),
            {"a": GraphQLArgument(GraphQLInt)},
            resolve=lambda _source, info, **given: describe_info(info) + repr(given),
        ),
        "toldLater": GraphQLField(GraphQLString, resolve=describe_info_later),
    }


def _abstract_fields() -> Iterator[tuple[str, GraphQLField]]:
    types: list[GraphQLInterfaceType | GraphQLUnionType | GraphQLObjectType]
    types = [*ABSTRACT, *OBJECTS]
    for type_ in types:
        for name, make_source in SOURCES.items():
            yield f"{name}As{type_.name}", field(type_, make_source)
        yield (
            f"manyAs{type_.name}",
            field(GraphQLList(type_), lambda: [make_source() for make_source in SOURCES.values()]),
        )


def zoo(keep: Callable[[str], bool] = lambda _: True) -> GraphQLSchema:
    """Returns the schema; `keep` selects the fields of an item by name."""

    def item_fields() -> dict[str, GraphQLField]:
        every = {
            **_plain_fields(),
            **_info_fields(),
            "record": field(record, lambda: RECORD),
            "sparse": field(record, Sparse),
            "number": field(record, lambda: 3),
            **dict(fields("Text", GraphQLString, lambda: "text")),
            **dict(fields("Item", item, Thing)),
            **dict(_abstract_fields()),
        }
        return {name: field for name, field in every.items() if keep(name)}

    def mutation_fields() -> dict[str, GraphQLField]:
        texts = fields("Text", GraphQLString, lambda: "text")
        return {**_info_fields(), **dict(texts), **dict(fields("Item", item, Thing))}

    record = GraphQLObjectType("Record", _plain_fields)
    item = GraphQLObjectType("Item", item_fields, interfaces=[NAMED])
    return GraphQLSchema(
        GraphQLObjectType("Query", item_fields),
        GraphQLObjectType("Mutation", mutation_fields),
        GraphQLObjectType("Subscription", _info_fields),
        types=OBJECTS,
    )


SCHEMA = zoo()
FIELDS = SCHEMA.type_map["Item"].fields  # type: ignore[attr-defined]
