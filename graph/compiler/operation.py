"""Compiled operations, with a plan per combination of the `@skip` and `@include` variables."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from graphql import (
    DirectiveNode,
    ExecutionResult,
    GraphQLError,
    OperationType,
    VariableNode,
    VariableValues,
    Visitor,
    visit,
)
from graphql.pyutils import AwaitableOrValue

from graph.compiler.coercion import InputCoercion
from graph.compiler.deferred import Deferred
from graph.compiler.execution import Execution, TimeSlicer
from graph.compiler.fast_path import Generate
from graph.compiler.field_definitions import FieldDefinitions
from graph.compiler.graphql_core_adapter import SELECTIONS_NESTED_TOO_DEEPLY, OperationSource
from graph.compiler.selection_set import SelectionSet
from graph.compiler.selections import OperationPlan
from graph.compiler.variables import Variables

MAX_COERCION_ERRORS: Final = 50
_MAX_PLANS: Final = 4  # cached per operation
_CONDITIONS: Final = frozenset({"skip", "include"})


class CompiledOperation:
    """One operation of a document, executable any number of times."""

    def __init__(
        self,
        source: OperationSource,
        definitions: FieldDefinitions,
        coercion: InputCoercion,
        generate: Generate,
    ) -> None:
        self._source = source
        self._definitions = definitions
        self._generate = generate
        self._variables = Variables(source.schema, source.operation, coercion)
        self._conditions = _conditions(source)
        self._selection_sets: dict[tuple[Any, ...], SelectionSet] = {}
        self._is_serial = source.operation.operation is OperationType.MUTATION

    def coerce(
        self, given: Mapping[str, Any] | None, *, max_errors: int = MAX_COERCION_ERRORS
    ) -> VariableValues:
        """Coerce the variables of a request. Raises InvalidVariables."""
        return self._variables.coerce(
            given or {}, max_errors=max_errors, hide_suggestions=self._source.hide_suggestions
        )

    def execute(
        self,
        root: Any = None,
        context: Any = None,
        variables: Mapping[str, Any] | None = None,
        *,
        max_errors: int = MAX_COERCION_ERRORS,
        slicer: TimeSlicer | None = None,
    ) -> AwaitableOrValue[ExecutionResult]:
        """Return an awaitable if a resolver is async. Raises InvalidVariables."""
        return self.run(self.coerce(variables, max_errors=max_errors), root, context, slicer)

    def run(
        self,
        variables: VariableValues,
        root: Any = None,
        context: Any = None,
        slicer: TimeSlicer | None = None,
    ) -> AwaitableOrValue[ExecutionResult]:
        execution = Execution(self._source, root, context, variables, slicer)
        try:
            selection_set = self._selection_set(variables)
            if self._is_serial:
                data = selection_set.execute_serially(execution, root)
            else:
                data = selection_set.execute(execution, root, None)
        except GraphQLError as error:
            result = execution.failed(error)
        else:
            if data.__class__ is Deferred:
                return _wait(execution, data)
            result = execution.result(data)
        return _end(execution, result) if execution.has_pending else result

    def _selection_set(self, variables: VariableValues) -> SelectionSet:
        """Return the root selection set. Raises GraphQLError for an invalid directive."""
        values = tuple(variables.coerced.get(name) for name in self._conditions)
        selection_set = self._selection_sets.get(values)
        if selection_set is None:
            selection_set = self._plan(variables)
            if len(self._selection_sets) < _MAX_PLANS:
                self._selection_sets[values] = selection_set
        return selection_set

    def _plan(self, variables: VariableValues) -> SelectionSet:
        plan = OperationPlan(self._source, self._definitions, variables, self._generate)
        with suppress(RecursionError):
            return plan.root()
        raise GraphQLError(SELECTIONS_NESTED_TOO_DEEPLY, self._source.operation)


async def _wait(execution: Execution, data: Deferred) -> ExecutionResult:
    is_complete = False
    try:
        result = execution.result(await data)
        is_complete = execution.is_complete()
    except GraphQLError as error:
        result = execution.failed(error)
    finally:
        if not is_complete:
            await execution.cancel_pending()
    return result


async def _end(execution: Execution, result: ExecutionResult) -> ExecutionResult:
    await execution.cancel_pending()
    return result


def _conditions(source: OperationSource) -> tuple[str, ...]:
    names: dict[str, None] = {}

    class Finder(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
            if node.name.value in _CONDITIONS:
                for argument in node.arguments or ():
                    if isinstance(argument.value, VariableNode):
                        names[argument.value.name.value] = None

    finder = Finder()
    visit(source.operation, finder)
    for fragment in source.fragments.values():
        visit(fragment, finder)
    return tuple(names)
