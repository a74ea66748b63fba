"""Compiled execution of GraphQL operations: collected once, plain fields read by generated code.

It knows graphql-core and nothing of this directory. What it gives is what graphql-core's own
executor gives, to the letter; `tests/graph/compiled` compares the two.
"""

from graph.compiled.compiler import Compiler
from graph.compiled.fields import Nodes
from graph.compiled.later import Wanted
from graph.compiled.operation import Operation
from graph.compiled.variables import WrongVariables

__all__ = ["Compiler", "Nodes", "Operation", "Wanted", "WrongVariables"]
