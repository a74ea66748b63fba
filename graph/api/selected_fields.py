"""The fields selected below a field, from which resolvers choose their statements."""

from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLResolveInfo,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    get_directive_values,
)

from graph.compiler import FieldNodes

# The fields of a connection that need the rows of its page.
ROW_FIELDS = frozenset({"edges", "nodes", "pageInfo"})


def names_below(info: GraphQLResolveInfo[Any]) -> frozenset[str]:
    """Return the names of all fields below this one, at any depth and through fragments.

    A field with `@skip` counts as selected, so that no column is missing.
    """
    nodes = info.field_nodes
    if not isinstance(nodes, FieldNodes):
        return _names_below(info)
    if nodes.names_below is None:
        nodes.names_below = _names_below(info)
    return nodes.names_below


def _names_below(info: GraphQLResolveInfo[Any]) -> frozenset[str]:
    names: set[str] = set()
    fragments: set[str] = set()
    left: list[SelectionSetNode | None] = [node.selection_set for node in info.field_nodes]
    while left:
        for selection in ((found := left.pop()) and found.selections) or ():
            match selection:
                case FieldNode():
                    names.add(selection.name.value)
                    left.append(selection.selection_set)
                case InlineFragmentNode():
                    left.append(selection.selection_set)
                case FragmentSpreadNode() if (name := selection.name.value) not in fragments:
                    fragments.add(name)
                    left.append(info.fragments[name].selection_set)
    return frozenset(names)


def selects(info: GraphQLResolveInfo[Any], name: str) -> bool:
    """Return whether this execution selects a field directly below this one.

    Unlike `names_below`, it evaluates `@skip` and `@include`.
    """
    left: list[SelectionSetNode | None] = [node.selection_set for node in info.field_nodes]
    while left:
        for selection in ((found := left.pop()) and found.selections) or ():
            if not _is_included(info, selection):
                continue
            match selection:
                case FieldNode() if selection.name.value == name:
                    return True
                case InlineFragmentNode():
                    left.append(selection.selection_set)
                case FragmentSpreadNode():
                    left.append(info.fragments[selection.name.value].selection_set)
    return False


def _is_included(info: GraphQLResolveInfo[Any], selection: SelectionNode) -> bool:
    if not selection.directives:
        return True
    skip, include = (
        get_directive_values(directive, selection, info.variable_values) or {"if": default}
        for directive, default in ((GraphQLSkipDirective, False), (GraphQLIncludeDirective, True))
    )
    return include["if"] and not skip["if"]
