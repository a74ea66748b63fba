"""How a schema executes operations."""

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
    """Seconds that an operation may take."""

    query: float = inf
    mutation: float = inf


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How a schema executes operations. Without any: with the default limits of documents."""

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
    """Whether no resolver changes its arguments, so that constant ones can be converted once."""
