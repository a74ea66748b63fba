"""Variables of OpenTelemetry that the SDK could not use are errors that name them."""

import os

import pytest

from graph.environment import InvalidSettings
from graph.tracing import traces

OTLP = "OTEL_EXPORTER_OTLP_"


def check() -> bool:
    return traces.check(enabled=True, per_second=1)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp or none"),
        ("OTEL_TRACES_SAMPLER", "some", "must be one of parentbased_always_on, always_on, "),
        (f"{OTLP}PROTOCOL", "grpc", "must be http/protobuf"),
        (f"{OTLP}TRACES_PROTOCOL", "grpc", "must be http/protobuf"),
        (f"{OTLP}ENDPOINT", "collector:4318", "must be an http or https URL"),
        (f"{OTLP}TRACES_ENDPOINT", "http://[", "must be an http or https URL"),
        (f"{OTLP}COMPRESSION", "brotli", "must be one of none, gzip, deflate"),
        (f"{OTLP}TIMEOUT", "0", "must be a number of seconds above 0"),
        (f"{OTLP}TRACES_TIMEOUT", "nan", "must be a number of seconds above 0"),
        (f"{OTLP}CERTIFICATE", "/none.pem", "this file cannot be read"),
        (f"{OTLP}TRACES_CLIENT_KEY", "/none.pem", "this file cannot be read"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "must be a whole number, at least 1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-5", "must be a whole number, at least 1"),
        (
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "4096",
            "must be at most OTEL_BSP_MAX_QUEUE_SIZE",
        ),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "x", "must be a whole number, at least 0"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1", "must be a whole number, at least 0"),
    ],
)
def test_unusable_value_is_an_error_that_names_the_variable(
    name: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check()
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as raised:
        check()
    assert str(raised.value).startswith(f"{name}: {line}")


def test_variables_of_a_collector_with_tls_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        f"{OTLP}ENDPOINT": "https://collector.internal",
        f"{OTLP}CERTIFICATE": __file__,
        f"{OTLP}COMPRESSION": "GZIP",
        f"{OTLP}TIMEOUT": " 2.5 ",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "0",
        "OTEL_PROPAGATORS": "b3",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert check()
    assert "OTEL_PROPAGATORS" not in os.environ
