"""Selection sets of one operation: which fields an object has to give, and how each is had."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
)
from graphql.execution.collect_fields import (
    CollectedFields,
    FieldDetails,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, is_awaitable

from graph.compiler.arguments import arguments
from graph.compiler.codegen import Plain, plain_field, plain_object
from graph.compiler.completion import ORDINARY, leaf_of, value_of
from graph.compiler.deferred import Asked, Later, Lookup, together
from graph.compiler.execution import Document, Place, Run, TimeSlicer
from graph.compiler.resolvers import FastPathFailed, Resolvers

if TYPE_CHECKING:
    from asyncio import Future


class FieldNodes(list[FieldNode]):
    """The nodes of a field: the same for all executions, so that what is found in them is kept."""

    names_below: frozenset[str] | None = None
    """What `graph/api/selected_fields.py` finds."""


class Kind:
    """What is the same of a field wherever it stands in a document."""

    __slots__ = (
        "definition",
        "is_async",
        "leaf",
        "name",
        "parent",
        "read",
        "reads",
        "resolve",
        "resolver",
        "resolvers",
    )

    def __init__(
        self, resolvers: Resolvers, parent: GraphQLObjectType, name: str, definition: GraphQLField
    ) -> None:
        self.resolvers = resolvers
        self.parent = parent
        self.name = name
        self.definition = definition
        self.resolver = resolvers.resolver(definition)
        self.resolve = self.resolver.call
        self.is_async = iscoroutinefunction(self.resolve)
        self.read = None if definition.args else resolvers.accessor(parent, name, definition)
        self.reads = None if self.read is None else self.read.function()
        self.leaf = leaf_of(definition.type)


class Kinds:
    """The kinds of field that a schema has, each made when it is first met."""

    def __init__(self, resolvers: Resolvers) -> None:
        self.resolvers = resolvers
        self._kinds: dict[tuple[str, str], Kind] = {}

    def of(self, parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Kind:
        found = self._kinds.get((parent.name, name))
        if found is None:
            found = Kind(self.resolvers, parent, name, definition)
            self._kinds[parent.name, name] = found
        return found


class Plan:
    """An operation as it is for certain values of the variables by which fields are left out.

    What is made of it refers to it, and it to nothing of that: whoever forgets an operation frees
    it at once.
    """

    def __init__(self, document: Document, kinds: Kinds, variables: VariableValues) -> None:
        self.document = document
        self.kinds = kinds
        self._variables = variables

    def root(self) -> "Selection":
        document = self.document
        type_ = document.schema.get_root_type(document.operation.operation)
        assert type_  # as the validation has seen
        collected = collect_fields(
            document.schema,
            document.details,
            self._variables,
            type_,
            document.operation,
            document.hide_suggestions,
        )
        return Selection(self, type_, collected)

    def below(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> "Selection":
        document = self.document
        collected = collect_subfields(
            document.schema,
            document.details,
            self._variables,
            document.operation,
            type_,
            details,
            document.hide_suggestions,
        )
        return Selection(self, type_, collected)


class Below:
    """What is selected below a field, of each type of object that it can be asked of."""

    __slots__ = ("_plan", "_selections", "details")

    def __init__(self, plan: Plan, details: list[FieldDetails]) -> None:
        self.details = details
        self._plan = plan
        self._selections: dict[str, Selection] = {}

    def selection(self, type_: GraphQLObjectType) -> "Selection":
        """Give what is selected of an object of this type; made when it is first met."""
        found = self._selections.get(type_.name)
        if found is None:
            found = self._selections[type_.name] = self._plan.below(type_, self.details)
        return found


class Selection:
    """The fields to give of an object of one type."""

    __slots__ = ("__dict__", "_is_used", "_sources", "fields", "type")  # the first is for `plain`

    def __init__(self, plan: Plan, type_: GraphQLObjectType, collected: CollectedFields) -> None:
        self.type = type_
        self.fields: list[Field] = []
        self._sources = plan.kinds.resolvers
        self._is_used = False
        for key, details in collected.grouped_field_set.items():
            name = details[0].node.name.value
            definition = plan.document.schema.get_field(type_, name)
            if definition:
                kind = plan.kinds.of(type_, name, definition)
                self.fields.append(Field(plan, kind, key, details))

    @cached_property
    def plain(self) -> Plain | None:
        """The function that gives all fields of an object at once; None where one has to resolve.

        It raises for an object that is not as most are.
        """
        return plain_object(self.type, self.fields, self._sources)

    def plain_if_used_again(self) -> Plain | None:
        """Give `plain`, less for the first object: code is dear, and many documents come once."""
        if self._is_used:
            return self.plain
        self._is_used = True
        return None

    def execute(self, run: Run, source: Any, path: Path | None) -> Any:
        """Give the object as the answer has it, or Later."""
        completed: dict[str, Any] = {}
        pending: dict[str, Later] = {}
        wishes: dict[Any, list[Wish]] = {}
        name = self.type.name
        for field in self.fields:
            value = field.execute(run, source, Path(path, field.key, name))
            if value.__class__ is Later:
                pending[field.key] = value
            elif value.__class__ is Wish:
                wishes.setdefault(value.wanted.of, []).append(value)
            completed[field.key] = value
        if not (pending or wishes):
            return completed
        asked = [_ask(run, some, completed) for some in wishes.values()]
        return Later(_filled, completed, pending, asked)

    async def execute_serially(self, run: Run, source: Any) -> dict[str, Any]:
        """Execute field after field, each to its end (GraphQL spec, 6.2.2)."""
        completed: dict[str, Any] = {}
        for field in self.fields:
            value = field.execute(run, source, Path(None, field.key, self.type.name))
            completed[field.key] = value
            if value.__class__ is Later:
                completed[field.key] = await value
            elif value.__class__ is Wish:
                await _filled(completed, {}, [_ask(run, [value], completed)])
        return completed


class Wish:
    """What a field's resolver wants looked up."""

    __slots__ = ("place", "wanted")

    def __init__(self, place: Place, wanted: Lookup[Any, Any]) -> None:
        self.place = place
        self.wanted = wanted


