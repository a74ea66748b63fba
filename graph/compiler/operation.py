"""Operations that are compiled: once for all requests, with a plan for each way to leave out."""

from collections.abc import Mapping
from typing import Any, Final

from graphql import (
    DirectiveNode,
    ExecutionResult,
    GraphQLError,
    OperationType,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.executor import SELECTIONS_NESTED_TOO_DEEPLY
from graphql.execution.values import VariableValues
from graphql.pyutils import AwaitableOrValue

from graph.compiler.coercion import Coercion
from graph.compiler.deferred import Later
from graph.compiler.execution import Document, Run, TimeSlicer
from graph.compiler.selections import Kinds, Plan, Selection
from graph.compiler.variables import Variables

MAX_COERCION_ERRORS: Final = 50
_PLANS: Final = 4  # kept of one operation
_CONDITIONS: Final = frozenset({"skip", "include"})


class CompiledOperation:
    """One operation of a document. `execute` can be called as often as there are requests."""

    def __init__(self, document: Document, kinds: Kinds, coercion: Coercion) -> None:
        self._document = document
        self._kinds = kinds
        self._variables = Variables(document.schema, document.operation, coercion)
        self._conditions = _conditions(document)
        self._selections: dict[tuple[Any, ...], Selection] = {}
        self._is_serial = document.operation.operation is OperationType.MUTATION

    def coerce(
        self, given: Mapping[str, Any] | None, *, max_errors: int = MAX_COERCION_ERRORS
    ) -> VariableValues:
        """Coerce a request's variables; raise InvalidVariables."""
        return self._variables.coerce(
            given or {}, max_errors=max_errors, hide_suggestions=self._document.hide_suggestions
        )

    def execute(
        self,
        root: Any = None,
        context: Any = None,
        given: Mapping[str, Any] | None = None,
        *,
        max_errors: int = MAX_COERCION_ERRORS,
        slicer: TimeSlicer | None = None,
    ) -> AwaitableOrValue[ExecutionResult]:
        """Give the result, or an awaitable of it. Raises InvalidVariables."""
        return self.run(self.coerce(given, max_errors=max_errors), root, context, slicer)

    def run(
        self,
        variables: VariableValues,
        root: Any = None,
        context: Any = None,
        slicer: TimeSlicer | None = None,
    ) -> AwaitableOrValue[ExecutionResult]:
        """Execute with variables that are coerced."""
        run = Run(self._document, root, context, variables, slicer)
        try:
            selection = self._selection(variables)
            if self._is_serial:
                return _result(run, Later(selection.execute_serially, run, root))
            data = selection.execute(run, root, None)
        except GraphQLError as error:
            result = run.failed(error)
        else:
            if data.__class__ is Later:
                return _result(run, data)
            result = run.result(data)
        return _ended(run, result) if run.holds else result

    def _selection(self, variables: VariableValues) -> Selection:
        """Give what these variables leave; raise GraphQLError where a directive is wrong."""
        given = tuple(variables.coerced.get(name) for name in self._conditions)
        selection = self._selections.get(given)
        if selection is None:
            try:
                selection = Plan(self._document, self._kinds, variables).root()
            except RecursionError:
                nested = GraphQLError(SELECTIONS_NESTED_TOO_DEEPLY, self._document.operation)
                raise nested from None
            if len(self._selections) < _PLANS:
                self._selections[given] = selection
        return selection


async def _result(run: Run, data: Later) -> ExecutionResult:
    whole = False
    try:
        result = run.result(await data)
        whole = run.is_whole()
    except GraphQLError as error:
        result = run.failed(error)
    finally:
        if not whole:
            await run.end()
    return result


async def _ended(run: Run, result: ExecutionResult) -> ExecutionResult:
    await run.end()
    return result


def _conditions(document: Document) -> tuple[str, ...]:
    """Name the variables that decide whether a field is there."""
    names: dict[str, None] = {}

    class Finder(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
            if node.name.value in _CONDITIONS:
                for argument in node.arguments or ():
                    if isinstance(argument.value, VariableNode):
                        names[argument.value.name.value] = None

    finder = Finder()
    visit(document.operation, finder)
    for fragment in document.fragments.values():
        visit(fragment, finder)
    return tuple(names)
