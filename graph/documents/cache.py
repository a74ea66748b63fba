"""The cache of documents that are parsed, analysed and validated."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    specified_rules,
    validate,
)
from graphql.validation.validate import ValidationAbortedError

from graph.api.errors import MAX_ERRORS
from graph.compiler import CompiledOperation, Compiler, Resolvers
from graph.documents.analysis import analyze
from graph.documents.field_merging import BoundedMergingRule, merges
from graph.documents.limits import LimitExceeded, Limits, excesses_of
from graph.documents.metrics import Amounts, SelectionMetrics, Uses
from graph.documents.parsing import InvalidDocument, coded, forget_tokens, parse_document
from graph.documents.variables import check_variables
from graph.strawberry_adapter import VALIDATION_RULES

# The limits of the cache. A document needs about 65 bytes per character for its tree, and 1,400 per
# field for its compiled form.
KEPT: Final = 500
KEPT_CHARACTERS: Final = 500_000
KEPT_FIELDS: Final = 10_000
# Responses below these limits take a few milliseconds to build.
LARGE_COST: Final = 300
LARGE_ANSWER: Final = 9_000
# The rules of the specification, and Strawberry's for its own kinds of input.
_RULES: Final = (*specified_rules, *VALIDATION_RULES)
_RULES_BUT_MERGING: Final = [
    rule for rule in _RULES if rule is not OverlappingFieldsCanBeMergedRule
]
_RULES_WITH_MERGING: Final = [*_RULES_BUT_MERGING, BoundedMergingRule]
_CONFLICTS: Final = GraphQLError("Too many fields have the same name and may conflict.")


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A valid document, its operation to execute, and the cost."""

    document: DocumentNode
    operation: OperationDefinitionNode
    compiled: CompiledOperation | None
    """The compiled operation, or None if graphql-core executes it."""
    cost: int
    is_large: bool
    """Whether the response can have so many rows or values that building it takes long."""


