"""The fields selected below a field, from which resolvers choose their statements."""

from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLResolveInfo,
    InlineFragmentNode,
    SelectionSetNode,
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
