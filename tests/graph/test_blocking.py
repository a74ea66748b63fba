"""No request keeps the others waiting: work is bounded, done once, and pauses.

Nothing here is measured in seconds. What is dear is counted: computations, and the pauses in which
other requests run. `benchmarks/blocking.py` measures a real server.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from db import time_slices
from tests.callers import Asking, linked, service
from tests.client import Client
from users.identity import Email, Username
from users.policy import Scope

HARD = [f"{n}@" + ".".join(["ü"] * 20) for n in range(100)]
ERROR = {
    "message": "An operation can have at most 6000 values, those of a variable wherever it is "
    "used.",
    "extensions": {"code": "TOO_MANY_VALUES", "limit": 6_000},
}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The usernames and addresses that were parsed, each text with how often it was."""
    texts: Counter[str] = Counter()

    def counted(parse: Callable[[str], Any]) -> Callable[[str], Any]:
        def parse_and_count(text: str) -> Any:
            texts[text] += 1
            return parse(text)

        return parse_and_count

    for kind in (Email, Username):
        monkeypatch.setattr(kind, "parse", counted(kind.parse))
    return texts


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often somebody paused, where every slice is used up immediately."""
    counted: Counter[str] = Counter()
    monkeypatch.setattr(time_slices, "SLICE_SECONDS", 0)
    pause = time_slices.TimeSlices.pause

    async def count(self: time_slices.TimeSlices) -> None:
        counted[time_slices.current_caller.get()] += 1
        await pause(self)

    monkeypatch.setattr(time_slices.TimeSlices, "pause", count)
    return counted


def uses(number: int, fields: int = 1) -> str:
    filters = ", ".join(["{email: $emails}"] * (number // fields))
    users = (f"u{n}: users(filter: {{or: [{filters}]}}) {{ totalCount }}" for n in range(fields))
    return f"query ($emails: StringFilter) {{ {' '.join(users)} }}"


async def test_a_key_is_computed_once_however_often_its_variable_is_used(
    client: Client, computed: Counter[str], pauses: Counter[str]
) -> None:
    answer = await client.send(uses(20, fields=2), emails={"in": HARD})
    assert answer == {"data": {"u0": {"totalCount": 0}, "u1": {"totalCount": 0}}}
    assert computed == dict.fromkeys(HARD, 1)
    assert pauses.total() >= len(HARD)


async def test_values_count_where_they_are_used(client: Client, computed: Counter[str]) -> None:
    assert set(await client.send(uses(50), emails={"in": HARD})) == {"data"}
    assert await client.send(uses(120, fields=10), emails={"in": HARD}) == {"errors": [ERROR]}
    spread = "query ($emails: StringFilter) { ...A ...A } " + "".join(
        f"fragment {name} on Query {{ ...{inner} ...{inner} ...{inner} ...{inner} }} "
        for name, inner in ("AB", "BC", "CD")
    )
    spread += "fragment D on Query { users(filter: {email: $emails}) { totalCount } }"
    assert await client.send(spread, emails={"in": HARD}) == {"errors": [ERROR]}
    default = ", ".join(['"x"'] * 100)
    query = uses(120, fields=10).replace("StringFilter", f"StringFilter = {{in: [{default}]}}", 1)
    assert await client.send(query) == {"errors": [ERROR]}
    assert set(await client.send(query, emails={"in": HARD[:1]})) == {"data"}
    assert set(computed) == set(HARD)
    assert computed.total() == 101  # those of a refused operation are not computed


@pytest.mark.parametrize("key", ["email", "username"])
async def test_nothing_is_computed_for_a_caller_who_can_read_nobody(
    directory: Asking, computed: Counter[str], key: str
) -> None:
    nobody = service(Scope.WRITE)
    query = f"""query ($text: String!, $filter: StringFilter, $search: String) {{
      userBy(by: {{{key}: $text}}) {{ id }}
      users(filter: {{{key}: $filter}}, search: $search) {{ totalCount nodes {{ id }} }} }}"""
    given: dict[str, Any] = {"text": HARD[0], "filter": {"in": HARD, "contains": "ü"}}
    given["search"] = "ü"
    assert await directory.ask_all(nobody, query, **given) == {
        "userBy": None,
        "users": {"totalCount": 0, "nodes": []},
    }
    assert not computed
    wrong = given | {"filter": {"in": ["x" * 301]}}
    answer = await directory.send(nobody, query, **wrong)
    assert answer["errors"] == [("INVALID_ARGUMENT", ["users"])]
    await directory.ask_all(linked(1), query, **given)  # who can read Mia
    assert set(computed) - {"mia", "mia@example.com"} == set(HARD)
