"""Abstract types with every way to determine the object type, including all failures."""

from collections.abc import Callable
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
    GraphQLUnionType,
)

from tests.graph.compiler.resolver_values import Fault, Raised, later


class Animal:
    def __init__(self, kind: str, name: str = "Rex") -> None:
        self.kind = kind
        self.name = name
        self.legs = 4

    def __repr__(self) -> str:
        return self.kind


def _is(kind: str) -> Callable[..., Any]:
    return lambda value, _info: getattr(value, "kind", None) == kind


def _is_later(kind: str) -> Callable[..., Any]:
    def is_type_of(value: Any, _info: object) -> Any:
        if getattr(value, "kind", None) == "Raising":
            return later(Raised(Fault("cannot say later")))
        return later(getattr(value, "kind", None) == kind)

    return is_type_of


def _is_or_fails(value: Any, _info: object) -> bool:
    if value.kind == "Stone":
        return True
    raise Fault("cannot say")


def _kind(value: Any, _info: object, _type: object) -> Any:
    if isinstance(value.kind, Exception):
        raise value.kind
    return value.kind


async def _kind_later(value: Any, info: object, type_: object) -> Any:
    return await later(_kind(value, info, type_))


NAMED = GraphQLInterfaceType("Named", {"name": GraphQLField(GraphQLString)}, resolve_type=_kind)
# Only `__typename` and `is_type_of` determine the object type.
LEGGED = GraphQLInterfaceType("Legged", {"legs": GraphQLField(GraphQLInt)})
_FIELDS = {
    "name": GraphQLField(GraphQLString),
    "legs": GraphQLField(GraphQLInt),
    "noLegs": GraphQLField(GraphQLNonNull(GraphQLInt)),
}
DOG = GraphQLObjectType(
    "Dog",
    lambda: _FIELDS | {"likes": GraphQLField(PET, resolve=lambda *_: Animal("Cat", "Tom"))},
    interfaces=[NAMED, LEGGED],
    is_type_of=_is("Dog"),
)
CAT = GraphQLObjectType(
    "Cat",
    lambda: _FIELDS | {"likes": GraphQLField(NAMED, resolve=lambda *_: later(Animal("Dog")))},
    interfaces=[NAMED, LEGGED],
)
ROBOT = GraphQLObjectType(
    "Robot", _FIELDS, interfaces=[NAMED, LEGGED], is_type_of=_is_later("Robot")
)
STONE = GraphQLObjectType("Stone", _FIELDS, is_type_of=_is_or_fails)
PET: GraphQLUnionType = GraphQLUnionType("Pet", [DOG, CAT], resolve_type=_kind_later)
THING = GraphQLUnionType("Thing", [DOG, ROBOT, STONE])
HARD = GraphQLUnionType("Hard", [STONE, DOG])
OBJECTS = [DOG, CAT, ROBOT, STONE]
ABSTRACT: list[GraphQLInterfaceType | GraphQLUnionType] = [NAMED, LEGGED, PET, THING, HARD]

# Sources: with the right type, a wrong, missing, unknown or impossible one.
SOURCES: dict[str, Callable[[], Any]] = {
    "dog": lambda: Animal("Dog"),
    "cat": lambda: Animal("Cat"),
    "robot": lambda: Animal("Robot"),
    "stone": lambda: Animal("Stone"),
    "nowhere": lambda: Animal("Nowhere"),
    "enum": lambda: Animal("Colour"),
    "raising": lambda: Animal("Raising"),
    "nothing": lambda: Animal(None),  # type: ignore[arg-type]
    "number": lambda: Animal(3),  # type: ignore[arg-type]
    "type": lambda: Animal(DOG),  # type: ignore[arg-type]
    "fault": lambda: Animal(Fault("of no kind")),  # type: ignore[arg-type]
    "mapping": lambda: {"__typename": "Cat", "name": "Kit", "legs": 3, "kind": "Cat"},
    "mappingOfNowhere": lambda: {"__typename": "Nowhere"},
    "mappingOfStone": lambda: {"__typename": "Stone"},
    "mappingOfNumber": lambda: {"__typename": 3},
    "noLegs": lambda: {"__typename": "Cat", "name": "Kit", "noLegs": None},
}
