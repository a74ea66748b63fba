"""An event cursor is valid while its event exists unchanged, in lists and subscriptions."""

from contextlib import aclosing
from typing import Any

import pytest

from db.engine import Database
from db.filters import EventFilter
from db.pagination import Window
from db.statements.events import EVENT_COLUMNS, EVENTS_BY_ID, EVENTS_FROM, events_listing
from db.statements.histories import histories
from graph.api import cursors
from graph.protocol.errors import RequestError
from tests.feed.test_lost_events import renew_epoch
from tests.graph.streaming.test_fanout import (
    ADMIN,
    Subscriber,
    create_event,
    subscribed,
    topics,
    wait_for_topics,
)
from tests.support.callers import DirectoryClient, id_of, linked, service
from tests.support.client import CREATE, Client
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import creation, write
from tests.support.history import lose_events
from users.policy import Scope

MESSAGE = (
    "This cursor is not valid in this directory, or not any longer. Start again from a list, "
    "without a cursor."
)
LIST = """query ($first: Int, $after: String, $before: String) {
  userEvents(first: $first, after: $after, before: $before) {
    nodes { cursor } pageInfo { hasNextPage endCursor } } }"""
HISTORY = """query ($id: ID!, $after: String, $before: String) {
  user(id: $id) { history(after: $after, before: $before) { nodes { cursor } } } }"""
FOLLOW = "subscription ($after: String) { userEvents(after: $after) { cursor } }"
USERS = "query ($after: String) { users(first: 2, after: $after) { edges { cursor } } }"
ME, ADA = 1, 2


def invalid_cursor_error(*path: str) -> list[dict[str, Any]]:
    return [{"message": MESSAGE, "path": list(path), "extensions": {"code": "INVALID_CURSOR"}}]


def errors_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k != "locations"} for e in answer["errors"]]


async def assert_rejected(client: Client, directory: DirectoryClient, text: str) -> None:
    """Asserts that every field with a cursor argument rejects this one with the same message."""
    for bound in ("after", "before"):
        answer = await client.send(LIST, **{bound: text})
        assert (answer["data"], errors_of(answer)) == (
            {"userEvents": None},
            invalid_cursor_error("userEvents"),
        )
        answer = await client.send(HISTORY, id=id_of(ME), **{bound: text})
        assert answer["data"] == {"user": {"history": None}}
        assert errors_of(answer) == invalid_cursor_error("user", "history")
    await assert_follower_rejected(directory, text)


async def assert_follower_rejected(directory: DirectoryClient, text: str) -> None:
    with pytest.raises(RequestError) as rejected:
        async with aclosing(directory.follow(ADMIN, FOLLOW, after=text)) as coming:
            await anext(coming)
    assert errors_of({"errors": rejected.value.errors}) == invalid_cursor_error("userEvents")


async def create(database: Database, name: str, count: int) -> None:
    for n in range(count):
        await write(database, creation(f"{name}{n}"))


async def listed_ids(client: Client, **window: Any) -> list[int]:
    page = await client.ask(LIST, first=100, **window)
    return [id_at(node["cursor"]) for node in page["nodes"]]


async def test_cursors_of_lost_events_are_rejected_and_others_stay_valid(
    client: Client, directory: DirectoryClient
) -> None:
    database = client.database
    await create(database, "user", 26)
    cursors = {id_: await cursor_at(database, id_) for id_ in (1, 20, 21, 30)}
    await lose_events(database, 20)
    for id_ in (21, 30):  # the database no longer has these events
        await assert_rejected(client, directory, cursors[id_])
    await create(database, "new", 15)
    for id_ in (21, 30):  # different events have these ids now
        await assert_rejected(client, directory, cursors[id_])
    assert await listed_ids(client, after=cursors[20]) == list(range(21, 36))
    assert await listed_ids(client, after=cursors[1], before=cursors[20]) == list(range(2, 20))
    history = await client.ask(HISTORY, id=id_of(ME), before=cursors[20])
    assert [id_at(node["cursor"]) for node in history["history"]["nodes"]] == [1]
    follower = Subscriber(directory, ADMIN).begin(after=cursors[20])
    async with subscribed(follower):
        assert await follower.until(35) == list(range(21, 36))


