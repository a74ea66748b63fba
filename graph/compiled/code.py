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

from graph.compiled.sources import Read, Sources, Unexpected

if TYPE_CHECKING:
    from graph.compiled.fields import Field
    from graph.compiled.values import Value

Plain = Callable[[Any], Any]

_OF_BUILT_IN = {
    GraphQLString.name: "{0}.__class__ is not str",
    GraphQLID.name: "{0}.__class__ is not str",
    GraphQLBoolean.name: "{0}.__class__ is not bool",
    GraphQLInt.name: "{0}.__class__ is not int or not -2147483648 <= {0} <= 2147483647",
    GraphQLFloat.name: "{0}.__class__ is not float or not isfinite({0})",
}
_BUILT_IN = (GraphQLString, GraphQLID, GraphQLBoolean, GraphQLInt, GraphQLFloat)


class Code:
    """A function in the making: its lines, and the objects that they name."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {
            "Unexpected": Unexpected,
            "Undefined": Undefined,
            "isfinite": isfinite,
        }

    def constant(self, value: object) -> str:
        name = f"c{len(self._names)}"
        self._names[name] = value
        return name

    def function(self, argument: str, lines: Sequence[str]) -> Plain:
        body = "\n".join(f"    {line}" for line in lines)
        text = f"def plain({argument}):\n{body}\n"
        exec(compile(text, "<plain>", "exec"), self._names)  # noqa: S102 - all of it is made here
        made: Plain = self._names["plain"]
        return made

    def function_of(self, value: "Value") -> str | None:
        """Make a function of its own of what completes a value; give its name."""
        inner = Code()
        lines = value.code(inner, "v")
        return None if lines is None else self.constant(inner.function("v", [*lines, "return v"]))

    def leaf(self, type_: GraphQLLeafType, name: str) -> list[str]:
        if type_ in _BUILT_IN:
            wrong = _OF_BUILT_IN[type_.name].format(name)
            return [f"if {name} is not None and ({wrong}): raise Unexpected"]
        if isinstance(type_, GraphQLEnumType):
            names = self.constant(_names(type_))
            return [f"if {name} is not None: {name} = {names}[{name}]"]
        check, known = map(self.constant, _ordinary())
        coerce = self.constant(type_.coerce_output_value)
        return optional(
            [
                f"if {name}.__class__ not in {known}: {check}({name})",
                f"{name} = {coerce}({name})",
                f"if {name} is None or {name} is Undefined: raise Unexpected",
            ],
            name,
        )

    def read(self, read: Read, source: str) -> str:
        if read.of is not None:
            source = f"{source}.{read.of}"
        return (
            f"{source}.{read.by}"
            if isinstance(read.by, str)
            else f"{self.constant(read.by)}({source})"
        )


def optional(lines: list[str], name: str) -> list[str]:
    return [f"if {name} is not None:", *(f"    {line}" for line in lines)]


def _names(type_: GraphQLEnumType) -> dict[Any, str]:
    """Give the names of an enum by their values; of two with one value, the first."""
    names: dict[Any, str] = {}
    for name, value in type_.values.items():
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
                raise Unexpected
            if not isinstance(value, GeneratorType):  # of which some can be awaited
                ordinary.add(value.__class__)

    return check, ordinary


def plain_object(
    type_: GraphQLObjectType, fields: Sequence["Field"], sources: Sources
) -> Plain | None:
    """Make the function that gives all these fields of an object; None where a field resolves."""
    code, lines, members = Code(), list[str](), list[str]()
    own = sources.class_of(type_)
    if own is not None:
        lines.append(f"if s.__class__ is not {code.constant(own)}: raise Unexpected")
    elif type_.is_type_of:
        return None
    else:
        lines.append(f"{code.constant(_ordinary()[0])}(s)")
    for number, field in enumerate(fields):
        if field.name == "__typename":
            members.append(f"{field.key!r}: {type_.name!r}")
            continue
        name = f"v{number}"
        completing = None if field.read is None else field.value.code(code, name)
        if field.read is None or completing is None:
            return None
        lines += [f"{name} = {code.read(field.read, 's')}", *completing]
        members.append(f"{field.key!r}: {name}")
    return code.function("s", [*lines, f"return {{{', '.join(members)}}}"])


def plain_field(field: "Field") -> Plain | None:
    """Make the function that completes whatever a field resolves to, if all below it is plain."""
    code = Code()
    lines = field.value.code(code, "v")
    return None if lines is None else code.function("v", [*lines, "return v"])
