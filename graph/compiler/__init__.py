"""Compiles GraphQL operations, for any `GraphQLSchema` of graphql-core. See README.md."""

from graph.compiler.compiler import Compiler
from graph.compiler.deferred import Lookup
from graph.compiler.execution import TimeSlicer
from graph.compiler.fast_path import FastPathFailed
from graph.compiler.fields import FieldNodes
from graph.compiler.operation import CompiledOperation
from graph.compiler.resolvers import (
    Accessor,
    DefaultResolvers,
    FieldResolver,
    Resolvers,
)
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
