"""Which requests are traced: by the flag of `traceparent`, at a rate, or by a ratio."""

from typing import Any

import pytest

from graph.environment import InvalidSettings
from graph.tracing import sampling
from graph.tracing.sampling import Rate, Sampler
from tests.support.spans import NOT_SAMPLED, SAMPLED

INVALID = [
    "",
    "ada@example.com",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
]


def scope(**headers: str) -> dict[str, Any]:
    return {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}


def chosen(name: str = "", argument: str = "") -> Sampler:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_TRACES_SAMPLER", name)
        environment.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
        return sampling.from_environment(2)


def test_new_traces_are_limited_per_second_and_those_of_clients_are_not() -> None:
    now = 0.0
    sampler = Sampler(rate=Rate(2, lambda: now))
    assert [sampler.samples(scope()) for _ in range(3)] == [True, True, False]
    assert [sampler.samples(scope(**SAMPLED)) for _ in range(3)] == [True] * 3
    now = 0.5
    assert [sampler.samples(scope()) for _ in range(2)] == [True, False]
    now = 60
    assert [sampler.samples(scope()) for _ in range(3)] == [True, True, False]
    assert not sampler.samples(scope(**NOT_SAMPLED))


@pytest.mark.parametrize("header", INVALID)
def test_invalid_traceparent_is_ignored(header: str) -> None:
    assert not chosen("parentbased_always_off").samples(scope(traceparent=header))
    assert chosen("parentbased_always_on").samples(scope(traceparent=header))


def test_traceparent_of_a_later_version_can_have_more_fields() -> None:
    later = SAMPLED["traceparent"].replace("00-", "01-", 1) + "-more"
    assert chosen("parentbased_always_off").samples(scope(traceparent=later))


def test_several_traceparents_are_ignored() -> None:
    twice = {"headers": scope(**SAMPLED)["headers"] * 2}
    assert not chosen("parentbased_always_off").samples(twice)


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("", "", (True, True, False)),
        ("always_on", "", (True, True, True)),
        ("always_off", "", (False, False, False)),
        ("parentbased_always_on", "", (True, True, False)),
        ("PARENTBASED_ALWAYS_OFF", "", (False, True, False)),
        ("parentbased_traceidratio", "0", (False, True, False)),
        ("parentbased_traceidratio", "", (True, True, False)),
        ("traceidratio", "1.0", (True, True, True)),
        # The lower half of the trace id is a3ce..., which is 0.64 of all.
        ("traceidratio", "0.63", (None, False, False)),
        ("traceidratio", "0.65", (None, True, True)),
    ],
)
def test_variable_of_opentelemetry_chooses_the_sampler(
    name: str, argument: str, expected: tuple[bool | None, bool, bool]
) -> None:
    sampler = chosen(name, argument)
    new, sampled, not_sampled = expected
    if new is not None:  # else it is random
        assert sampler.samples(scope()) is new
    assert sampler.samples(scope(**SAMPLED)) is sampled
    assert sampler.samples(scope(**NOT_SAMPLED)) is not_sampled


@pytest.mark.parametrize(
    ("name", "argument", "line"),
    [
        ("jaeger_remote", "", "OTEL_TRACES_SAMPLER: must be one of parentbased_always_on, "),
        ("traceidratio", "2", "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"),
        ("traceidratio", "many", "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"),
    ],
)
def test_unknown_sampler_is_an_error(name: str, argument: str, line: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        chosen(name, argument)
    assert str(raised.value).startswith(line)
    assert "many" not in str(raised.value)
