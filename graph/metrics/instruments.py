"""The metrics of a server process.

The names follow OpenTelemetry, in Prometheus' spelling: its draft for GraphQL servers, and its
conventions for HTTP servers and database clients. Names that begin with `roster_` are Roster's own.

With several workers, prometheus-client adds up counters and histograms of all workers, also of
those that have ended. Gauges describe living workers: their sum, or the worst one.
"""

from collections.abc import Sequence
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from graph.metrics.labels import Codes
from graph.metrics.prometheus_adapter import reserve_space_of_files
from graph.metrics.timings import Timings

# Seconds. OpenTelemetry advises these for HTTP and for databases.
_REQUEST_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
_STATEMENT_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_Mode = Literal["livesum", "livemax", "livemin"]
_LIMITS: Final = {
    "RATE_LIMITED": "rate",
    "OVERLOADED": "concurrency",
    "TOO_MANY_CONNECTIONS": "connections",
    "TOO_MANY_OPERATIONS": "operations_per_connection",
}
# Codes of errors that operators are alerted to.
_ALERTED: Final = (
    *("INTERNAL_ERROR", "DATABASE_UNAVAILABLE", "TIMEOUT", "UNAUTHENTICATED"),
    *("AUTHENTICATION_UNAVAILABLE", "ERASURE_LEDGER_UNAVAILABLE"),
)
_MOST_CODES: Final = 100  # extensions of others can have any
_POOL: Final = "db_client_connection_pool_name"

disable_created_metrics()  # a time for each series, which nothing uses
reserve_space_of_files()


class Instruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.timings = Timings(registry)
        self.codes = Codes(_MOST_CODES, [*_ALERTED, *_LIMITS])
        self._add_requests()
        self._add_operations()
        self._add_databases()
        self._add_replicas()
        self._add_feed()
        self._add_limit_storage()
        self._add_issuers()
        self._begin_at_zero()

    def count_error(self, code: str, number: int = 1) -> None:
        self.errors.labels(self.codes.of(code)).inc(number)

    def count_rejection(self, code: str, transport: str) -> None:
        """Count an error that has answered a request as a whole."""
        self.rejections.labels(self.codes.of(code), transport).inc()
        if limit := _LIMITS.get(code):
            self.throttled.labels(limit).inc()

    def _add_requests(self) -> None:
        self.http_duration = self._histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests, and of streams until their end.",
            ["http_request_method", "url_scheme", "http_route", "http_response_status_code"],
        )
        self.http_active = self._gauge(
            "http_server_active_requests",
            "HTTP requests in progress, including open streams.",
            ["http_request_method", "url_scheme"],
        )

    def _add_operations(self) -> None:
        self.operation_duration = self._histogram(
            "graphql_server_request_duration_seconds",
            "Duration of GraphQL operations. That of a subscription is the time it was open. "
            "The name is empty unless the document is persisted. error_type is the code of the "
            "first error, also if the HTTP status is 200.",
            ["graphql_operation_type", "graphql_operation_name", "error_type"],
        )
        self.operations_active = self._gauge(
            "graphql_server_request_active",
            "GraphQL operations in progress, including open subscriptions.",
            ["graphql_operation_type"],
        )
        self.errors = self._counter(
            "roster_graphql_errors", "Errors in responses, and in `errors` of mutations.", ["code"]
        )
        self.rejections = self._counter(
            "roster_rejections",
            "Requests that were answered with an error as a whole.",
            ["code", "transport"],
        )
        self.throttled = self._counter(
            "roster_throttled", "Requests that exceeded a limit of rate or number.", ["limit"]
        )
        self.retries = self._counter(
            "roster_retries",
            "Repetitions: of transactions that lost a race, and of reads on another connection.",
            ["kind"],
        )
        self.replays = self._counter(
            "roster_idempotent_replays", "Mutations answered from their idempotency key."
        )
        self.running = self._gauge("roster_operations_running", "Queries and mutations that run.")
        self.connections = self._gauge(
            "roster_connections_open", "Open WebSockets and streams of authenticated callers."
        )

    def _add_limit_storage(self) -> None:
        self.storage_available = self._gauge(
            "roster_rate_limit_storage_available",
            "Whether processes share rate limits. Only with ROSTER_RATE_LIMIT_STORAGE.",
            ["storage"],
            mode="livemin",
        )
        self.storage_failures = self._counter(
            "roster_rate_limit_storage_failures", "How often the storage of rate limits failed."
        )
        self.unshared = self._counter(
            "roster_rate_limit_unshared",
            "Requests that were counted by one process alone, because the storage failed.",
        )

    def _add_issuers(self) -> None:
        self.keys_age = self._gauge(
            "roster_issuer_keys_age_seconds",
            "Since the published keys of an issuer were fetched. They are when a token is checked.",
            ["host"],
            mode="livemax",
        )
        self.key_failures = self._counter(
            "roster_issuer_keys_failures",
            "Failed attempts to fetch the keys of an issuer. Those it has published stay valid.",
            ["host"],
        )

    def _begin_at_zero(self) -> None:
        # Prometheus sees no increase in the first value of a series.
        for code in _ALERTED:
            self.errors.labels(code)
        for limit in _LIMITS.values():
            self.throttled.labels(limit)
        for kind in ("transaction", "read"):
            self.retries.labels(kind)

    def _add_databases(self) -> None:
        self.statement_duration = self._histogram(
            "db_client_operation_duration_seconds",
            "Duration of statements, without the wait for a connection.",
            ["db_system_name", "db_operation_name", _POOL, "error_type"],
            _STATEMENT_BUCKETS,
        )
        self.connection_wait = self._histogram(
            "db_client_connection_wait_time_seconds",
            "Duration of waits for a connection, of callers that had to wait.",
            [_POOL],
        )
        self.connection_timeouts = self._counter(
            "db_client_connection_timeouts", "Waits for a connection that took too long.", [_POOL]
        )
        self.connections_pending = self._gauge(
            "db_client_connection_pending_requests", "Callers that wait for a connection.", [_POOL]
        )
        self.connection_count = self._gauge(
            "db_client_connection_count",
            "Connections of the pool.",
            [_POOL, "db_client_connection_state"],
        )
        self.connection_max = self._gauge(
            "db_client_connection_max", "Connections that the pool may have.", [_POOL]
        )

    def _add_replicas(self) -> None:
        self.replica_used = self._gauge(
            "roster_replica_used",
            "Whether queries are read on a replica. Not, for example, if it is the primary.",
            ["replica"],
            mode="livemin",
        )
        self.replica_lag = self._gauge(
            "roster_replica_lag_seconds",
            "How far a replica is behind the primary.",
            ["replica"],
            mode="livemax",
        )

    def _add_feed(self) -> None:
        self.followers = self._gauge("roster_feed_followers", "Subscriptions to events.")
        self.lag = self._gauge(
            "roster_feed_lag_seconds",
            "Events that were committed longer ago than this have been delivered. 0 without "
            "followers.",
            mode="livemax",
        )
        self.held_back = self._gauge(
            "roster_feed_held_back_seconds",
            "How long open transactions have held back the feed, by the program that opened them "
            "and the state of its connection.",
            ["application", "state"],
            mode="livemax",
        )

    def _histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        buckets: Sequence[float] = _REQUEST_BUCKETS,
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(
        self, name: str, text: str, labels: Sequence[str] = (), mode: _Mode = "livesum"
    ) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)
