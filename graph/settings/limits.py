"""Limits of connections, requests and documents."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from graph.documents.limits import Limits
from graph.limits.storage_url import parse_storage_url
from graph.settings.group import SettingGroup, accepted_by
from graph.settings.values import check_rate

_LIMITS = Limits()


def _rate(given: str | None) -> str | None:
    if given is None or given.lower() == "off":
        return None
    check_rate(given)
    return given


def _check_storage(url: SecretStr) -> None:
    parse_storage_url(url.get_secret_value())


class LimitSettings(SettingGroup):
    ws_init_timeout: Annotated[float, Field(gt=0, le=600)] = 8
    """Seconds in which a WebSocket must send `connection_init`."""
    max_operations_per_connection: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Concurrent operations of one WebSocket."""
    max_connections_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Open WebSockets and event streams of one caller, in each process."""
    auth_recheck_interval: Annotated[float, Field(gt=0, le=3600)] = 30
    """Seconds between two checks of the credentials of a waiting WebSocket or stream."""
    send_timeout: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds in which a subscriber must accept a message."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=100_000_000)] = 1024 * 1024
    """Bytes of a request body."""
    body_timeout: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds in which a request body must arrive."""
    max_batch_size: Annotated[int, Field(ge=0, le=100)] = 0
    """Requests in one POST, as an array. `0` disables batches."""
    query_timeout: Annotated[float, Field(gt=0, le=3600)] = 15
    """Seconds that a query may take."""
    mutation_timeout: Annotated[float, Field(gt=0, le=3600)] = 60
    """Seconds that a request with mutations may take."""
    max_concurrent_operations: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Concurrent queries and mutations, in each process."""
    rate_limit: Annotated[str | None, AfterValidator(_rate)] = "6000/minute"
    """A rate per second, minute, hour, day, month or year, or `off`. It limits requests of one
    caller, and invalid tokens of one network (an IPv4 address or an IPv6 /64), in each process or,
    with `ROSTER_RATE_LIMIT_STORAGE`, in all.
    """
    rate_limit_storage: Annotated[SecretStr | None, accepted_by(_check_storage)] = None
    """The URL of a Redis or Valkey server in which all processes and servers count together, such
    as `rediss://user:password@redis.internal:6379/0`. See [Shared rate
    limits](#shared-rate-limits).
    """
    rate_limit_storage_timeout: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Seconds in which it must answer. Then each process counts its requests until it does."""
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = _LIMITS.characters
    """Characters of a document."""
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.tokens
    """Tokens of a document."""
    max_depth: Annotated[int, Field(ge=1, le=100)] = _LIMITS.depth
    """Nesting levels of fields."""
    max_fields: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.fields
    """Fields of an operation, including those of fragments."""
    max_aliases: Annotated[int, Field(ge=0, le=100_000)] = _LIMITS.aliases
    """Aliases of an operation."""
    max_directives: Annotated[int, Field(ge=0, le=100_000)] = _LIMITS.directives
    """Directives of an operation."""
    max_root_fields: Annotated[int, Field(ge=1, le=100_000)] = _LIMITS.root_fields
    """Root fields of an operation."""
    max_fragments: Annotated[int, Field(ge=0, le=10_000)] = _LIMITS.fragments
    """Fragments of a document."""
    max_cost: Annotated[int, Field(ge=1, le=10_000_000)] = _LIMITS.cost
    """The cost of an operation: the rows that it requests."""
    max_values: Annotated[int, Field(ge=1, le=1_000_000)] = _LIMITS.values
    """Values in a document, in its variables, and in an operation, where the values of a variable
    count for each use. Each operation of `bulkUsers` may have 20 more.
    """
    max_response_values: Annotated[int, Field(ge=1, le=100_000_000)] = _LIMITS.answer
    """Values that a response could contain: the requested rows times the fields of each."""

    def document_limits(self) -> Limits:
        return Limits(
            characters=self.max_characters,
            tokens=self.max_tokens,
            depth=self.max_depth,
            fields=self.max_fields,
            aliases=self.max_aliases,
            directives=self.max_directives,
            root_fields=self.max_root_fields,
            fragments=self.max_fragments,
            cost=self.max_cost,
            values=self.max_values,
            answer=self.max_response_values,
        )
