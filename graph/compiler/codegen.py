"""Python code for what is plain: objects whose fields are all read from them, and their lists.

The code takes values to be as most are, and raises where one is not: nothing that it does has any
effect, so that the careful way can begin again. Names out of the document stand in it as the
members of dictionaries alone, quoted.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from math import isfinite
from types import GeneratorType
from typing import TYPE_CHECKING, Any

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

from graph.compiler.resolvers import FastPathFailed, Resolvers

if TYPE_CHECKING:
    from graph.compiler.completion import Value
    from graph.compiler.selections import Field

Plain = Callable[[Any], Any]

_WRONG = {
    GraphQLString.name: "{0}.__class__ is not str",
    GraphQLID.name: "{0}.__class__ is not str",
    GraphQLBoolean.name: "{0}.__class__ is not bool",
    GraphQLInt.name: "{0}.__class__ is not int or not -2147483648 <= {0} <= 2147483647",
    GraphQLFloat.name: "{0}.__class__ is not float or not isfinite({0})",
}
_BUILT_IN = (GraphQLString, GraphQLID, GraphQLBoolean, GraphQLInt, GraphQLFloat)


class Code:
    """A function in the making: its variables, and the objects that its lines name."""

    def __init__(self, resolvers: Resolvers) -> None:
        self.resolvers = resolvers
        self._variables = 0
        self._names: dict[str, Any] = {
            "FastPathFailed": FastPathFailed,
            "Undefined": Undefined,
            "isfinite": isfinite,
        }

    def variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def constant(self, value: object) -> str:
        name = f"c{len(self._names)}"
        self._names[name] = value
        return name

    def function(self, argument: str, lines: Sequence[str]) -> Plain:
        body = "\n".join(f"    {line}" for line in lines)
        text = f"def plain({argument}):\n{body}\n"
        exec(compile(text, "<plain>", "exec"), self._names)  # noqa: S102 - all of it is made here
        made: Plain = self._names.pop("plain")  # or it would be held by what it holds
        return made

    def function_of(self, value: "Value", *, records: bool) -> str | None:
        """Make a function of its own of what completes a value; give its name."""
        inner = Code(self.resolvers)
        lines = value.code(inner, "v", records=records)
        return None if lines is None else self.constant(inner.function("v", [*lines, "return v"]))

    def leaf(self, type_: GraphQLLeafType, name: str, *, required: bool) -> list[str]:
        if type_ in _BUILT_IN:
            wrong = _WRONG[type_.name].format(name)
            if not required:
                wrong = f"({wrong}) and {name} is not None"
            return [f"if {wrong}: raise FastPathFailed"]
        if isinstance(type_, GraphQLEnumType):
            names = self.constant(_names(type_))
            return optional([f"{name} = {names}[{name}]"], name, required=required)
        if written := self.resolvers.serializer(type_):
            lines = [f"{name} = {self.constant(written)}({name})"]
            return optional(lines, name, required=required)
        check, known = map(self.constant, _ordinary())
        coerce = self.constant(type_.coerce_output_value)
        return optional(
            [
                f"if {name}.__class__ not in {known}: {check}({name})",
                f"{name} = {coerce}({name})",
                f"if {name} is None or {name} is Undefined: raise FastPathFailed",
            ],
            name,
            required=required,
        )

    def object(
        self, type_: GraphQLObjectType, fields: Sequence["Field"], name: str, *, records: bool
    ) -> list[str] | None:
        """Give the lines that put all these fields of the object `name` into its place.

        None where a field has to resolve. With `records` it is what such an object is a view of.
        """
        lines: list[str] = []
        members: list[str] = []
        own = self.resolvers.runtime_class(type_)
        if records:
            pass  # whatever is wrong with it, its reads tell
        elif own is not None:
            lines.append(f"if {name}.__class__ is not {self.constant(own)}: raise FastPathFailed")
        elif type_.is_type_of:
            return None
        else:
            lines.append(f"{self.constant(_ordinary()[0])}({name})")
        held: dict[str, str] = {}
        for field in fields:
            read = field.kind.read
            if field.kind.name == "__typename":
                members.append(f"{field.key!r}: {type_.name!r}")
                continue
            value = self.variable()
            source = name
            if read is not None and read.base is not None and not records:
                if read.base not in held:
                    held[read.base] = self.variable()
                    lines.append(f"{held[read.base]} = {name}.{read.base}")
                source = held[read.base]
            completing = self._field(field, source, value, records=records)
            if completing is None:
                return None
            lines += completing
            members.append(f"{field.key!r}: {value}")
        return [*lines, f"{name} = {{{', '.join(members)}}}"]

    def _field(self, field: "Field", source: str, value: str, *, records: bool) -> list[str] | None:
        read = field.kind.read
        if read is None or (records and read.base is None):
            return None
        if read.records is not None:
            lines = field.value.code(self, value, records=True)
            if lines is not None:
                return [f"{value} = {self._read(read.records, source)}", *lines]
        lines = field.value.code(self, value)
        return None if lines is None else [f"{value} = {self._read(read.get, source)}", *lines]

    def _read(self, by: str | Callable[[Any], Any], source: str) -> str:
        return f"{source}.{by}" if isinstance(by, str) else f"{self.constant(by)}({source})"


def optional(lines: list[str], name: str, *, required: bool) -> list[str]:
    """Have the lines pass over null, or raise for it where it may not stand."""
    if required:
        return [f"if {name} is None: raise FastPathFailed", *lines]
    return [f"if {name} is not None:", *(f"    {line}" for line in lines)]


def _names(type_: GraphQLEnumType) -> dict[Any, str]:
    """Give the names of an enum by their values; of two with one value, the first."""
    names: dict[Any, str] = {}
    for name, value in type_.values.items():
        if value.value is None:
            continue  # which stands for null before anybody looks at the type
        with suppress(TypeError):  # it has no hash
            names.setdefault(value.value, name)
    return names


def _ordinary() -> tuple[Callable[[Any], None], set[type]]:
    """Make a function that lets values pass which certainly are a scalar or an object.

    And the set of classes whose values need not be looked at again.
    """
    ordinary: set[type] = set()

    def check(value: Any) -> None:
        if value.__class__ not in ordinary:
            if isinstance(value, Exception) or value is Undefined or is_awaitable(value):
                raise FastPathFailed
            if not isinstance(value, GeneratorType):  # of which some can be awaited
                ordinary.add(value.__class__)

    return check, ordinary


def plain_object(
    type_: GraphQLObjectType, fields: Sequence["Field"], resolvers: Resolvers
) -> Plain | None:
    """Make the function that gives all these fields of an object; None where a field resolves."""
    code = Code(resolvers)
    lines = code.object(type_, fields, "s", records=False)
    return None if lines is None else code.function("s", [*lines, "return s"])


def plain_field(field: "Field", resolvers: Resolvers) -> Plain | None:
    """Make the function that completes whatever a field resolves to, if all below it is plain."""
    code = Code(resolvers)
    lines = field.value.code(code, "v")
    return None if lines is None else code.function("v", [*lines, "return v"])
