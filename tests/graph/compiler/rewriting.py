"""Rewrites an operation into an equivalent one with fragments, merged fields and conditions."""

from random import Random
from typing import Any

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableNode,
    Visitor,
    parse,
    print_ast,
    visit,
)

from tests.fuzz.operations import Operation


class _Scatter(Visitor):
    def __init__(self, types: TypeInfo, rng: Random) -> None:
        super().__init__()
        self.types = types
        self.rng = rng
        self.fragments: list[FragmentDefinitionNode] = []
        self.conditions: dict[str, bool] = {}

    def leave_selection_set(self, node: SelectionSetNode, *_: Any) -> SelectionSetNode:
        parent = self.types.get_parent_type()
        selections = [part for selection in node.selections for part in self._parts(selection)]
        if self.rng.random() < 0.2:
            selections.append(FieldNode(name=NameNode(value="__typename")))
        if self.rng.random() < 0.2:
            self.rng.shuffle(selections)
        if parent and self.rng.random() < 0.5:
            start = self.rng.randrange(len(selections))
            end = self.rng.randint(start + 1, len(selections))
            selections[start:end] = [self._wrapped(selections[start:end], parent)]
        return SelectionSetNode(selections=tuple(selections))

    def _parts(self, node: SelectionNode) -> list[SelectionNode]:
        """Sometimes splits a field into two, each with a part of its selections."""
        if not isinstance(node, FieldNode) or self.rng.random() < 0.7:
            return [node]
        inner = node.selection_set
        if inner is None:
            return [self._conditioned(node), node]
        selections = list(inner.selections)
        first = self.rng.randint(1, len(selections))
        last = self.rng.randrange(len(selections))
        return [
            self._conditioned(
                _with(node, selection_set=SelectionSetNode(selections=tuple(selected)))
            )
            for selected in (selections[:first], selections[last:])
        ]

    def _wrapped(self, selected: list[SelectionNode], parent: GraphQLNamedType) -> Any:
        selections = SelectionSetNode(selections=tuple(selected))
        on = NamedTypeNode(name=NameNode(value=parent.name))
        match self.rng.randrange(3):
            case 0:
                return self._conditioned(InlineFragmentNode(selection_set=selections))
            case 1:
                inline = InlineFragmentNode(type_condition=on, selection_set=selections)
                return self._conditioned(inline)
        name = NameNode(value=f"F{len(self.fragments)}")
        self.fragments.append(
            FragmentDefinitionNode(name=name, type_condition=on, selection_set=selections)
        )
        return self._conditioned(FragmentSpreadNode(name=name))

    def _conditioned(self, node: Any) -> Any:
        if self.rng.random() < 0.5:
            return node
        skips = self.rng.random() < 0.5
        holds = self.rng.random() < 0.8
        value: Any = BooleanValueNode(value=holds is not skips)
        if self.rng.random() < 0.5:
            name = f"c{len(self.conditions)}"
            self.conditions[name] = holds is not skips
            value = VariableNode(name=NameNode(value=name))
        argument = ArgumentNode(name=NameNode(value="if"), value=value)
        name_node = NameNode(value="skip" if skips else "include")
        directive = DirectiveNode(name=name_node, arguments=(argument,))
        return _with(node, directives=(*(node.directives or ()), directive))


def _with(node: Any, **changed: Any) -> Any:
    return type(node)(**{key: getattr(node, key) for key in node.keys if key != "loc"} | changed)


def scattered(operation: Operation, schema: GraphQLSchema, rng: Random) -> Operation:
    types = TypeInfo(schema)
    scatter = _Scatter(types, rng)
    document = visit(parse(operation.query), TypeInfoVisitor(types, scatter))
    (definition,) = document.definitions
    assert isinstance(definition, OperationDefinitionNode)
    given: dict[str, Any] = {}
    texts = []
    for name, value in scatter.conditions.items():
        default = rng.random() < 0.3
        texts.append(f"${name}: Boolean! {f'= {str(value).lower()}' if default else ''}")
        given |= {} if default else {name: value}
    if texts:
        more = parse(f"query ({', '.join(texts)}) {{ x }}").definitions[0]
        assert isinstance(more, OperationDefinitionNode)
        definitions = [*(definition.variable_definitions or ()), *(more.variable_definitions or ())]
        definition = _with(definition, variable_definitions=tuple(definitions))
    whole = DocumentNode(definitions=(definition, *scatter.fragments))
    return Operation(print_ast(whole), operation.variables | given)
