"""The list of users: pages, orders, filters, counts."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from db.models import User, UserStatus
from db.statements.users import everybody
from graph.api import cursors
from tests.support.client import Client

PAGE = """query ($first: Int, $after: String, $last: Int, $before: String,
               $filter: UserFilter, $orderBy: [UserOrder!]) {
  users(first: $first, after: $after, last: $last, before: $before,
        filter: $filter, orderBy: $orderBy) {
    edges { cursor node { databaseId } } nodes { databaseId }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }"""
FIELDS = ("CREATED_AT", "UPDATED_AT", "USERNAME", "EMAIL", "DISPLAY_NAME", "STATUS")
COLUMNS = ("created_at", "updated_at", "username_key", "email_key", "display_name_key", "status")
DIRECTIONS = ("ASC", "DESC")
NAMES = ["ada", "Bob", "CÉCILE", "dǽ", "émile", "z", "ÿ", "ａa", "😀x", "_x", "a-b", "A.b"]


def make_rows(count: int) -> list[dict[str, Any]]:
    """Returns rows of which many share a time or a status; the names sort by code point."""
    rng = random.Random(7)  # noqa: S311 - the same rows on every run
    start = datetime(2026, 1, 31, tzinfo=UTC)
    made = []
    for number in range(count):
        status = rng.choice(list(UserStatus))
        name = f"{rng.choice(NAMES)}{number}"
        made.append(
            {
                "username": name,
                "username_key": name.casefold(),
                "email": f"{number % 7}{name}@example.com",
                "email_key": f"{number % 7}{name}@example.com".casefold(),
                "display_name_key": (None, "", NAMES[number % 12].casefold(), "ada")[number % 4],
                "status": status,
                "is_active": status is UserStatus.ACTIVE,
                "status_changed_at": start,
                "deleted_at": start if status is UserStatus.DELETED else None,
                "version": 1,
                "created_at": start + timedelta(microseconds=rng.randrange(5)),
                "updated_at": start + timedelta(days=rng.randrange(5)),
            }
        )
    return made


async def fill(client: Client, count: int) -> list[dict[str, Any]]:
    made = make_rows(count)
    async with client.database.engine.begin() as connection:
        await connection.execute(insert(User), made)
    return [row | {"id": number} for number, row in enumerate(made, start=1)]


def expected(users: list[dict[str, Any]], order: list[dict[str, str]]) -> list[str]:
    """Sorts as the schema specifies: by each step, then by id in the last step's direction."""
    ordered = sorted(users, key=lambda u: u["id"], reverse=order[-1]["direction"] == "DESC")
    for step in reversed(order):
        column = COLUMNS[FIELDS.index(step["field"])]
        ordered.sort(
            key=lambda u: (u[column] is None, u[column] or ""), reverse=step["direction"] == "DESC"
        )
    return [str(u["id"]) for u in ordered]


def ids(page: dict[str, Any]) -> list[str]:
    assert [e["node"] for e in page["edges"]] == page["nodes"]
    return [node["databaseId"] for node in page["nodes"]]


ORDERS = [
    *([{"field": f, "direction": d}] for f, d in itertools.product(FIELDS, DIRECTIONS)),
    *(
        [{"field": "STATUS", "direction": a}, {"field": "CREATED_AT", "direction": b}]
        for a, b in itertools.product(DIRECTIONS, DIRECTIONS)
    ),
    [
        {"field": "CREATED_AT", "direction": "DESC"},
        {"field": "STATUS", "direction": "ASC"},
        {"field": "UPDATED_AT", "direction": "DESC"},
    ],
    *(
        [{"field": "DISPLAY_NAME", "direction": a}, {"field": "UPDATED_AT", "direction": b}]
        for a, b in itertools.product(DIRECTIONS, DIRECTIONS)
    ),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda o: "-".join("".join(s.values()) for s in o))
async def test_paging_visits_every_user_once_in_every_order(
    client: Client, order: list[dict[str, str]]
) -> None:
    users = await fill(client, 60)
    anyone = {"status": ["ACTIVE", "DEACTIVATED", "DELETED"]}
    whole = expected(users, order)

    forwards, after = [], None
    for step in itertools.count():
        page = await client.ask(PAGE, first=7, after=after, filter=anyone, orderBy=order)
        info = page["pageInfo"]
        forwards += ids(page)
        assert page["totalCount"] == 60
        assert info["hasPreviousPage"] is (step > 0)
        assert (info["startCursor"], info["endCursor"]) == (
            page["edges"][0]["cursor"],
            page["edges"][-1]["cursor"],
        )
        if not info["hasNextPage"]:
            break
        after = info["endCursor"]
    assert forwards == whole

    backwards: list[str] = []
    before = None
    for step in itertools.count():
        page = await client.ask(PAGE, last=7, before=before, filter=anyone, orderBy=order)
        info = page["pageInfo"]
        backwards = ids(page) + backwards
        assert info["hasNextPage"] is (step > 0)
        if not info["hasPreviousPage"]:
            break
        before = info["startCursor"]
    assert backwards == whole


@pytest.mark.parametrize(
    ("direction", "names"),
    [("ASC", ["Ada", "Émile", None, None]), ("DESC", [None, None, "Émile", "Ada"])],
)
async def test_users_without_a_display_name_are_the_greatest(
    client: Client, direction: str, names: list[str | None]
) -> None:
    for username, name in (("a", None), ("b", "Émile"), ("c", None), ("d", "Ada")):
        await client.create(f"{username}-user", **({} if name is None else {"displayName": name}))
    page = """query ($first: Int, $after: String, $last: Int, $before: String, $by: [UserOrder!]) {
      users(first: $first, after: $after, last: $last, before: $before, orderBy: $by) {
        nodes { displayName } pageInfo { startCursor endCursor } } }"""
    order = [{"field": "DISPLAY_NAME", "direction": direction}]
    after, before, forwards, backwards = None, None, [], []
    for _ in range(4):
        next_page = await client.ask(page, first=1, after=after, by=order)
        forwards += [node["displayName"] for node in next_page["nodes"]]
        after = next_page["pageInfo"]["endCursor"]
        previous_page = await client.ask(page, last=1, before=before, by=order)
        backwards += [node["displayName"] for node in previous_page["nodes"]]
        before = previous_page["pageInfo"]["startCursor"]
    assert (forwards, backwards) == (names, names[::-1])


async def test_default_page_has_the_twenty_newest_users(client: Client) -> None:
    users = [u for u in await fill(client, 60) if u["status"] is not UserStatus.DELETED]
    newest = expected(users, [{"field": "CREATED_AT", "direction": "DESC"}])
    page = await client.ask(PAGE)
    assert ids(page) == newest[:20]
    assert page["totalCount"] == len(users)
    same: dict[str, Any]
    for same in ({"orderBy": None}, {"orderBy": []}, {"first": 20, "filter": None}):
        assert await client.ask(PAGE, **same) == page


async def test_page_between_two_cursors_stays_within_them(client: Client) -> None:
    await fill(client, 60)
    page = await client.ask(PAGE, first=30)
    edges = page["edges"]
    between = {"after": edges[3]["cursor"], "before": edges[20]["cursor"]}
    inner = await client.ask(PAGE, first=5, **between)
    assert ids(inner) == ids(page)[4:9]
    assert inner["pageInfo"]["hasNextPage"] is inner["pageInfo"]["hasPreviousPage"] is True
    outer = await client.ask(PAGE, last=100, **between)
    assert ids(outer) == ids(page)[4:20]
    assert outer["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": edges[4]["cursor"],
        "endCursor": edges[19]["cursor"],
    }


async def test_pages_are_stable_when_users_are_created_and_deleted(client: Client) -> None:
    for number in range(6):
        await client.create(f"user{number}")
    order = [{"field": "USERNAME"}]
    first = await client.ask(PAGE, first=3, orderBy=order)
    await client.mutate(
        "deleteUser", (await client.ask('{userBy(by:{username:"user2"}){id}}'))["id"]
    )
    await client.create("aaa")
    second = await client.ask(PAGE, first=3, after=first["pageInfo"]["endCursor"], orderBy=order)
    assert (ids(first), ids(second)) == (["1", "2", "3"], ["4", "5", "6"])


async def test_empty_list_has_no_cursors(client: Client) -> None:
    assert await client.ask(PAGE) == {
        "edges": [],
        "nodes": [],
        "totalCount": 0,
        "pageInfo": {
            "hasNextPage": False,
            "hasPreviousPage": False,
            "startCursor": None,
            "endCursor": None,
        },
    }


@pytest.fixture
async def five(client: Client) -> Client:
    """Ada and Émile active, Bob and Carl deactivated, Dora deleted; their ids count from 1."""
    for name in ("Ada", "Émile", "Bob", "Carl", "Dora"):
        await client.create(name, email=f"{name}@Example.com", isActive=name in {"Ada", "Émile"})
    dora = await client.ask('{ userBy(by: {username: "dora"}) { id } }')
    await client.mutate("deleteUser", dora["id"])
    return client


U = [f"VXNlcjo{n}" for n in ("x", "y", "z", "0", "1")]  # User:1 to User:5


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "1234"),
        ({"status": ["ACTIVE"]}, "12"),
        ({"status": ["DELETED"]}, "5"),
        ({"status": ["DEACTIVATED", "DELETED"]}, "345"),
        ({"status": []}, ""),
        ({"status": None}, "1234"),
        ({"isActive": True}, "12"),
        ({"isActive": False}, "34"),
        ({"isActive": False, "status": ["ACTIVE", "DELETED"]}, "5"),
        ({"id": [U[0], U[3], U[4], U[0]]}, "14"),
        ({"id": [U[0], U[4]], "status": ["DELETED"]}, "5"),
        ({"id": []}, ""),
        ({"databaseId": ["2", 3, "99", "9223372036854775807"]}, "23"),
        ({"id": [U[0], U[1]], "databaseId": ["2", "3"]}, "2"),
        ({"username": {"eq": "ADA"}}, "1"),
        ({"username": {"eq": "e\u0301MILE"}}, "2"),
        ({"username": {"eq": "dora"}}, ""),
        ({"username": {"eq": "dora"}, "status": ["DELETED"]}, "5"),
        ({"username": {"eq": "ad"}}, ""),
        ({"username": {"eq": "%"}}, ""),
        ({"username": {"eq": "a\x00"}}, ""),
        ({"username": {"eq": "\ud800"}}, ""),
        ({"username": {"eq": None}}, "1234"),
        ({"username": None}, "1234"),
        ({"email": {"eq": "BOB@EXAMPLE.COM"}}, "3"),
        ({"email": {"eq": "bob"}}, ""),
        ({"email": {"eq": "ada@example.com"}, "username": {"eq": "bob"}}, ""),
    ],
)
async def test_filter_finds_the_matching_users(
    five: Client, wanted: dict[str, Any], found: str
) -> None:
    page = await five.ask(PAGE, filter=wanted, orderBy=[{"field": "CREATED_AT"}])
    assert "".join(ids(page)) == found
    assert page["totalCount"] == len(found)


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ({"first": -1}, "`first` is -1; it must be from 0 to 100.", "INVALID_ARGUMENT"),
        ({"first": 101}, "`first` is 101; it must be from 0 to 100.", "INVALID_ARGUMENT"),
        ({"last": -1}, "`last` is -1; it must be from 0 to 100.", "INVALID_ARGUMENT"),
        ({"last": 101}, "`last` is 101; it must be from 0 to 100.", "INVALID_ARGUMENT"),
        (
            {"first": 1, "last": 1},
            "`first` and `last` cannot be used together.",
            "INVALID_ARGUMENT",
        ),
        (
            {"filter": {"databaseId": ["1"] * 101}},
            "`databaseId` has 101 values; a list can have 100.",
            "INVALID_ARGUMENT",
        ),
        (
            {"filter": {"id": [U[0]] * 101}},
            "`id` has 101 values; a list can have 100.",
            "INVALID_ARGUMENT",
        ),
        (
            {"orderBy": [{"field": "EMAIL"}] * 7},
            "`orderBy` has at most 6 steps.",
            "INVALID_ARGUMENT",
        ),
    ],
)
async def test_arguments_out_of_range_are_rejected(
    client: Client, arguments: dict[str, Any], message: str, code: str
) -> None:
    answer = await client.send(PAGE, **arguments)
    assert answer["data"] == {"users": None}
    assert [(e["path"], e["message"], e["extensions"]) for e in answer["errors"]] == [
        (["users"], message, {"code": code})
    ]


