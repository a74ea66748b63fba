"""The orders and counts of `userEvents` and `User.history`."""

from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.filters import EventFilter
from db.pagination import REACH
from db.statements.events import events_listing
from graph.api.inputs.comparisons import DateTimeFilter
from graph.api.inputs.user_events import UserEventFilter
from graph.api.pagination import read_page
from graph.api.types.enums import UserEventType
from graph.settings import Settings
from tests.graph.api.test_erase_user import ERASE
from tests.graph.api.test_laws import on_one_directory, populate, run_against
from tests.graph.streaming.test_fanout import ADMIN
from tests.support.callers import DirectoryClient, id_of
from tests.support.client import Client, serving
from tests.support.cursors import cursor_at, id_at
from tests.support.examples import examples
from tests.support.feed import Writer, creation, overlapping, write
from tests.support.pages import collect_ids

LIST = """query ($first: Int, $after: String, $last: Int, $before: String,
                 $filter: UserEventFilter, $orderBy: UserEventOrder) {
  userEvents(first: $first, after: $after, last: $last, before: $before, filter: $filter,
             orderBy: $orderBy) {
    nodes { cursor } countAtMost(limit: 100000)
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
HISTORY = """query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String,
                    $orderBy: UserEventOrder) {
  user(id: $id) { history(first: $first, after: $after, last: $last, before: $before,
                          orderBy: $orderBy) {
    nodes { cursor } countAtMost(limit: 100000)
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""
HISTORIES = """query ($ids: [ID!]!, $first: Int, $after: String, $last: Int, $before: String,
                      $orderBy: UserEventOrder) {
  nodes(ids: $ids) { ... on User {
    history(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
      nodes { cursor } countAtMost(limit: 100000)
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } } }"""
FOLLOW = "subscription ($after: String) { userEvents(after: $after) { cursor } }"
ORDERS = ["OLDEST_FIRST", "NEWEST_FIRST"]

filters = st.fixed_dictionaries(
    {},
    optional={
        "type": st.lists(st.sampled_from(["CREATED", "UPDATED", "DELETED", "ERASED"]), max_size=3),
        "userId": st.lists(st.sampled_from(["VXNlcjox", "VXNlcjoy", "VXNlcjo5OQ"]), max_size=3),
        "at": st.sampled_from([{"gte": "2020-01-01T00:00:00Z"}, {"lt": "2020-01-01T00:00:00Z"}]),
    },
)


def ids(page: dict[str, Any]) -> list[int]:
    return [id_at(node["cursor"]) for node in page["nodes"]]


async def collect(
    client: Client, *, forwards: bool, size: int, **arguments: Any
) -> tuple[list[int], list[dict[str, Any]]]:
    """Returns the ids of all pages in the order of the list, and the pages in it."""
    pages: list[dict[str, Any]] = []
    limit, place = ("first", "after") if forwards else ("last", "before")
    more, edge = ("hasNextPage", "endCursor") if forwards else ("hasPreviousPage", "startCursor")
    cursor = None
    while True:
        page = await client.ask(LIST, **arguments, **{limit: size, place: cursor})
        pages.append(page)
        info, found = page["pageInfo"], page["nodes"]
        assert [info["startCursor"], info["endCursor"]] == [
            found[0]["cursor"] if found else None,
            found[-1]["cursor"] if found else None,
        ]
        cursor = info[edge]
        if not info[more]:
            pages = pages if forwards else pages[::-1]
            return [id_ for page in pages for id_ in ids(page)], pages


@pytest.fixture
def populated_url(database_url: str) -> str:
    run_against(database_url, lambda client: populate(client, people=20))
    return database_url


@settings(on_one_directory, max_examples=examples(15))
@given(filter=filters, size=st.integers(3, 30))
def test_both_orders_page_through_the_same_events_in_both_directions(
    populated_url: str, filter: dict[str, Any], size: int
) -> None:
    async def check(client: Client) -> None:
        expected = ids(await client.ask(LIST, filter=filter, first=100))
        assert expected == sorted(expected)
        for order in ORDERS:
            whole = expected if order == "OLDEST_FIRST" else expected[::-1]
            for forwards in (True, False):
                found, pages = await collect(
                    client, forwards=forwards, size=size, filter=filter, orderBy=order
                )
                assert found == whole
                assert {page["countAtMost"] for page in pages} == {len(whole)}
                count = len(pages)
                assert [page["pageInfo"]["hasNextPage"] for page in pages] == [
                    *[True] * (count - 1),
                    False,
                ]
                assert [page["pageInfo"]["hasPreviousPage"] for page in pages] == [
                    False,
                    *[True] * (count - 1),
                ]

    run_against(populated_url, check)


@settings(on_one_directory, max_examples=examples(15))
@given(filter=filters, size=st.integers(1, 30), reach=st.sampled_from([1, 8, 20, REACH]))
def test_pages_within_and_beyond_the_reach_have_the_same_events_in_both_directions(
    populated_url: str, filter: dict[str, Any], size: int, reach: int
) -> None:
    async def check(client: Client) -> None:
        expected = ids(await client.ask(LIST, filter=filter, first=100))
        listing = replace(events_listing(event_filter(filter)), reach=reach)
        async with client.database.session() as session:
            for forwards in (True, False):
                assert expected == await collect_ids(
                    lambda window: read_page(session, listing, window),
                    lambda row: (row.id,),
                    size,
                    forwards=forwards,
                )

    run_against(populated_url, check)


def event_filter(given: dict[str, Any]) -> EventFilter:
    moment: dict[str, Any] = {
        name: datetime.fromisoformat(text) for name, text in given.get("at", {}).items()
    }
    users, types = given.get("userId"), given.get("type")
    return UserEventFilter(
        user_id=users,
        type=None if types is None else [UserEventType(name) for name in types],
        at=DateTimeFilter(**moment) if moment else None,
    ).read()


windows = st.fixed_dictionaries(
    {"orderBy": st.sampled_from([None, *ORDERS])},
    optional={"after": st.integers(1, 26), "before": st.integers(1, 26)},
)
limits = st.one_of(
    st.just({}),
    st.builds(lambda name, n: {name: n}, st.sampled_from(["first", "last"]), st.integers(0, 8)),
)


@settings(on_one_directory, max_examples=examples(15))
@given(window=windows, limit=limits, users=st.lists(st.integers(1, 21), min_size=1, max_size=4))
def test_any_window_of_a_history_is_that_of_the_events_filtered_by_the_user(
    populated_url: str, window: dict[str, Any], limit: dict[str, int], users: list[int]
) -> None:
    async def check(client: Client) -> None:
        arguments = window | limit
        for place in {"after", "before"} & set(window):
            arguments[place] = await cursor_at(client.database, window[place])
        user_ids = [id_of(user) for user in users]
        found = await client.ask(HISTORIES, ids=user_ids, **arguments)
        for user_id, user in zip(user_ids, found, strict=True):
            listed = await client.ask(LIST, filter={"userId": [user_id]}, **arguments)
            assert (user or {"history": listed})["history"] == listed
        whole = ids(await client.ask(LIST, first=100))
        expected = sliced(whole, window, limit)
        page = await client.ask(LIST, **arguments)
        assert (ids(page), page["countAtMost"]) == (expected, len(whole))

    run_against(populated_url, check)


def sliced(whole: list[int], window: dict[str, Any], limit: dict[str, int]) -> list[int]:
    """Returns what Relay's algorithm selects from the whole list, of at most 20 by default."""
    sign = -1 if window["orderBy"] == "NEWEST_FIRST" else 1
    after, before = window.get("after"), window.get("before")
    edges = [
        id_
        for id_ in whole[::sign]
        if (after is None or sign * id_ > sign * after)
        and (before is None or sign * id_ < sign * before)
    ]
    if "last" in limit:
        return edges[len(edges) - min(limit["last"], len(edges)) :]
    return edges[: limit.get("first", 20)]


@pytest.fixture
async def five(client: Client) -> Client:
    """Five events: of Ada 1, 3 and 5, of Bob 2 and 4."""
    ada, bob = await client.create("ada"), await client.create("bob")
    await client.mutate("updateUser", ada["id"], displayName="Ada")
    await client.mutate("updateUser", bob["id"], displayName="Bob")
    await client.mutate("deactivateUser", ada["id"])
    return client


ADA = "VXNlcjox"


@pytest.mark.parametrize(
    ("window", "oldest_first", "newest_first"),
    [
        ({}, [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]),
        ({"first": 2}, [1, 2], [5, 4]),
        ({"last": 2}, [4, 5], [2, 1]),
        ({"first": 0}, [], []),
        ({"after": 4}, [5], [3, 2, 1]),
        ({"before": 2}, [1], [5, 4, 3]),
        ({"first": 2, "after": 3}, [4, 5], [2, 1]),
        ({"last": 1, "before": 3}, [2], [4]),
        ({"after": 2, "before": 4}, [3], []),
        ({"after": 4, "before": 2}, [], [3]),
        ({"after": 3, "before": 3}, [], []),
    ],
)
async def test_cursor_is_the_position_of_its_event_in_either_order(
    five: Client, window: dict[str, int], oldest_first: list[int], newest_first: list[int]
) -> None:
    arguments = {
        name: await cursor_at(five.database, value) if name in {"after", "before"} else value
        for name, value in window.items()
    }
    for order, expected in (
        (None, oldest_first),
        ("OLDEST_FIRST", oldest_first),
        ("NEWEST_FIRST", newest_first),
    ):
        page = await five.ask(LIST, **arguments, orderBy=order)
        assert (ids(page), page["countAtMost"]) == (expected, 5)
        history = (await five.ask(HISTORY, id=ADA, **arguments, orderBy=order))["history"]
        if "first" not in window and "last" not in window:
            assert ids(history) == [id_ for id_ in expected if id_ % 2]
        assert history["countAtMost"] == 3


async def test_empty_cursor_is_the_start_or_the_end_in_either_order(five: Client) -> None:
    for order, expected in (("OLDEST_FIRST", [1, 2]), ("NEWEST_FIRST", [5, 4])):
        page = await five.ask(LIST, first=2, after="", before="", orderBy=order)
        assert ids(page) == expected


async def test_history_can_begin_with_the_newest_event(five: Client) -> None:
    first = (await five.ask(HISTORY, id=ADA, first=2, orderBy="NEWEST_FIRST"))["history"]
    info = first["pageInfo"]
    assert (ids(first), info["hasNextPage"], info["hasPreviousPage"]) == ([5, 3], True, False)
    rest = await five.ask(HISTORY, id=ADA, after=info["endCursor"], orderBy="NEWEST_FIRST")
    info = rest["history"]["pageInfo"]
    assert (ids(rest["history"]), info["hasNextPage"], info["hasPreviousPage"]) == (
        [1],
        False,
        True,
    )


async def test_subscription_continues_from_any_cursor_of_a_list_with_the_newest_first(
    client: Client, directory: DirectoryClient
) -> None:
    listed = await client.ask(LIST, orderBy="NEWEST_FIRST")
    assert ids(listed) == [4, 3, 2, 1]
    await client.create("later")
    for node in listed["nodes"]:
        seen = []
        async with aclosing(directory.follow(ADMIN, FOLLOW, after=node["cursor"])) as coming:
            async for batch in coming:
                events = [orjson.loads(text)["data"]["userEvents"] for text in batch.texts]
                seen += [id_at(event["cursor"]) for event in events]
                if 5 in seen:
                    break
        assert seen == list(range(id_at(node["cursor"]) + 1, 6))


@overlapping
async def test_both_orders_and_counts_end_below_an_uncommitted_event(client: Client) -> None:
    user = await client.create("ada")
    open_writer = Writer(client.database, "open")
    await open_writer.begin(1)
    await client.mutate("updateUser", user["id"], displayName="Ada")  # event 3, above the gap
    for order in ORDERS:
        page = await client.ask(LIST, orderBy=order)
        assert (ids(page), page["countAtMost"]) == ([1], 1)
        history = (await client.ask(HISTORY, id=user["id"], orderBy=order))["history"]
        assert (ids(history), history["countAtMost"]) == ([1], 1)
    await open_writer.end(commit=True)
    page = await client.ask(LIST, orderBy="NEWEST_FIRST")
    assert (ids(page), page["countAtMost"]) == ([3, 2, 1], 3)
    history = (await client.ask(HISTORY, id=user["id"], orderBy="NEWEST_FIRST"))["history"]
    assert (ids(history), history["countAtMost"]) == ([3, 1], 2)


async def test_history_of_an_erased_user_is_counted(client: Client) -> None:
    user = await client.create("ada")
    await client.mutate("deleteUser", user["id"])
    given = {"id": user["id"], "confirmUsername": "ada", "reason": "As asked."}
    assert (await client.ask(ERASE, input=given))["errors"] == []
    history = (await client.ask(HISTORY, id=user["id"], orderBy="NEWEST_FIRST"))["history"]
    assert (ids(history), history["countAtMost"]) == ([3, 2, 1], 3)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_histories_and_counts_of_many_users_are_one_statement_each(
    five: Client, statements: list[str]
) -> None:
    await five.app.state.feed.watermark()  # the first read costs more
    query = """{ users(orderBy: [{field: USERNAME}]) { nodes {
      history(first: 1, orderBy: NEWEST_FIRST) { nodes { versionAfter }
        countAtMost few: countAtMost(limit: 2) }
      end: history(last: 1) { nodes { versionAfter } countAtMost(limit: 1) } } } }"""
    await five.ask(query)
    statements.clear()
    answer = await five.ask(query)
    assert answer == {
        "nodes": [
            {
                "history": {"nodes": [{"versionAfter": n}], "countAtMost": n, "few": 2},
                "end": {"nodes": [{"versionAfter": n}], "countAtMost": 1},
            }
            for n in (3, 2)
        ]
    }
    # The page of users, both windows of all histories, and all counts. The two windows differ only
    # in the order of the answer.
    assert len(statements) == 3


async def test_only_the_count_is_read_if_no_event_is_selected(
    five: Client, statements: list[str]
) -> None:
    query = """{ userEvents(filter: {type: [CREATED]}) { countAtMost __typename }
      users { nodes { history { countAtMost } } } }"""
    await five.ask(query)
    statements.clear()
    assert await five.ask(query) == {
        "userEvents": {"countAtMost": 2, "__typename": "UserEventConnection"},
        "users": {"nodes": [{"history": {"countAtMost": n}} for n in (2, 3)]},
    }
    whole = [text for text in statements if "user_events.changes" in text]
    assert [text for text in whole if "user_events.id >= " not in text] == []  # of the feed


async def test_count_stops_at_the_limit_and_rejects_others(five: Client) -> None:
    query = "query ($n: Int!) { userEvents { countAtMost(limit: $n) } }"
    for limit, count in ((1, 1), (4, 4), (5, 5), (6, 5), (100_000, 5)):
        assert await five.ask(query, n=limit) == {"countAtMost": count}
    for limit in (0, -1, 100_001):
        for field in ("userEvents", "users"):
            answer = await five.send(query.replace("userEvents", field), n=limit)
            assert answer["data"] == {field: {"countAtMost": None}}
            [error] = answer["errors"]
            assert (error["message"], error["path"], error["extensions"]) == (
                f"`limit` is {limit}; it must be from 1 to 100000.",
                [field, "countAtMost"],
                {"code": "INVALID_ARGUMENT"},
            )


async def test_lost_cursor_is_rejected_even_if_only_the_count_is_selected(five: Client) -> None:
    query = "query ($after: String) { userEvents(after: $after) { countAtMost } }"
    cursor = await cursor_at(five.database, 5)
    assert await five.ask(query, after=cursor) == {"countAtMost": 5}
    await write(five.database, creation("cyd"))
    async with five.database.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM user_events WHERE id = 5")
    answer = await five.send(query, after=cursor)
    assert answer["data"] == {"userEvents": None}
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "INVALID_CURSOR"}]


async def test_counts_of_events_count_towards_the_cost(database_url: str) -> None:
    query = "{ users(first: 10) { nodes { history(first: 1) { countAtMost %s } } } }"
    settings = Settings(database_url=database_url, max_cost=30)
    async with serving(settings) as client:
        assert "errors" not in await client.send(query % "")
        answer = await client.send(query % "again: countAtMost(limit: 2)")
    assert [e["extensions"]["code"] for e in answer["errors"]] == ["TOO_EXPENSIVE"]
