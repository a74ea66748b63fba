"""Arguments of a field of `Query` that a client sends without a document."""

from collections.abc import Collection, Mapping
from typing import Any

import strawberry
from graphql import GraphQLError, OperationDefinitionNode, get_variable_values, parse

from graph.api.errors import MAX_ERRORS
from graph.documents.variable_errors import variable_errors
from graph.execution.errors import OperationRejected
from graph.execution.strawberry_arguments import ArgumentConverter
from graph.strawberry_adapter import core_schema, field_declaration


class FieldArguments:
    """Coerces some arguments of a field, with the rules and messages for variables."""

    def __init__(
        self, schema: strawberry.Schema, field: str, names: Collection[str], *, suggestions: bool
    ) -> None:
        self._schema = core_schema(schema)
        self._hide_suggestions = not suggestions
        query_type = self._schema.query_type
        assert query_type
        found = query_type.fields[field]
        declaration = field_declaration(found)
        assert declaration
        variables = ", ".join(f"${name}: {found.args[name].type}" for name in names)
        [operation] = parse(f"query ({variables}) {{ __typename }}").definitions
        assert isinstance(operation, OperationDefinitionNode)
        self._operation = operation
        converter = ArgumentConverter(schema.config, schema.schema_converter.scalar_registry)
        convert = converter.of(declaration.arguments)
        assert convert
        self._convert = convert

    def read(self, given: Mapping[str, Any], context: object) -> dict[str, Any]:
        """Return the arguments by their Python names. Raises OperationRejected."""
        values = get_variable_values(
            self._schema,
            self._operation.variable_definitions or (),
            dict(given),
            MAX_ERRORS,
            self._hide_suggestions,
        )
        if isinstance(values, list):
            errors = variable_errors(
                self._schema,
                self._operation,
                given,
                max_errors=MAX_ERRORS,
                hide_suggestions=self._hide_suggestions,
            )
            raise OperationRejected([_of_parameter(error) for error in errors], context)
        found: dict[str, Any] = self._convert(values.coerced)
        return found


def _of_parameter(error: GraphQLError) -> GraphQLError:
    # There is no document that the location could refer to.
    return GraphQLError(error.message.replace("Variable '$", "Parameter '", 1))