@pytest.mark.parametrize(
    "arguments", [{"first": 2**31}, {"first": "1"}, {"first": 1.5}, {"after": 1}, {"filter": 1}]
)
async def test_arguments_of_the_wrong_type_are_a_validation_error(
    client: Client, arguments: dict[str, Any]
) -> None:
    answer = await client.send(PAGE, **arguments)
    assert set(answer) == {"errors"}
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "GRAPHQL_VALIDATION_FAILED"}]


NO_CURSOR = "This is not a cursor of this list."
OTHER_ORDER = "This cursor belongs to a list in another order. Start again without it."
NEWEST = "CREATED_AT DESC"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("nonsense", NO_CURSOR),
        ("é", NO_CURSOR),
        ("\ud800", NO_CURSOR),
        ("A" * 10_000, NO_CURSOR),
        ("e30", NO_CURSOR),  # {}
        ("W10", NO_CURSOR),  # []
        ("WzFd", NO_CURSOR),  # [1]
        ("W" * 4_000, NO_CURSOR),
        (U[0], NO_CURSOR),
        (cursors.encode(NEWEST, []), NO_CURSOR),
        (cursors.encode(NEWEST, ["2026-01-31T00:00:00+00:00"]), NO_CURSOR),
        (cursors.encode(NEWEST, ["2026-01-31T00:00:00", 1]), NO_CURSOR),
        (cursors.encode(NEWEST, ["yesterday", 1]), NO_CURSOR),
        (cursors.encode(NEWEST, [1, 1]), NO_CURSOR),
        (cursors.encode(NEWEST, [None, 1]), NO_CURSOR),
        (cursors.encode(NEWEST, ["0001-01-01T00:00:00+23:59", 1]), NO_CURSOR),
        (cursors.encode(NEWEST, ["9999-12-31T23:59:59-23:59", 1]), NO_CURSOR),
        (cursors.encode(NEWEST, ["2026-01-31T00:00:00+00:00", "1"]), NO_CURSOR),
        (cursors.encode(NEWEST, ["2026-01-31T00:00:00+00:00", True]), NO_CURSOR),
        (cursors.encode(NEWEST, ["2026-01-31T00:00:00+00:00", 2**63]), NO_CURSOR),
        (cursors.encode(NEWEST, ["2026-01-31T00:00:00+00:00", -1]), NO_CURSOR),
        (cursors.encode(NEWEST, ["2026-01-31T00:00:00+00:00", 1, 1]), NO_CURSOR),
        (cursors.encode("CREATED_AT ASC", ["2026-01-31T00:00:00+00:00", 1]), OTHER_ORDER),
        (cursors.encode("USERNAME DESC", ["ada", 1]), OTHER_ORDER),
        (cursors.encode("events", [1]), OTHER_ORDER),
    ],
)
async def test_invalid_cursor_is_rejected(client: Client, wrong: str, message: str) -> None:
    await client.create("ada")
    for place in ("after", "before"):
        answer = await client.send(PAGE, **{place: wrong})
        assert answer["data"] == {"users": None}
        assert [(e["path"], e["message"], e["extensions"]) for e in answer["errors"]] == [
            (["users"], message, {"code": "INVALID_CURSOR"})
        ]


