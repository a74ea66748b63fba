"""What an operation asks for below a field, where that decides which statements run."""

from collections.abc import Iterable
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLResolveInfo,
    InlineFragmentNode,
    SelectionSetNode,
)


def selects(info: GraphQLResolveInfo[Any], names: frozenset[str]) -> bool:
    """Tell whether any of `names` is selected below this field, through fragments too.

    A field under `@skip` counts as selected: a statement too many, never one too few.
    """
    seen: set[str] = set()

    def within(nodes: Iterable[SelectionSetNode | None]) -> bool:
        for selection in (s for node in nodes if node for s in node.selections):
            match selection:
                case FieldNode():
                    if selection.name.value in names:
                        return True
                case InlineFragmentNode():
                    if within([selection.selection_set]):
                        return True
                case FragmentSpreadNode() if (name := selection.name.value) not in seen:
                    seen.add(name)
                    if within([info.fragments[name].selection_set]):
                        return True
        return False

    return within(node.selection_set for node in info.field_nodes)
