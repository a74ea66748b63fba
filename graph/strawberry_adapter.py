"""The only module that uses undocumented parts of Strawberry.

| internal | used for |
|---|---|
| `Schema._schema` | the compiler, validation and analysis work on graphql-core's schema |
| `Info._raw_info` | the selection below a field, and its location for errors |
| `extensions["strawberry-definition"]` | the declaration of a field or a type |
| `StrawberryGraphQLCoreExecutionContext` | whether a schema has another context class |
| `_raw_info.operation_extensions` | the field that Strawberry adds to graphql-core's info |
| `SchemaExtensionsRunner` | the return type of `Schema.create_extensions_runner` |
| `federation.Schema._get_federation_query_type` | replaces the query type |
| `federation.schema.FederationAny` | the scalar `_Any`, whose definition `federation.Schema` adds |
| two validation rules | validation outside of Strawberry's own execution |

`tests/graph/test_strawberry_adapter.py` fails if one of them changes.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, cast

import strawberry
from graphql import GraphQLField, GraphQLNamedType, GraphQLResolveInfo, GraphQLSchema
from strawberry import Info
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.federation import Schema as FederationSchema
from strawberry.federation.schema import FederationAny
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

# Strawberry's additional rules, for its own kinds of input.
VALIDATION_RULES = (MaybeNullValidationRule, OneOfInputValidationRule)

# The default `execution_context_class` of a schema.
STRAWBERRY_EXECUTION_CONTEXT = StrawberryGraphQLCoreExecutionContext

# The return type of `Schema.create_extensions_runner`.
ExtensionsRunner: TypeAlias = SchemaExtensionsRunner

# The scalar `_Any` of a federated schema.
Representation: TypeAlias = FederationAny

_DEFINITION = "strawberry-definition"


def core_schema(schema: strawberry.Schema) -> GraphQLSchema:
    return schema._schema  # noqa: SLF001 - see above


def raw_info(info: Info[Any, Any]) -> GraphQLResolveInfo[Any]:
    return info._raw_info  # noqa: SLF001 - see above


def field_declaration(field: GraphQLField) -> StrawberryField | None:
    declared = field.extensions.get(_DEFINITION)
    return declared if isinstance(declared, StrawberryField) else None


def type_declaration(type_: GraphQLNamedType) -> StrawberryObjectDefinition | None:
    """Return the declaration of an object, an interface or an input object."""
    declared = type_.extensions.get(_DEFINITION)
    return declared if isinstance(declared, StrawberryObjectDefinition) else None


def set_directives(element: GraphQLNamedType | GraphQLField, directives: Sequence[object]) -> None:
    """Set the schema directives of an object type or a field in one schema, not in others."""
    declared = element.extensions[_DEFINITION]
    if isinstance(declared, StrawberryField):
        declared = copy(declared)
        declared.directives = list(directives)
    else:
        declared = replace(declared, directives=directives)
    element.extensions[_DEFINITION] = declared


class SubgraphSchema(FederationSchema):
    """`strawberry.federation.Schema`, without another query type.

    Strawberry adds `_entities` and `_service` to a subclass of the query type. A schema with fields
    that return the query type cannot have both.
    """

    def _get_federation_query_type(self, query: Any, *_: Any) -> Any:
        return query


class CompiledInfo(Info[Any, Any]):
    """The info of a compiled operation. The request's `extensions` are not available."""

    @property
    def input_extensions(self) -> dict[str, Any]:
        return cast("dict[str, Any]", None)


class _ResolveInfo(NamedTuple):
    """graphql-core's info with the additional field that Strawberry's resolvers read."""

    field_name: Any
    field_nodes: Any
    return_type: Any
    parent_type: Any
    path: Any
    schema: Any
    fragments: Any
    root_value: Any
    operation: Any
    variable_values: Any
    context: Any
    is_awaitable: Any
    abort_signal: Any
    async_helpers: Any
    operation_extensions: Any = None


def strawberry_info(info: GraphQLResolveInfo[Any]) -> GraphQLResolveInfo[Any]:
    """Return the info as Strawberry's executor passes it, with plain variables."""
    given = _ResolveInfo(*info)
    variables = getattr(given.variable_values, "coerced", given.variable_values)
    return cast("GraphQLResolveInfo[Any]", given._replace(variable_values=variables))