async def test_cursor_with_an_invalid_sort_value_is_rejected(client: Client) -> None:
    for order, value in (
        ("USERNAME", "a\x00"),
        ("USERNAME", None),
        ("EMAIL", 1),
        ("DISPLAY_NAME", 1),
        ("DISPLAY_NAME", "a\x00"),
        ("STATUS", "ERASED"),
    ):
        wrong = cursors.encode(f"{order} ASC", [value, 1])
        answer = await client.send(PAGE, after=wrong, orderBy=[{"field": order}])
        assert answer["data"] == {"users": None}
        assert [e["extensions"] for e in answer["errors"]] == [{"code": "INVALID_CURSOR"}]


async def test_count_is_read_only_if_selected(client: Client, statements: list[str]) -> None:
    def counts() -> list[bool]:
        seen = ["count(" in statement for statement in statements]
        statements.clear()
        return seen

    await client.create("ada")
    statements.clear()
    await client.ask("{ users { nodes { id } edges { cursor } pageInfo { endCursor } } }")
    assert counts() == [False]
    await client.ask("{ users { totalCount } }")
    assert counts() == [True]
    await client.ask("{ users { totalCount @skip(if: true) __typename nodes { id } } }")
    assert counts() == [False]
    await client.ask("{ users { ...A } } fragment A on UserConnection { ... { nodes { id } } }")
    assert counts() == [False]
    await client.ask(
        "{ users { ...A totalCount } } fragment A on UserConnection { ... { x: totalCount } }"
    )
    assert counts() == [True, True]


