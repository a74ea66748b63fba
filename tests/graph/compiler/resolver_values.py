"""What resolvers can return: values, None, exceptions; sync or async, in all kinds of lists."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeAlias

from graphql import GraphQLError, GraphQLResolveInfo

from graph.compiler import Lookup

Info: TypeAlias = GraphQLResolveInfo[Any]


class Fault(Exception):
    """An exception that a resolver raises or returns."""


def coded() -> GraphQLError:
    return GraphQLError("coded", extensions={"code": "CODED", "more": [1]})


async def later(value: Any, turns: int = 1) -> Any:
    """Returns a value after some turns of the event loop, or raises it if it is a `Raised`."""
    for _ in range(turns):
        await asyncio.sleep(0)
    if isinstance(value, Raised):
        raise value.error
    return value


class Loader:
    """A lookup whose keys are functions that create the values."""

    def load(self, keys: Sequence[Callable[[], Any]]) -> asyncio.Future[list[Any]]:
        return asyncio.ensure_future(self._found(keys))

    async def _found(self, keys: Sequence[Callable[[], Any]]) -> list[Any]:
        return [await later(make()) for make in keys]


LOADER = Loader()  # shared by all fields of an object


def wanted(make: Callable[[], Any], of: Loader = LOADER) -> Lookup[Any, Any]:
    return Lookup(of, make, lambda value: value)


class Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


Make = Callable[[], Any]
Kind = Callable[[Make], Any]

# The kinds of a value, made from a function that creates a valid one.
KINDS: dict[str, Kind] = {
    "good": lambda good: good(),
    "none": lambda _: None,
    "fault": lambda _: Fault("given"),
    "coded": lambda _: coded(),
    "later": lambda good: later(good()),
    "laterNone": lambda _: later(None),
    "laterRaised": lambda _: later(Raised(Fault("raised later"))),
    "laterFault": lambda _: later(Fault("given later")),
    "mostlyLater": lambda good: later(good(), turns=3),
    "wanted": wanted,
    "wantedNone": lambda _: wanted(lambda: None),
    # A failed lookup also fails the other keys of its batch, so it gets its own loader.
    "wantedRaised": lambda _: wanted(lambda: Raised(Fault("not looked up")), Loader()),
    "wantedFault": lambda _: wanted(lambda: Fault("looked up")),
    "wantedNotMade": lambda _: Lookup(LOADER, lambda: 1, "not made".index),
}


def raising(_: Make) -> Any:
    raise Fault("raised")


async def raising_later(_: Make) -> Any:
    raise Fault("raised at the first turn")


# Kinds that apply to fields but not to list elements.
FIELD_KINDS: dict[str, Kind] = {"raising": raising, "raisingLater": raising_later}


def _half(elements: list[Any]) -> Iterator[Any]:
    yield from elements
    raise Fault("half-way")


async def _async(elements: list[Any]) -> AsyncIterator[Any]:
    for element in elements:
        await asyncio.sleep(0)
        yield element


async def _half_async(elements: list[Any]) -> AsyncIterator[Any]:
    for element in elements:
        yield element
    raise Fault("half-way, later")


class IterableObject:
    def __init__(self, elements: list[Any]) -> None:
        self.elements = elements

    def __iter__(self) -> Iterator[Any]:
        return iter(self.elements)


class FailingIterable:
    def __iter__(self) -> Iterator[Any]:
        raise Fault("not walked")


class WalkedLater:
    def __init__(self, elements: list[Any]) -> None:
        self.elements = iter(elements)

    def __aiter__(self) -> "WalkedLater":
        return self

    async def __anext__(self) -> Any:
        for element in self.elements:
            return element
        raise StopAsyncIteration


# Containers of a list.
HOLDERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": lambda elements: elements,
    "tuple": tuple,
    "generator": lambda elements: (element for element in elements),
    "walked": IterableObject,
    "halfWay": _half,
    "async": _async,
    "walkedLater": WalkedLater,
    "halfWayAsync": _half_async,
    "laterList": later,
    "dictValues": lambda elements: dict(enumerate(elements)).values(),
}
# Values that are not lists, or cannot be iterated.
NO_LISTS: dict[str, Callable[[], Any]] = {
    "notWalked": FailingIterable,
    "text": lambda: "text",
    "bytes": lambda: b"bytes",
    "mapping": lambda: {"a": 1},
    "number": lambda: 1,
    "object": object,
}