def _ask(run: Run, wishes: list[Wish], completed: dict[str, Any]) -> Asked:
    """Look up all at once; when it is there, `completed` is filled."""
    asked = wishes[0].wanted.of.load([wish.wanted.key for wish in wishes])
    run.hold_asked(asked)
    if run.slicer is None:
        return Asked(asked, _granted, asked, wishes, completed)
    return Asked(asked, Later, _granted_in_turn, run.slicer, asked, wishes, completed)


def _granted(
    asked: "Future[list[Any]]", wishes: list[Wish], completed: dict[str, Any]
) -> Later | None:
    """Complete what is there by now; give Later where what is below it has to wait."""
    pending: dict[str, Later] = {}
    for n, wish in enumerate(wishes):
        field = wish.place.field
        value = field.granted(wish, asked, n)
        completed[field.key] = value
        if value.__class__ is Later:
            pending[field.key] = value
    return Later(_filled, completed, pending, ()) if pending else None


async def _granted_in_turn(
    slicer: TimeSlicer, asked: "Future[list[Any]]", wishes: list[Wish], completed: dict[str, Any]
) -> None:
    if slicer.is_due():
        await slicer.pause()
    if later := _granted(asked, wishes, completed):
        await later


async def _filled(
    completed: dict[str, Any], pending: Mapping[str, Later], asked: Sequence[Asked]
) -> dict[str, Any]:
    values = await together([*pending.values(), *asked])
    completed.update(zip(pending, values, strict=False))  # what was asked for is there already
    return completed


