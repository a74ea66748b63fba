"""Generates Python functions that complete usual values: objects with accessors, and their lists.

A function raises for any other value. It has no side effects, so the fallback can start again. In
generated code, response keys and type names are quoted strings. All other names are local variables
or attributes that `Resolvers` names.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from math import isfinite
from types import GeneratorType
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLString,
    Undefined,
)
from graphql.pyutils import is_awaitable

from graph.compiler.completion import (
    Completer,
    LeafCompleter,
    ListCompleter,
    NonNullCompleter,
    ObjectCompleter,
)
from graph.compiler.fast_path import FastPath, FastPathFailed
from graph.compiler.fields import SelectedField
from graph.compiler.resolvers import Accessor, Resolvers
from graph.compiler.selections import SubSelections

_IS_UNUSUAL = {
    GraphQLString.name: "{0}.__class__ is not str",
    GraphQLID.name: "{0}.__class__ is not str",
    GraphQLBoolean.name: "{0}.__class__ is not bool",
    GraphQLInt.name: "{0}.__class__ is not int or not -2147483648 <= {0} <= 2147483647",
    GraphQLFloat.name: "{0}.__class__ is not float or not isfinite({0})",
}
_BUILT_IN = (GraphQLString, GraphQLID, GraphQLBoolean, GraphQLInt, GraphQLFloat)


class CodeGenerator:
    def __init__(self, resolvers: Resolvers) -> None:
        self._resolvers = resolvers

    def generate(self, completer: Completer) -> FastPath | None:
        """Return None if a field below the completer needs a resolver."""
        # Python does not compile code that is nested deeper than 100 levels.
        with suppress(SyntaxError, RecursionError, MemoryError):
            return _Function(self._resolvers).compile(completer)
        return None


class _Function:
    """A function that is being generated. It visits a completer and those below it.

    Methods return lines of code that complete the variable `name`, or None if code cannot complete
    it. With `records`, the variable has the records of views instead of the views
    (`Accessor.records`). With `required`, the lines raise for null.
    """

    def __init__(self, resolvers: Resolvers) -> None:
        self._resolvers = resolvers
        self._variables = 0
        self._names: dict[str, Any] = {
            "FastPathFailed": FastPathFailed,
            "Undefined": Undefined,
            "isfinite": isfinite,
        }

    def compile(self, completer: Completer, *, records: bool = False) -> FastPath | None:
        lines = self._complete(completer, "v", records=records)
        if lines is None:
            return None
        body = "\n".join(f"    {line}" for line in [*lines, "return v"])
        text = f"def fast_path(v):\n{body}\n"
        exec(compile(text, "<fast path>", "exec"), self._names)  # noqa: S102 - see the module
        function: FastPath = self._names.pop("fast_path")  # removed, to avoid a reference cycle
        return function

    def _complete(
        self, completer: Completer, name: str, *, records: bool = False, required: bool = False
    ) -> list[str] | None:
        lines: list[str] | None
        match completer:
            case NonNullCompleter():
                return self._complete(completer.inner, name, records=records, required=True)
            case LeafCompleter() if records:
                return None
            case LeafCompleter() if completer.type in _BUILT_IN:
                return _built_in(completer.type, name, required=required)
            case LeafCompleter():
                lines = self._leaf(completer.type, name)
            case ListCompleter():
                lines = self._list(completer.item, name, records=records)
            case ObjectCompleter():
                lines = self._object(completer, name, records=records)
            case _:  # an abstract type
                return None
        return None if lines is None else _unless_null(lines, name, required=required)

    def _leaf(self, type_: GraphQLLeafType, name: str) -> list[str]:
        if isinstance(type_, GraphQLEnumType):
            return [f"{name} = {self._constant(_enum_names(type_))}[{name}]"]
        if serialize := self._resolvers.serializer(type_):
            return [f"{name} = {self._constant(serialize)}({name})"]
        check, ordinary = map(self._constant, _ordinary_values())
        coerce = self._constant(type_.coerce_output_value)
        return [
            f"if {name}.__class__ not in {ordinary}: {check}({name})",
            f"{name} = {coerce}({name})",
            f"if {name} is None or {name} is Undefined: raise FastPathFailed",
        ]

    def _list(self, item: Completer, name: str, *, records: bool) -> list[str] | None:
        function = _Function(self._resolvers).compile(item, records=records)
        if function is None:
            return None
        return [
            f"if {name}.__class__ is not list: raise FastPathFailed",
            f"{name} = [{self._constant(function)}(item) for item in {name}]",
        ]

    def _object(self, completer: ObjectCompleter, name: str, *, records: bool) -> list[str] | None:
        lines = [] if records else self._check_type(completer.type, name)
        if lines is None:
            return None
        assert isinstance(completer.selections, SubSelections)
        members: list[str] = []
        bases: dict[str, str] = {}
        for field in completer.selections.selection_set(completer.type).fields:
            if field.definition.name == "__typename":
                members.append(f"{field.key!r}: {completer.type.name!r}")
                continue
            accessor = field.definition.accessor
            if accessor is None or (records and accessor.base is None):
                return None
            source = name
            if accessor.base is not None and not records:
                if accessor.base not in bases:
                    bases[accessor.base] = self._variable()
                    lines.append(f"{bases[accessor.base]} = {name}.{accessor.base}")
                source = bases[accessor.base]
            value = self._variable()
            field_lines = self._field(field, accessor, source, value)
            if field_lines is None:
                return None
            lines += field_lines
            members.append(f"{field.key!r}: {value}")
        return [*lines, f"{name} = {{{', '.join(members)}}}"]

    def _check_type(self, type_: GraphQLObjectType, name: str) -> list[str] | None:
        class_ = self._resolvers.runtime_class(type_)
        if class_ is not None:
            class_name = self._constant(class_)
            return [f"if {name}.__class__ is not {class_name}: raise FastPathFailed"]
        if type_.is_type_of:
            return None
        return [f"{self._constant(_ordinary_values()[0])}({name})"]

    def _field(
        self, field: SelectedField, accessor: Accessor, source: str, value: str
    ) -> list[str] | None:
        if accessor.records is not None:
            lines = self._complete(field.completer, value, records=True)
            if lines is not None:
                return [f"{value} = {self._get(accessor.records, source)}", *lines]
        lines = self._complete(field.completer, value)
        return None if lines is None else [f"{value} = {self._get(accessor.get, source)}", *lines]

    def _get(self, get: str | Callable[[Any], Any], source: str) -> str:
        return f"{source}.{get}" if isinstance(get, str) else f"{self._constant(get)}({source})"

    def _variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def _constant(self, value: object) -> str:
        name = f"c{len(self._names)}"
        self._names[name] = value
        return name


def _built_in(type_: GraphQLLeafType, name: str, *, required: bool) -> list[str]:
    is_unusual = _IS_UNUSUAL[type_.name].format(name)  # also true for null
    if not required:
        is_unusual = f"({is_unusual}) and {name} is not None"
    return [f"if {is_unusual}: raise FastPathFailed"]


def _unless_null(lines: Sequence[str], name: str, *, required: bool) -> list[str]:
    if required:
        return [f"if {name} is None: raise FastPathFailed", *lines]
    return [f"if {name} is not None:", *(f"    {line}" for line in lines)]


def _enum_names(type_: GraphQLEnumType) -> dict[Any, str]:
    """If two names have the same value, return the first."""
    names: dict[Any, str] = {}
    for name, value in type_.values.items():
        if value.value is None:
            continue  # null is handled before the type
        with suppress(TypeError):  # unhashable
            names.setdefault(value.value, name)
    return names


def _ordinary_values() -> tuple[Callable[[Any], None], set[type]]:
    """Return a function that raises for awaitables and exceptions, and a set of classes.

    Instances of these classes are neither, so generated code skips the call.
    """
    ordinary: set[type] = set()

    def check(value: Any) -> None:
        if value.__class__ not in ordinary:
            if isinstance(value, Exception) or value is Undefined or is_awaitable(value):
                raise FastPathFailed
            if not isinstance(value, GeneratorType):  # some generators are awaitable
                ordinary.add(value.__class__)

    return check, ordinary
