"""A cursor of an event is valid as long as its event exists unchanged, for lists and live."""

from contextlib import aclosing
from typing import Any

import pytest

from db.engine import Database
from db.filters import EventFilter
from db.pagination import Window
from db.statements.events import EVENT_COLUMNS, EVENTS_BY_ID, EVENTS_FROM, events_listing, histories
from graph.api import cursors
from graph.protocol.errors import RequestError
from tests.feed.test_lost_events import renew_epoch
from tests.graph.streaming.test_fanout import ADMIN, Subscriber, grouped, groups, happen, subscribed
from tests.support.callers import Asking, id_of, linked, service
from tests.support.client import CREATE, Client
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import creation, write
from tests.support.history import lose_events
from users.policy import Scope

MESSAGE = (
    "This cursor is not valid in this directory, or not any longer. Start again from a list, "
    "without a cursor."
)
OTHER_ORDER = "This cursor belongs to a list in another order. Start again without it."
LIST = """query ($first: Int, $after: String, $before: String) {
  userEvents(first: $first, after: $after, before: $before) {
    nodes { cursor } pageInfo { hasNextPage endCursor } } }"""
HISTORY = """query ($id: ID!, $after: String, $before: String) {
  user(id: $id) { history(after: $after, before: $before) { nodes { cursor } } } }"""
FOLLOW = "subscription ($after: String) { userEvents(after: $after) { cursor } }"
USERS = "query ($after: String) { users(first: 2, after: $after) { edges { cursor } } }"
ME, ADA = 1, 2


def refusal(*path: str) -> list[dict[str, Any]]:
    return [{"message": MESSAGE, "path": list(path), "extensions": {"code": "INVALID_CURSOR"}}]


def told(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k != "locations"} for e in answer["errors"]]


async def assert_rejected(client: Client, directory: Asking, text: str) -> None:
    """See that a cursor is rejected in the same words wherever one is taken."""
    for bound in ("after", "before"):
        answer = await client.send(LIST, **{bound: text})
        assert (answer["data"], told(answer)) == ({"userEvents": None}, refusal("userEvents"))
        answer = await client.send(HISTORY, id=id_of(ME), **{bound: text})
        assert answer["data"] == {"user": {"history": None}}
        assert told(answer) == refusal("user", "history")
    await assert_follower_rejected(directory, text)


async def assert_follower_rejected(directory: Asking, text: str) -> None:
    with pytest.raises(RequestError) as rejected:
        async with aclosing(directory.follow(ADMIN, FOLLOW, after=text)) as coming:
            await anext(coming)
    assert told({"errors": rejected.value.errors}) == refusal("userEvents")


async def create(database: Database, name: str, count: int) -> None:
    for n in range(count):
        await write(database, creation(f"{name}{n}"))


async def listed(client: Client, **window: Any) -> list[int]:
    page = await client.ask(LIST, first=100, **window)
    return [id_at(node["cursor"]) for node in page["nodes"]]


async def test_cursors_of_lost_events_are_rejected_and_others_go_on(
    client: Client, directory: Asking
) -> None:
    database = client.database
    await create(database, "user", 26)
    cursors = {id_: await cursor_at(database, id_) for id_ in (1, 20, 21, 30)}
    await lose_events(database, 20)
    for id_ in (21, 30):  # which the database does not have
        await assert_rejected(client, directory, cursors[id_])
    await create(database, "new", 15)
    for id_ in (21, 30):  # which are other events now
        await assert_rejected(client, directory, cursors[id_])
    assert await listed(client, after=cursors[20]) == list(range(21, 36))
    assert await listed(client, after=cursors[1], before=cursors[20]) == list(range(2, 20))
    history = await client.ask(HISTORY, id=id_of(ME), before=cursors[20])
    assert [id_at(node["cursor"]) for node in history["history"]["nodes"]] == [1]
    follower = Subscriber(directory, ADMIN).begin(after=cursors[20])
    async with subscribed(follower):
        assert await follower.until(35) == list(range(21, 36))


async def test_what_is_no_cursor_of_an_event_is_rejected_in_the_same_words(
    client: Client, directory: Asking
) -> None:
    good = await cursor_at(client.database, 1)
    _, mark = cursors.decode(good, "events", [cursors.row_id, cursors.mark])
    for wrong in (
        "nonsense",
        good[:-1],
        cursors.encode("events", [1]),  # as they were before there were marks
        cursors.encode("events", [1, mark, 1]),
        cursors.encode("events", [2, mark]),
        cursors.encode("events", [0, mark]),
        cursors.encode("events", [2**63 - 1, mark]),
        cursors.encode("events", [2**63, mark]),
        cursors.encode("events", [1, mark.upper()]),
        cursors.encode("events", [1, mark[:-1]]),
        cursors.encode("events", [1, ""]),
        cursors.encode("events", [1, None]),
        cursors.encode("events", [1, 1]),
        cursors.encode("events", [1, "\0"]),
    ):
        await assert_rejected(client, directory, wrong)
    answer = await client.send(LIST, after=cursors.encode("USERNAME ASC", ["ada", 1]))
    assert [(e["message"], e["extensions"]["code"]) for e in answer["errors"]] == [
        (
            "This cursor belongs to a list in another order. Start again without it.",
            "INVALID_CURSOR",
        )
    ]


async def test_a_cursor_of_another_directory_is_rejected(
    client: Client, directory: Asking, twin: Client
) -> None:
    await create(twin.database, "user", 4)
    await renew_epoch(twin.database)  # both are copies of one database, and so of one epoch
    await assert_rejected(client, directory, await cursor_at(twin.database, 1))


