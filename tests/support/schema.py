"""The schema that is served, for tests that need no server."""

from graph.api.scalars import WRITERS
from graph.documents.limits import Limits
from graph.execution.options import ExecutionOptions, OperationTimeouts
from graph.execution.schema import Schema
from graph.strawberry_adapter import core_schema

OPTIONS = ExecutionOptions(
    limits=Limits(aliases=200),
    timeouts=OperationTimeouts(60, 60),
    serializers=WRITERS,
    shares_arguments=True,
)
SCHEMA = Schema(OPTIONS)
CORE = core_schema(SCHEMA)
