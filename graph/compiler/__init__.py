"""Compiled execution of GraphQL operations: collected once, plain fields read by generated code.

It knows graphql-core and nothing of this directory. What it gives is what graphql-core's own
executor gives, to the letter; `tests/graph/compiler` compares the two.
"""

from graph.compiler.compiler import Compiler
from graph.compiler.deferred import Wanted
from graph.compiler.operation import Operation
from graph.compiler.selections import Nodes
from graph.compiler.variables import WrongVariables

__all__ = ["Compiler", "Nodes", "Operation", "Wanted", "WrongVariables"]