async def test_repeated_order_field_is_ignored(client: Client) -> None:
    await fill(client, 20)
    once = [{"field": "STATUS"}, {"field": "EMAIL", "direction": "DESC"}]
    again = [*once, {"field": "STATUS", "direction": "DESC"}]
    assert await client.ask(PAGE, orderBy=again) == await client.ask(PAGE, orderBy=once)


COUNTS = """query ($filter: UserFilter) { users(filter: $filter) {
  totalCount countAtMost statusCounts { status count } } }"""


@pytest.mark.parametrize(
    ("wanted", "total", "by_status"),
    [
        ({}, 4, (2, 2, 1)),
        ({"status": ["ACTIVE"]}, 2, (2, 2, 1)),
        ({"status": ["DELETED", "ACTIVE"]}, 3, (2, 2, 1)),
        ({"status": []}, 0, (2, 2, 1)),
        ({"isActive": True}, 2, (2, 0, 0)),
        ({"databaseId": ["1", "3", "5"]}, 2, (1, 1, 1)),
        ({"databaseId": ["1", "3", "5"], "status": ["DELETED"]}, 1, (1, 1, 1)),
        ({"username": {"eq": "nobody"}}, 0, (0, 0, 0)),
    ],
)
async def test_counts_match_the_filter(
    five: Client, wanted: dict[str, Any], total: int, by_status: tuple[int, int, int]
) -> None:
    assert await five.ask(COUNTS, filter=wanted) == {
        "totalCount": total,
        "countAtMost": total,
        "statusCounts": [
            {"status": status, "count": count}
            for status, count in zip(("ACTIVE", "DEACTIVATED", "DELETED"), by_status, strict=True)
        ],
    }


