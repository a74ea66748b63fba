"""Compiled execution of GraphQL operations: collected once, plain fields read by generated code.

It knows graphql-core and nothing of this directory. What it gives is what graphql-core's own
executor gives, to the letter; `tests/graph/compiler` compares the two.
"""

from graph.compiler.compiler import Compiler
from graph.compiler.deferred import Lookup
from graph.compiler.execution import TimeSlicer
from graph.compiler.operation import CompiledOperation
from graph.compiler.resolvers import (
    Accessor,
    DefaultResolvers,
    FastPathFailed,
    FieldResolver,
    Resolvers,
)
from graph.compiler.selections import FieldNodes
from graph.compiler.variables import InvalidVariables

__all__ = [
    "Accessor",
    "CompiledOperation",
    "Compiler",
    "DefaultResolvers",
    "FastPathFailed",
    "FieldNodes",
    "FieldResolver",
    "InvalidVariables",
    "Lookup",
    "Resolvers",
    "TimeSlicer",
]
