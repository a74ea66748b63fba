"""`statusCounts`: each tab's label is the length of the tab's list."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.api.test_laws import leaves, on_one_directory, populate, run_against
from tests.support.callers import directory_client, linked, service
from tests.support.client import Client
from users.policy import EVERY_SCOPE, Scope

STATUSES = ["ACTIVE", "DEACTIVATED", "DELETED"]
# Conditions that list deleted users.
NAMES_DELETED = re.compile("'(status|deletedAt|eraseAfter|erasedAt)'")
COUNTS = """query ($filter: UserFilter, $search: String) {
  users(filter: $filter, search: $search) { totalCount statusCounts { status count } } }"""
TAB = """query ($filter: UserFilter, $search: String) {
  users(filter: $filter, search: $search, first: 100) { totalCount nodes { status } } }"""

statuses = st.one_of(st.none(), st.lists(st.sampled_from(STATUSES), max_size=3))
nested = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.builds(
            lambda op, given: {op: given},
            st.sampled_from(["and", "or"]),
            st.lists(parts, max_size=3),
        ),
        st.builds(lambda part: {"not": part}, parts),
        st.builds(lambda one, other: one | other, parts, parts),
    ),
    max_leaves=4,
)
filters = st.one_of(
    st.none(),
    nested,
    st.builds(lambda status, part: part | {"status": status}, statuses, nested),
    st.builds(lambda status: {"status": status}, statuses),
)
searches = st.sampled_from([None, "", "1", "user-2", "nobody"])
callers = st.sampled_from(
    [service(*EVERY_SCOPE), service(Scope.READ), linked(2), linked(3, Scope.WRITE), service()]
)


@pytest.fixture
def populated_url(database_url: str) -> str:
    run_against(database_url, lambda client: populate(client, people=30))
    return database_url


def is_too_deep(filter: dict[str, Any] | None, levels: int = 4) -> bool:
    if filter is None:
        return False
    below = [*(filter.get("and") or []), *(filter.get("or") or [])]
    if filter.get("not"):
        below.append(filter["not"])
    return levels == 0 or any(is_too_deep(part, levels - 1) for part in below)


@on_one_directory
@given(filter=filters.filter(lambda f: not is_too_deep(f)), search=searches, caller=callers)
def test_each_count_is_the_total_count_of_the_list_with_this_status(
    populated_url: str, filter: dict[str, Any] | None, search: str | None, caller: Any
) -> None:
    async def check(client: Client) -> None:
        async with directory_client(client.database) as directory:
            found = await directory.ask(caller, COUNTS, filter=filter, search=search)
            assert [each["status"] for each in found["statusCounts"]] == STATUSES
            counts = {each["status"]: each["count"] for each in found["statusCounts"]}
            for status in STATUSES:
                tab = (filter or {}) | {"status": [status]}
                listed = await directory.ask(caller, TAB, filter=tab, search=search)
                assert counts[status] == listed["totalCount"] == len(listed["nodes"])
                assert {node["status"] for node in listed["nodes"]} <= {status}
            own = (filter or {}).get("status")
            if own is not None:
                assert found["totalCount"] == sum(counts[status] for status in set(own))
            elif not NAMES_DELETED.search(str(filter)):  # the list omits deleted users
                assert found["totalCount"] == counts["ACTIVE"] + counts["DEACTIVATED"]

    run_against(populated_url, check)


@pytest.mark.parametrize(
    ("filter", "counts"),
    [
        (None, [2, 1, 1]),
        ({"status": []}, [2, 1, 1]),
        ({"status": ["DELETED"]}, [2, 1, 1]),
        ({"isActive": False}, [0, 1, 1]),
        ({"not": {"status": ["ACTIVE"]}}, [0, 1, 1]),
        ({"and": [{"status": ["ACTIVE", "DELETED"]}]}, [2, 0, 1]),
        ({"or": [{"status": ["DELETED"]}, {"username": {"eq": "ada"}}]}, [1, 0, 1]),
        ({"status": ["ACTIVE"], "username": {"startsWith": "d"}}, [0, 0, 1]),
    ],
)
async def test_only_the_own_status_of_the_filter_is_replaced(
    client: Client, filter: dict[str, Any] | None, counts: list[int]
) -> None:
    for name in ("ada", "bob"):
        await client.create(name)
    cyd, dan = await client.create("cyd"), await client.create("dan")
    await client.mutate("deactivateUser", cyd["id"])
    await client.mutate("deleteUser", dan["id"])
    found = await client.ask(COUNTS, filter=filter)
    assert [each["count"] for each in found["statusCounts"]] == counts
