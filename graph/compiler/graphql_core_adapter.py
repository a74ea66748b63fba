"""The internals of graphql-core that the compiler uses, with the reason for each.

Other modules of the compiler only use names that `graphql` exports, or that are documented under
`graphql.pyutils`. `tests/graph/compiler/test_graphql_core_adapter.py` fails if one of these
internals changes.

- `collect_fields`, `collect_subfields`, `FieldDetails`, `FragmentDetails`: the selection rules of
  the specification (6.3.2). graphql-core's executor accepts their results.
- `GraphQLResolveInfo` as a tuple: its constructor takes twice as long, for every field that has a
  resolver.
- `Executor`'s constructor, `complete_value`, `ensure_valid_runtime_type` and `background_futures`:
  the fallback for unusual values, so that the errors are graphql-core's own.
- `CollectedErrors`: shared with that executor, so that errors below one null are reported once.
- `gather_with_cancel`: the implementation of `info.async_helpers.gather`.
- `get_variable_signature`, `VariableValueSource`: the parts of `VariableValues`.
- `coerce_default_value`: defaults of input fields.
- `SELECTIONS_NESTED_TOO_DEEPLY`: the message of that error.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from graphql import (
    Executor,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLResolveInfoHelpers,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableValues,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import (
    FieldDetails,
    FragmentDetails,
    collect_fields,
    collect_subfields,
)
from graphql.execution.executor import SELECTIONS_NESTED_TOO_DEEPLY, CollectedErrors
from graphql.execution.get_variable_signature import (
    GraphQLVariableSignature,
    get_variable_signature,
)
from graphql.execution.values import VariableValueSource
from graphql.pyutils import gather_with_cancel, is_awaitable
from graphql.utilities.coerce_input_value import coerce_default_value

__all__ = [
    "SELECTIONS_NESTED_TOO_DEEPLY",
    "CollectedErrors",
    "FieldDetails",
    "GraphQLVariableSignature",
    "OperationSource",
    "VariableValueSource",
    "coerce_default_value",
    "get_variable_signature",
    "info_of_execution",
    "info_of_field",
    "resolve_info",
]

CollectedFields: TypeAlias = Mapping[str, list[FieldDetails]]


class OperationSource:
    """One operation of a document, with its fragments and the schema."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        *,
        hide_suggestions: bool,
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.fragments = dict(fragments)
        self.hide_suggestions = hide_suggestions
        self._fragment_details = {name: FragmentDetails(node) for name, node in fragments.items()}

    def root_fields(self, type_: GraphQLObjectType, variables: VariableValues) -> CollectedFields:
        return collect_fields(
            self.schema,
            self._fragment_details,
            variables,
            type_,
            self.operation,
            self.hide_suggestions,
        ).grouped_field_set

    def sub_fields(
        self, type_: GraphQLObjectType, details: list[FieldDetails], variables: VariableValues
    ) -> CollectedFields:
        return collect_subfields(
            self.schema,
            self._fragment_details,
            variables,
            self.operation,
            type_,
            details,
            self.hide_suggestions,
        ).grouped_field_set

    def executor(
        self, root: Any, context: Any, variables: VariableValues, errors: CollectedErrors
    ) -> "Executor[Any]":
        executor: Executor[Any] = Executor(
            self.schema,
            self.fragments,
            self._fragment_details,
            root,
            context,
            self.operation,
            variables,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            hide_suggestions=self.hide_suggestions,
        )
        executor.collected_errors = errors
        return executor


# Equivalent to `GraphQLResolveInfo(...)`, without a call of a Python function. The tuple consists
# of the result of `info_of_field`, the path, and the result of `info_of_execution`.
resolve_info: Callable[[tuple[Any, ...]], "GraphQLResolveInfo[Any]"] = partial(
    tuple.__new__, GraphQLResolveInfo
)


def info_of_field(
    name: str, nodes: list[Any], type_: GraphQLOutputType, parent: GraphQLObjectType
) -> tuple[Any, ...]:
    """Return the part of `GraphQLResolveInfo` before `path`."""
    return name, nodes, type_, parent


def info_of_execution(
    source: OperationSource,
    root: Any,
    context: Any,
    variables: VariableValues,
    track: Callable[[Sequence[Any]], None],
) -> tuple[Any, ...]:
    """Return the part of `GraphQLResolveInfo` after `path`."""
    helpers = GraphQLResolveInfoHelpers(_gather, track)
    return (
        source.schema,
        source.fragments,
        root,
        source.operation,
        variables,
        context,
        is_awaitable,
        None,
        helpers,
    )


def _gather(values: Sequence[Awaitable[Any]]) -> Awaitable[list[Any]]:
    return gather_with_cancel(*values)