class Field:
    """One field of a selection, with all that is said of it in the document."""

    # The first is for `plain`, which most never have.
    __slots__ = ("__dict__", "_is_used", "arguments", "details", "key", "kind", "nodes", "value")

    def __init__(self, plan: Plan, kind: Kind, key: str, details: list[FieldDetails]) -> None:
        self.kind = kind
        self.key = key
        self.details = details
        self.nodes = FieldNodes(detail.node for detail in details)
        self.arguments = arguments(
            kind.definition,
            self.nodes[0],
            kind.resolver,
            hide_suggestions=plan.document.hide_suggestions,
        )
        self.value = kind.leaf or value_of(kind.definition.type, Below(plan, details))
        self._is_used = False

    @cached_property
    def plain(self) -> Plain | None:
        """The function that completes a value at once, if all below it is plain."""
        return plain_field(self, self.kind.resolvers)

    def execute(self, run: Run, source: Any, path: Path) -> Any:
        """Resolve the field and complete its value; give Later or Wish where that has to wait.

        Raises the located error of a field that cannot be null.
        """
        place, kind = Place(run, self, path), self.kind
        try:
            if kind.reads is not None:
                with suppress(FastPathFailed):
                    return self._given(place, kind.reads(source))
            given = self.arguments(run.variables)
            if kind.is_async:
                return Later(self._resolved, place, source, given)
            return self._given(place, kind.resolve(source, place.info, **given))
        except Exception as error:  # noqa: BLE001 - every error of a field stands at its place
            return place.failed(error, path, required=self.value.required)

    def _given(self, place: Place, value: Any) -> Any:
        if value.__class__ is Lookup:
            return Wish(place, value)
        if value.__class__ not in ORDINARY and is_awaitable(value):
            return Later(self._awaited, place, place.run.hold(value))
        completed = self._completed(place, value)
        return (
            Later(self._finished, place, completed) if completed.__class__ is Later else completed
        )

    def _completed(self, place: Place, value: Any) -> Any:
        slicer = place.run.slicer
        if self._is_used or slicer is not None:
            try:
                if (plain := self.plain) is not None:
                    completed = plain(value)
                    if slicer is None or self.kind.leaf:
                        return completed
                    return slicer.render(completed)
            except Exception:  # noqa: BLE001, S110 - whatever it was, the careful way tells
                pass
        self._is_used = True
        return self.value.complete(place, value, place.path)

    async def _resolved(self, place: Place, source: Any, given: Mapping[str, Any]) -> Any:
        try:
            slicer = place.run.slicer
            if slicer is not None and slicer.is_due():
                await slicer.pause()
            found = await self.kind.resolve(source, place.info, **given)
            if slicer is not None and slicer.is_due():
                await slicer.pause()
            completed = self._completed(place, found)
            return await completed if completed.__class__ is Later else completed
        except Exception as error:  # noqa: BLE001 - as above
            return place.failed(error, place.path, required=self.value.required)

    def granted(self, wish: Wish, asked: "Future[list[Any]]", number: int) -> Any:
        """Complete what was found; give Later where what is below it has to wait."""
        place = wish.place
        try:
            completed = self._completed(place, wish.wanted.make(asked.result()[number]))
        except Exception as error:  # noqa: BLE001 - as above
            return place.failed(error, place.path, required=self.value.required)
        return (
            Later(self._finished, place, completed) if completed.__class__ is Later else completed
        )

    async def _awaited(self, place: Place, awaitable: Any) -> Any:
        try:
            found = await awaitable
            slicer = place.run.slicer
            if slicer is not None and slicer.is_due():
                await slicer.pause()
            completed = self._completed(place, found)
            return await completed if completed.__class__ is Later else completed
        except Exception as error:  # noqa: BLE001 - as above
            return place.failed(error, place.path, required=self.value.required)

    async def _finished(self, place: Place, completed: Later) -> Any:
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 - as above
            return place.failed(error, place.path, required=self.value.required)
