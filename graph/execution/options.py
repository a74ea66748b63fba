"""Options for executing the operations of a schema."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from graph.documents.limits import Limits
from graph.documents.persisted import PersistedDocuments, PersistedMode
from graph.limits.throttle import RateLimiter
from graph.shutdown import Shutdown

_SHUTDOWN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class OperationTimeouts:
    """Time limits in seconds."""

    query: float = inf
    mutation: float = inf


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """Options of a schema. The defaults include the default limits of documents."""

    limits: Limits = field(default_factory=Limits)
    introspection: bool = True
    """Also decides whether error messages suggest names of fields and arguments."""
    persisted: PersistedDocuments = field(
        default_factory=lambda: PersistedDocuments(PersistedMode.OFF, {})
    )
    timeouts: OperationTimeouts = field(default_factory=OperationTimeouts)
    rate_limiter: RateLimiter = field(default_factory=lambda: RateLimiter(None, 1_000, 1_000))
    shutdown: Shutdown = field(default_factory=lambda: Shutdown(_SHUTDOWN_SECONDS))
    serializers: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Functions that write custom scalars faster than `serialize`, by the scalars' names."""
    shares_arguments: bool = False
    """Whether constant arguments are converted once. Then no resolver may change its arguments."""
