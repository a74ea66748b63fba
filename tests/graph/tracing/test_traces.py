"""Whether a process has traces, and what it needs for them."""

from importlib.util import find_spec

import pytest

from graph.environment import InvalidSettings
from graph.settings import Settings
from graph.tracing import traces


def test_traces_are_off_by_default() -> None:
    assert traces.open_traces(**Settings().tracing()) is None


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")]
)
def test_variables_of_opentelemetry_turn_traces_off(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert traces.check(enabled=True, per_second=1)
    monkeypatch.setenv(name, value)
    assert not traces.check(enabled=True, per_second=1)


@pytest.mark.parametrize("package", ["opentelemetry.sdk", "opentelemetry.exporter"])
def test_missing_packages_are_an_error_that_names_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> object:
        return None if name.startswith(package) else find_spec(name)

    monkeypatch.setattr(traces, "find_spec", find)
    with pytest.raises(InvalidSettings) as raised:
        traces.check(enabled=True, per_second=1)
    expected = "ROSTER_TRACES: needs the extra `otel`: pip install 'roster[otel]'"
    assert str(raised.value) == expected
