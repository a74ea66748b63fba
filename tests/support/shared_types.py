"""Converts the declarations of the API into types once per process, not per application.

The conversion is most of the work of `create_app`. Each schema still has options, limits and a
document cache of its own. Schemas of other declarations are not affected.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import strawberry
from graphql import GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter

from graph.api import schema as api
from graph.execution.schema import Schema


@contextmanager
def shared_types() -> Iterator[None]:
    convert = strawberry.Schema.__init__
    converted: dict[bool, dict[str, Any]] = {}

    def initialize(self: strawberry.Schema, *args: Any, **parts: Any) -> None:
        if type(self) is not Schema or args or not _are_declared(parts):
            convert(self, *args, **parts)
            return
        suggests = not parts["config"].disable_field_suggestions
        if suggests not in converted:
            convert(self, **parts)
            converted[suggests] = dict(vars(self))
        vars(self).update(converted[suggests])
        vars(self)["_schema"] = _of(self, converted[suggests]["_schema"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strawberry.Schema, "__init__", initialize)
        yield


def _are_declared(parts: dict[str, Any]) -> bool:
    return parts.keys() == {*api.DECLARATIONS, "config"} and all(
        parts[name] is part for name, part in api.DECLARATIONS.items()
    )


def _of(schema: strawberry.Schema, core: GraphQLSchema) -> GraphQLSchema:
    """Returns a schema of the same types that resolvers find the Strawberry schema in."""
    copied = object.__new__(type(core))
    vars(copied).update(vars(core))
    copied.extensions = {**core.extensions, GraphQLCoreConverter.DEFINITION_BACKREF: schema}
    return copied
