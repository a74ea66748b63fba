"""The schema that the server executes."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from graph.api import federation
from graph.api import schema as api
from graph.api.scalars import WRITERS
from graph.documents.persisted import PersistedDocuments
from graph.execution.limited_execution import LimitedExecution
from graph.execution.options import ExecutionOptions, OperationTimeouts
from graph.limits.throttle import RateLimiter
from graph.shutdown import Shutdown
from graph.strawberry_adapter import SubgraphSchema, set_directives

if TYPE_CHECKING:
    from graph.settings import Settings


class Schema(LimitedExecution):
    """The schema of Roster."""

    def __init__(self, options: ExecutionOptions | None = None, **parts: Any) -> None:
        config = api.config(suggestions=options is None or options.introspection)
        super().__init__(**{**api.DECLARATIONS, "config": config, **parts}, options=options)
        api.complete(self._executor.schema)


class FederatedSchema(Schema, SubgraphSchema):
    """The schema of Roster as a subgraph of Apollo Federation 2."""

    def __init__(self, options: ExecutionOptions | None = None, **parts: Any) -> None:
        subgraph = {
            "schema_directives": [federation.LINK],
            "federation_version": federation.VERSION,
        }
        super().__init__(options, **{**subgraph, **parts})
        for element, directives in federation.directives(self._executor.schema):
            set_directives(element, directives)

    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        fields = super().get_fields(type_definition)
        is_query = type_definition.origin is self.query
        return [*fields, *federation.GATEWAY_FIELDS] if is_query else fields

    def as_str(self) -> str:
        return self._printed

    @cached_property
    def _printed(self) -> str:
        return super().as_str()


def build_schema(
    settings: "Settings", rate_limiter: RateLimiter | None = None, shutdown: Shutdown | None = None
) -> Schema:
    schema = FederatedSchema if settings.federation else Schema
    return schema(
        ExecutionOptions(
            limits=settings.document_limits(),
            introspection=settings.introspection,
            persisted=PersistedDocuments(settings.persisted_documents, settings.manifest()),
            timeouts=OperationTimeouts(settings.query_timeout, settings.mutation_timeout),
            rate_limiter=rate_limiter
            or RateLimiter(
                None, settings.max_concurrent_operations, settings.max_connections_per_caller
            ),
            shutdown=shutdown or Shutdown(settings.shutdown_timeout),
            serializers=WRITERS,
            shares_arguments=True,
        )
    )