async def test_count_at_most_stops_at_its_limit(five: Client, statements: list[str]) -> None:
    statements.clear()
    query = "{ users { two: countAtMost(limit: 2) four: countAtMost(limit: 4) many: countAtMost } }"
    assert await five.ask(query) == {"two": 2, "four": 4, "many": 4}
    assert len(statements) == 3
    assert all("LIMIT" in statement for statement in statements)
    for limit in (0, -1, 100_001):
        answer = await five.send(f"{{ users {{ countAtMost(limit: {limit}) }} }}")
        assert answer["data"] == {"users": {"countAtMost": None}}
        assert [(e["message"], e["extensions"]) for e in answer["errors"]] == [
            (f"`limit` is {limit}; it must be from 1 to 100000.", {"code": "INVALID_ARGUMENT"})
        ]


async def test_status_counts_run_one_statement(five: Client, statements: list[str]) -> None:
    statements.clear()
    await five.ask("{ users { statusCounts { status count } } }")
    assert ["GROUP BY" in statement for statement in statements] == [True]


@pytest.mark.parametrize("arguments", ["", "(filter: {status: [ACTIVE]})"])
async def test_only_the_columns_of_selected_fields_are_read(
    five: Client, statements: list[str], arguments: str
) -> None:
    statements.clear()
    found = await five.ask(
        "query { users"
        + arguments
        + """{
          ...page edges { ... on UserEdge { node { email viewerCan } } } } }
        fragment page on UserConnection { nodes { ...more @skip(if: true) } }
        fragment more on User { version }"""
    )
    assert found["edges"]
    [statement] = statements
    columns = statement.partition("FROM")[0].removeprefix("SELECT ").strip()
    assert {column.removeprefix("users.") for column in columns.split(", ")} == {
        "email",
        "status",
        "erased_at",
        "version",
        "created_at",
        "id",
    }


async def test_lists_with_equal_structure_share_a_prepared_statement(five: Client) -> None:
    query = "query ($n: Int) { users(first: $n, orderBy: [{field: EMAIL}]) { nodes { username } } }"
    before = everybody.cache_info()
    for n in (1, 2, 3):
        assert len((await five.ask(query, n=n))["nodes"]) == n
    after = everybody.cache_info()
    assert (after.hits + after.misses - before.hits - before.misses) == 3
    assert after.misses - before.misses <= 1
