"""The schema that the server executes."""

from typing import TYPE_CHECKING, Any

from graph.api import schema as api
from graph.api.scalars import WRITERS
from graph.documents.persisted import PersistedDocuments
from graph.execution.limited_execution import LimitedExecution
from graph.execution.options import ExecutionOptions, OperationTimeouts
from graph.limits.throttle import RateLimiter
from graph.shutdown import Shutdown

if TYPE_CHECKING:
    from graph.settings import Settings


class Schema(LimitedExecution):
    """The schema of Roster."""

    def __init__(self, options: ExecutionOptions | None = None, **parts: Any) -> None:
        config = api.config(suggestions=options is None or options.introspection)
        super().__init__(**{**api.DECLARATIONS, "config": config, **parts}, options=options)
        api.complete(self._executor.schema)


def build_schema(
    settings: "Settings", rate_limiter: RateLimiter | None = None, shutdown: Shutdown | None = None
) -> Schema:
    return Schema(
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
