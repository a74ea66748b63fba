"""Labels have few values, and none is personal data."""

from typing import Any

import pytest

from graph.metrics.labels import OTHER, Bounded, Codes, holder_of, method_of, scheme_of


def test_only_the_first_values_are_kept() -> None:
    bounded = Bounded(2)
    assert [bounded.of(value) for value in "abcab"] == ["a", "b", OTHER, "a", "b"]


def test_codes_of_extensions_do_not_hide_those_of_alerts() -> None:
    codes = Codes(2, ["TIMEOUT", "OVERLOADED"])
    chosen = ["user mia@example.com", "mia", "A\n", "A" * 65, ""]
    assert [codes.of(code) for code in chosen] == [OTHER] * len(chosen)
    others = [f"CODE_{number}" for number in range(10_000)]
    assert [codes.of(code) for code in others[:3]] == ["CODE_0", "CODE_1", OTHER]
    assert {codes.of(code) for code in others[2:]} == {OTHER}
    assert [codes.of(code) for code in ("TIMEOUT", "OVERLOADED")] == ["TIMEOUT", "OVERLOADED"]


@pytest.mark.parametrize(
    ("scope", "labels"),
    [
        ({"method": "GET", "scheme": "https"}, ("GET", "https")),
        ({"method": "POST"}, ("POST", "http")),
        ({"method": "get", "scheme": "gopher"}, (OTHER, OTHER)),
    ],
)
def test_methods_and_schemes_are_those_that_are_known(
    scope: dict[str, Any], labels: tuple[str, str]
) -> None:
    assert (method_of(scope), scheme_of(scope)) == labels


@pytest.mark.parametrize(
    ("pid", "name", "state", "labels"),
    [
        (1, "roster", "active", ("roster", "active")),
        (1, "PSQL", "idle in transaction", ("psql", "idle in transaction")),
        (1, "pgAdmin 4 - DB:roster", "idle", ("pgAdmin", "idle")),
        (1, "of mia@example.com", "unknown", (OTHER, OTHER)),
        (1, None, None, (OTHER, OTHER)),
        (None, None, None, ("prepared transaction", "")),
    ],
)
def test_holder_of_the_feed_is_a_known_program(
    pid: int | None, name: str | None, state: str | None, labels: tuple[str, str]
) -> None:
    assert holder_of({"pid": pid, "application_name": name, "state": state}) == labels
