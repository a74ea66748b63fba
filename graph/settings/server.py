"""The server: its addresses, processes, logs and traces."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from graph.protocol.origins import parse_host, parse_list, parse_origin
from graph.settings.group import LOWER, SettingGroup
from graph.settings.values import parse_address


class Mode(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _entries(parse: Callable[[str], str]) -> BeforeValidator:
    def entries(given: object) -> object:
        if isinstance(given, list):
            return [parse(entry) for entry in given]
        return parse_list(given, parse) if isinstance(given, str) else given

    return BeforeValidator(entries)


class ServerSettings(SettingGroup):
    mode: Annotated[Mode, LOWER] = Mode.DEVELOPMENT
    """`production` requires authentication and may listen on any address. `development` accepts
    every caller, and listens on the local machine only.
    """
    host: Annotated[str, AfterValidator(parse_address)] = "127.0.0.1"
    """The address to listen on. In development it must be a local one."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """The port to listen on."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """The number of server processes."""
    management_port: Annotated[int | None, Field(ge=1, le=65535)] = None
    """The port of `/metrics`. If not set, nothing is measured. See [Metrics](#metrics)."""
    management_host: Annotated[str, AfterValidator(parse_address)] = "127.0.0.1"
    """The address of `ROSTER_MANAGEMENT_PORT`. Nothing authenticates its callers."""
    keep_alive_timeout: Annotated[int, Field(ge=1, le=3600)] = 75
    """Seconds until an idle connection is closed. It must be longer than a proxy or balancer keeps
    idle connections.
    """
    drain_period: Annotated[float, Field(ge=0, le=600)] = 5
    """Seconds after SIGTERM in which new requests are still served, while `/health/ready` fails:
    longer than a balancer needs to notice.
    """
    shutdown_timeout: Annotated[float, Field(gt=0, le=600)] = 8
    """Seconds in which requests in progress can complete after the drain period."""
    allowed_hosts: Annotated[list[str], _entries(parse_host)] = []  # noqa: RUF012 - pydantic copies it
    """Host names and IP addresses of this server, without ports. `*.example.com` means all names
    below `example.com`. If not set, every host is accepted.
    """
    cors_origins: Annotated[list[str], _entries(parse_origin)] = []  # noqa: RUF012 - pydantic copies it
    """Origins whose pages may send requests, such as `https://app.example.com`. There are no
    wildcards. If not set, only pages of this server may.
    """
    log_format: Annotated[Literal["text", "json"], LOWER] = "text"
    """`text` for people, `json` for machines."""
    traces: bool = False
    """Whether traces are exported to an OpenTelemetry collector. See [Traces](#traces)."""
    traces_per_second: Annotated[float, Field(ge=1, le=100_000)] = 10
    """New traces of each process in a second. Requests with a `traceparent` are traced if it says
    so, and do not count. `OTEL_TRACES_SAMPLER` replaces this limit.
    """

    def tracing(self) -> dict[str, Any]:
        return {"enabled": self.traces, "per_second": self.traces_per_second}