async def test_malformed_event_cursors_are_rejected_with_the_same_message(
    client: Client, directory: DirectoryClient
) -> None:
    good = await cursor_at(client.database, 1)
    _, mark = cursors.decode(good, "events", [cursors.row_id, cursors.mark])
    for wrong in (
        "nonsense",
        good[:-1],
        cursors.encode("events", [1]),  # the format of versions before marks
        cursors.encode("events", [1, mark, 1]),
        cursors.encode("events", [2, mark]),
        cursors.encode("events", [0, mark]),
        cursors.encode("events", [2**63 - 1, mark]),
        cursors.encode("events", [2**63, mark]),
        cursors.encode("events", [1, f"A{mark[1:]}"]),  # a mark can have digits only
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


async def test_event_cursor_of_another_directory_is_rejected(
    client: Client, directory: DirectoryClient, twin: Client
) -> None:
    await create(twin.database, "user", 4)
    await renew_epoch(twin.database)  # both are copies of one database, and so of one epoch
    await assert_rejected(client, directory, await cursor_at(twin.database, 1))


async def test_event_cursors_of_an_erased_user_stay_valid(client: Client) -> None:
    user = await client.create("leaver", displayName="Lea Leaver", externalId="hr-7")
    await client.mutate("updateUser", user["id"], displayName="Lea")
    await client.mutate("deleteUser", user["id"], reason="left")
    database = client.database
    before = [await cursor_at(database, id_) for id_ in (1, 2, 3)]
    erase = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
    given = {"id": user["id"], "confirmUsername": "leaver", "reason": "asked"}
    assert await client.ask(erase, input=given) == {"errors": []}
    assert [await cursor_at(database, id_) for id_ in (1, 2, 3)] == before
    assert [await listed_ids(client, after=text) for text in before] == [[2, 3, 4], [3, 4], [4]]


async def test_new_epoch_invalidates_event_cursors_only(
    client: Client, directory: DirectoryClient
) -> None:
    event = await cursor_at(client.database, 2)
    user = (await client.ask(USERS))["edges"][0]["cursor"]
    before = await client.ask(USERS, after=user)
    await renew_epoch(client.database)
    await assert_rejected(client, directory, event)
    assert await client.ask(USERS, after=user) == before
    again = await cursor_at(client.database, 2)
    assert again != event
    assert await listed_ids(client, after=again) == [3, 4]


async def test_cursor_is_not_validated_for_callers_without_permission(
    directory: DirectoryClient,
) -> None:
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


async def test_all_subscribers_end_with_invalid_cursor_when_events_are_lost(
    client: Client, directory: DirectoryClient
) -> None:
    """Subscribers of a shared topic, and a slow one that was separated from it."""
    grouped_subscribers = [Subscriber(directory, ADMIN).begin() for _ in range(3)]
    slow = Subscriber(directory, ADMIN).begin()
    async with subscribed(*grouped_subscribers, slow):
        await wait_for_topics(directory, 4)
        slow.accepting.clear()
        last = await create_event(directory, "last")
        for subscriber in grouped_subscribers:
            assert await subscriber.until(last) == [last]
        await lose_events(client.database, 3)
        slow.accepting.set()
        await create(client.database, "new", 5)
        directory.feed.wake()
        for subscriber in (*grouped_subscribers, slow):
            await subscriber.task
            assert (subscriber.ids, subscriber.error_codes) == ([last], ["INVALID_CURSOR"])
        assert topics(directory) == []
        after = await cursor_at(client.database, 8)
        again = [Subscriber(directory, ADMIN).begin(after=after) for _ in range(2)]
        async with subscribed(*again):
            await wait_for_topics(directory, 2)
            newest = await create_event(directory, "newest")
            for subscriber in again:
                assert await subscriber.until(newest) == [newest]


async def test_event_cursor_adds_one_statement(client: Client, statements: list[str]) -> None:
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


async def test_operations_without_events_do_not_read_the_epoch(
    client: Client, statements: list[str]
) -> None:
    user = await client.create("ada")
    await client.ask("query ($id: ID!) { user(id: $id) { username email } }", id=user["id"])
    await client.ask("{ users { totalCount nodes { id } edges { cursor } } }")
    await client.ask(CREATE, input={"username": "bob", "email": "bob@example.com"})
    assert statements != []
    assert [ran for ran in statements if "feed_epochs" in ran] == []


async def test_epoch_subquery_is_not_correlated(client: Client) -> None:
    """The subquery's plan runs once per statement, not once per event."""
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