async def test_an_erased_user_s_cursors_stay_valid(client: Client) -> None:
    user = await client.create("leaver", displayName="Lea Leaver", externalId="hr-7")
    await client.do("updateUser", user["id"], displayName="Lea")
    await client.do("deleteUser", user["id"], reason="left")
    database = client.database
    before = [await cursor_at(database, id_) for id_ in (1, 2, 3)]
    erase = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
    given = {"id": user["id"], "confirmUsername": "leaver", "reason": "asked"}
    assert await client.ask(erase, input=given) == {"errors": []}
    assert [await cursor_at(database, id_) for id_ in (1, 2, 3)] == before
    assert [await listed(client, after=text) for text in before] == [[2, 3, 4], [3, 4], [4]]


async def test_a_new_epoch_makes_cursors_of_events_invalid_and_no_others(
    client: Client, directory: Asking
) -> None:
    event = await cursor_at(client.database, 2)
    user = (await client.ask(USERS))["edges"][0]["cursor"]
    before = await client.ask(USERS, after=user)
    await renew_epoch(client.database)
    await assert_rejected(client, directory, event)
    assert await client.ask(USERS, after=user) == before
    again = await cursor_at(client.database, 2)
    assert again != event
    assert await listed(client, after=again) == [3, 4]


async def test_a_cursor_is_not_looked_at_for_callers_without_the_right(directory: Asking) -> None:
    good = await cursor_at(directory.database, ADA)
    for text in (good, cursors.encode("events", [ADA, "0" * 16]), "nonsense"):
        for caller in (service(Scope.READ), linked(ME, Scope.HISTORY)):
            answer = await directory.send(caller, LIST, after=text)
            assert answer == {
                "data": {"userEvents": None},
                "errors": [("FORBIDDEN", ["userEvents"])],
            }
            with pytest.raises(RequestError) as rejected:
                await anext(directory.follow(caller, FOLLOW, after=text))
            assert [e["extensions"]["code"] for e in rejected.value.errors] == ["FORBIDDEN"]


async def test_all_followers_end_and_start_again_together(
    client: Client, directory: Asking
) -> None:
    """Members of a group, and one who is alone because they take nothing."""
    crowd = [Subscriber(directory, ADMIN).begin() for _ in range(3)]
    slow = Subscriber(directory, ADMIN).begin()
    async with subscribed(*crowd, slow):
        await grouped(directory, 4)
        slow.takes.clear()
        last = await happen(directory, "last")
        for one in crowd:
            assert await one.until(last) == [last]
        await lose_events(client.database, 3)
        slow.takes.set()
        await create(client.database, "new", 5)
        directory.feed.wake()
        for one in (*crowd, slow):
            await one.task
            assert (one.ids, one.refused) == ([last], ["INVALID_CURSOR"])
        assert groups(directory) == []
        after = await cursor_at(client.database, 8)
        again = [Subscriber(directory, ADMIN).begin(after=after) for _ in range(2)]
        async with subscribed(*again):
            await grouped(directory, 2)
            newest = await happen(directory, "newest")
            for one in again:
                assert await one.until(newest) == [newest]


async def test_a_cursor_costs_one_look_up_and_none_costs_nothing(
    client: Client, statements: list[str]
) -> None:
    await create(client.database, "user", 5)
    after = await cursor_at(client.database, 1)
    query = """query ($after: String) { users(orderBy: [{field: CREATED_AT}]) { nodes {
      history(after: $after) { nodes { cursor } } } } }"""
    await client.ask(query)  # the feed begins
    counts = []
    for variables in ({}, {"after": after}):
        statements.clear()
        await client.ask(query, **variables)
        counts.append(len([ran for ran in statements if "FROM user_events" in ran]))
    assert counts[1] == counts[0] + 1


async def test_other_operations_do_not_read_the_epoch(
    client: Client, statements: list[str]
) -> None:
    user = await client.create("ada")
    await client.ask("query ($id: ID!) { user(id: $id) { username email } }", id=user["id"])
    await client.ask("{ users { totalCount nodes { id } edges { cursor } } }")
    await client.ask(CREATE, input={"username": "bob", "email": "bob@example.com"})
    assert statements != []
    assert [ran for ran in statements if "feed_epochs" in ran] == []


async def test_the_epoch_is_read_once_for_each_statement(client: Client) -> None:
    """The subquery is not correlated: its plan runs once, however many events there are."""
    dialect = client.database.engine.dialect
    window = Window(limit=20, after=(1,))
    when = EventFilter(types=())
    explain = "EXPLAIN QUERY PLAN" if client.database.is_sqlite else "EXPLAIN"
    listing = events_listing(when)
    for statement in (
        EVENTS_BY_ID.statement,
        EVENTS_FROM,
        listing.page(window),
        listing.far_page(window),
        histories(after=False, before=False, from_end=False).statement,
    ):
        compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": False})
        assert str(compiled).count("feed_epochs.epoch_id") == 1
    text = str(
        listing.page(window).compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    )
    async with client.database.engine.connect() as connection:
        rows = (await connection.exec_driver_sql(f"{explain} {text}")).all()
    plan = "\n".join(str(tuple(row)) for row in rows)
    assert "CORRELATED" not in plan
    assert ("SCALAR SUBQUERY" if client.database.is_sqlite else "InitPlan") in plan
    assert "SubPlan" not in plan
    assert EVENT_COLUMNS[-1].key == "epoch"