@dataclass(slots=True)
class _Known:
    """A valid document and its operations that were requested, by name."""

    document: DocumentNode
    metrics: SelectionMetrics
    operations: dict[str | None, "_Chosen"] = field(default_factory=dict)

    @property
    def fields(self) -> int:
        """Fields of all operations. Those of a fragment count each time it is spread."""
        return sum(size.fields for size in self.metrics.operations.values())


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An operation that was requested."""

    node: OperationDefinitionNode
    compiled: CompiledOperation | None
    defaults: dict[str, Any]
    """The defaults of its variables, as nodes."""
    uses: Uses
    amounts: Amounts | None
    """The amounts, or None if they depend on variables."""


class DocumentCache:
    """Prepares requests for one schema. Not thread-safe."""

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        resolvers: Resolvers | None = None,
        *,
        introspection: bool = True,
        suggestions: bool = True,
        kept: int = KEPT,
        kept_characters: int = KEPT_CHARACTERS,
        kept_fields: int = KEPT_FIELDS,
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._introspection = introspection
        self.suggestions = suggestions
        self._kept = kept
        self._kept_characters = kept_characters
        self._kept_fields = kept_fields
        self._compiler = Compiler(schema, resolvers, hide_suggestions=not suggestions)
        self._documents: OrderedDict[str, _Known] = OrderedDict()
        self._characters = 0
        self._fields = 0

    def knows(self, query: str) -> bool:
        """Return whether a document is cached, so that preparing it is cheap."""
        return query in self._documents

    def prepare(
        self, query: str, operation_name: str | None, variables: dict[str, Any] | None
    ) -> PreparedDocument:
        """Return the operation to execute. Raises InvalidDocument with at most five errors."""
        return self._prepare(self._document(query), operation_name, variables)

    def parse(self, query: str) -> DocumentNode:
        """Parse a document of limited size, without checking it. Raises InvalidDocument."""
        return parse_document(query, self._limits)

    def check(
        self, document: DocumentNode, operation_name: str | None, variables: dict[str, Any] | None
    ) -> None:
        """Check a document that was parsed elsewhere. Raises InvalidDocument."""
        self._prepare(self._checked(document), operation_name, variables)

    def _prepare(
        self, known: "_Known", operation_name: str | None, variables: dict[str, Any] | None
    ) -> PreparedDocument:
        chosen = known.operations.get(operation_name)
        if chosen is None:
            chosen = known.operations[operation_name] = self._chosen(known, operation_name)
        if variables or chosen.uses.defaults:
            try:
                check_variables(variables or {}, self._limits, chosen.uses)
            except LimitExceeded as excess:
                raise InvalidDocument([excess]) from None
        amounts = chosen.amounts
        if amounts is None:
            given = chosen.defaults | (variables or {})
            amounts = known.metrics.amounts(_name(chosen.node), given)
        cost, values = amounts
        if cost > self._limits.cost:
            message = (
                f"The operation costs {cost}, by the rows it asks for; "
                f"it can cost {self._limits.cost}. Ask for smaller pages."
            )
            raise InvalidDocument([LimitExceeded("TOO_EXPENSIVE", self._limits.cost, message)])
        if values > self._limits.answer:
            message = (
                f"The answer could have {values} values; it can have {self._limits.answer}. "
                "Ask for smaller pages or fewer fields."
            )
            raise InvalidDocument([LimitExceeded("TOO_EXPENSIVE", self._limits.answer, message)])
        is_large = cost > LARGE_COST or values > LARGE_ANSWER
        return PreparedDocument(known.document, chosen.node, chosen.compiled, cost, is_large)

    def _chosen(self, known: _Known, name: str | None) -> _Chosen:
        node = _operation(known.document, name)
        compiled = self._compiler.compile(known.document, node)
        fixed = None if known.metrics.varies else known.metrics.amounts(_name(node), {})
        uses = known.metrics.uses[_name(node)]
        return _Chosen(node, compiled, _defaults(node), uses, fixed)

    def _document(self, query: str) -> _Known:
        found = self._documents.get(query)
        if found is not None:
            self._documents.move_to_end(query)
            return found
        found = self._documents[query] = self._read(query)
        self._characters += len(query)
        self._fields += found.fields
        while self._is_full():
            text, oldest = self._documents.popitem(last=False)
            self._characters -= len(text)
            self._fields -= oldest.fields
        return found

    def _is_full(self) -> bool:
        return (
            len(self._documents) > self._kept
            or self._characters > self._kept_characters
            or self._fields > self._kept_fields
        )

    def _read(self, query: str) -> _Known:
        # This order matters: each of parsing, analysis and validation bounds the work of the next.
        known = self._checked(parse_document(query, self._limits))
        forget_tokens(known.document)
        return known

    def _checked(self, document: DocumentNode) -> _Known:
        if not _operations(document):
            raise InvalidDocument([_unresolved("The document has no operation.")])
        metrics = analyze(self._schema, document)
        if metrics.introspects and not self._introspection:
            message = "This server does not disclose its schema."
            extensions = {"code": "INTROSPECTION_DISABLED"}
            raise InvalidDocument([GraphQLError(message, extensions=extensions)])
        if excesses := list(excesses_of(metrics, self._limits)):
            raise InvalidDocument(excesses)
        errors = validate(
            self._schema,
            document,
            _RULES_BUT_MERGING if merges(self._schema, document) else _RULES_WITH_MERGING,
            max_errors=MAX_ERRORS,
            hide_suggestions=not self.suggestions,
        )
        if errors:
            told = [_CONFLICTS if isinstance(e, ValidationAbortedError) else e for e in errors]
            raise InvalidDocument(coded(error, "GRAPHQL_VALIDATION_FAILED") for error in told)
        return _Known(document, metrics)


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        definition.variable.name.value: definition.default_value
        for definition in operation.variable_definitions or ()
        if definition.default_value
    }


def _name(operation: OperationDefinitionNode) -> str | None:
    return operation.name.value if operation.name else None


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """GetOperation of the GraphQL spec (6.1). Raises InvalidDocument if there is none."""
    operations = _operations(document)
    if name is None:
        if len(operations) == 1:
            return operations[0]
        raise InvalidDocument(
            [_unresolved("There are several operations; name the one to execute.")]
        )
    for operation in operations:
        if operation.name and operation.name.value == name:
            return operation
    raise InvalidDocument([_unresolved("The document has no operation of this name.")])


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]


def _unresolved(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})
