"""Checks OpenTelemetry's variables, so that a wrong one stops the start with a line that names it.

The SDK would raise errors in each worker, or ignore the value.
"""

import os
from math import inf
from typing import Final
from urllib.parse import urlsplit

from graph.environment import InvalidSettings

_PROTOCOL: Final = "http/protobuf"
_COMPRESSIONS: Final = ("none", "gzip", "deflate")
# Of the exporter; each is read with `TRACES_`, too, which has precedence.
_OTLP: Final = "OTEL_EXPORTER_OTLP_"
_FILES: Final = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
_QUEUE: Final = "OTEL_BSP_MAX_QUEUE_SIZE"
_BATCH: Final = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_DEFAULT_QUEUE: Final = 2048
_DEFAULT_BATCH: Final = 512
_POSITIVE: Final = ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", _QUEUE, _BATCH)
_NOT_NEGATIVE: Final = (
    *("OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
    *("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"),
    *("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
    *("OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT"),
)
_PROPAGATORS: Final = "OTEL_PROPAGATORS"


def text_of(name: str) -> str:
    return os.environ.get(name, "").strip()


def ignore_propagators() -> None:
    """Remove OTEL_PROPAGATORS: FastAPI imports what it names, and fails if that is not installed.

    Roster uses `traceparent` only. The variable may be meant for other programs of a container.
    """
    os.environ.pop(_PROPAGATORS, None)


def check() -> None:
    """Raise InvalidSettings if the SDK could not use a variable. Messages contain no values."""
    if text_of("OTEL_TRACES_EXPORTER").lower() not in {"", "otlp"}:
        raise InvalidSettings("OTEL_TRACES_EXPORTER: must be otlp or none")
    for prefix in (_OTLP, f"{_OTLP}TRACES_"):
        _check_exporter(prefix)
    for name in _POSITIVE:
        _check_number(name, 1)
    for name in _NOT_NEGATIVE:
        _check_number(name, 0)
    if int(text_of(_BATCH) or _DEFAULT_BATCH) > int(text_of(_QUEUE) or _DEFAULT_QUEUE):
        raise InvalidSettings(f"{_BATCH}: must be at most {_QUEUE}")


def _check_exporter(prefix: str) -> None:
    if text_of(f"{prefix}PROTOCOL").lower() not in {"", _PROTOCOL}:
        raise InvalidSettings(f"{prefix}PROTOCOL: must be {_PROTOCOL}")
    if text_of(f"{prefix}COMPRESSION").lower() not in {"", *_COMPRESSIONS}:
        raise InvalidSettings(f"{prefix}COMPRESSION: must be one of {', '.join(_COMPRESSIONS)}")
    _check_url(f"{prefix}ENDPOINT")
    _check_seconds(f"{prefix}TIMEOUT")
    for name in _FILES:
        if (path := text_of(f"{prefix}{name}")) and not os.access(path, os.R_OK):
            raise InvalidSettings(f"{prefix}{name}: this file cannot be read")


def _check_number(name: str, least: int) -> None:
    given = text_of(name)
    if given and not (given.isascii() and given.isdigit() and int(given) >= least):
        raise InvalidSettings(f"{name}: must be a whole number, at least {least}")


def _check_seconds(name: str) -> None:
    try:
        usable = 0 < float(text_of(name) or 1) < inf
    except ValueError:
        usable = False
    if not usable:
        raise InvalidSettings(f"{name}: must be a number of seconds above 0")


def _check_url(name: str) -> None:
    if not (given := text_of(name)):
        return
    try:
        url = urlsplit(given)
        usable = url.scheme in {"http", "https"} and url.hostname and (url.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise InvalidSettings(f"{name}: must be an http or https URL")
