"""`UserConnection.followFrom`: pages of users, then the feed, without a gap."""

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import orjson
import pytest
from sqlalchemy import event

from db.engine import Database
from feed.feed import Feed
from graph.api import queries
from graph.api.types.user_event import encode_anchor
from tests.feed.test_lost_events import renew_epoch
from tests.fuzz.operations import Operation
from tests.graph.api.test_event_cursors import assert_rejected
from tests.graph.compiler.differential import assert_same
from tests.graph.compiler.test_roster import case
from tests.graph.streaming.test_fanout import ADMIN, FIRST, Subscriber, subscribed
from tests.support.callers import (
    SCOPE_SETS,
    DirectoryClient,
    directory_client,
    id_of,
    linked,
    service,
)
from tests.support.client import Client
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import Writer, creation, overlapping, write
from tests.support.history import lose_events
from users.policy import Scope

FOLLOW_FROM = "{ users(first: 0) { followFrom } }"
PAGE = "{ users { followFrom nodes { username } } }"
EDGES = """subscription ($after: String) { userEvents(after: $after) {
  type versionAfter statusBefore statusAfter
  user { username } userEdge { cursor node { id username status version } } } }"""


async def followed(directory: DirectoryClient, after: str, count: int) -> list[dict[str, Any]]:
    """Returns the first events after a cursor."""
    found: list[dict[str, Any]] = []
    async with aclosing(directory.follow(ADMIN, EDGES, after=after)) as results:
        async for batch in results:
            found += [orjson.loads(text)["data"]["userEvents"] for text in batch.texts]
            if len(found) >= count:
                return found
    raise AssertionError(found)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    ran: list[str] = []

    def record(_: Any, __: Any, statement: str, *___: Any) -> None:
        ran.append(statement)

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", record)
    yield ran
    event.remove(engine, "before_cursor_execute", record)


def of_feed(ran: list[str]) -> list[str]:
    return [statement for statement in ran if "user_events" in statement]


async def test_changes_while_a_page_is_read_are_followed(
    directory: DirectoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = queries._read_users  # noqa: SLF001 - the moment after the page was read

    async def read_before_a_write(*given: Any) -> Any:
        found = await read(*given)
        await write(directory.database, creation("late"))
        return found

    monkeypatch.setattr(queries, "_read_users", read_before_a_write)
    page = await directory.ask(ADMIN, PAGE)
    assert page["nodes"] == [{"username": "ada"}, {"username": "mia"}]
    [late] = await followed(directory, page["followFrom"], 1)
    assert late["user"] == {"username": "late"}


async def test_changes_between_the_watermark_and_the_page_are_in_both(
    directory: DirectoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Feed.end

    async def end_before_a_write(self: Feed) -> Any:
        found = await end(self)
        await write(directory.database, creation("late"))
        return found

    monkeypatch.setattr(Feed, "end", end_before_a_write)
    page = await directory.ask(ADMIN, PAGE)
    assert page["nodes"][0] == {"username": "late"}
    [late] = await followed(directory, page["followFrom"], 1)
    assert (late["user"], late["versionAfter"]) == ({"username": "late"}, 1)


@overlapping
async def test_change_of_an_open_transaction_is_followed_after_later_ones_are_listed(
    directory: DirectoryClient,
) -> None:
    early = Writer(directory.database, "early")
    await early.begin(1)
    await write(directory.database, creation("late"))
    page = await directory.ask(ADMIN, PAGE)
    assert [node["username"] for node in page["nodes"]] == ["late", "ada", "mia"]
    assert id_at(page["followFrom"]) == FIRST
    await early.end(commit=True)
    found = await followed(directory, page["followFrom"], 2)
    assert [each["user"]["username"] for each in found] == ["earlyx0", "late"]


async def test_page_of_one_server_is_followed_on_another(directory: DirectoryClient) -> None:
    async with directory_client(directory.database) as other:
        await other.feed.poll()  # its watermark is older than that of the page
        await write(directory.database, creation("listed"))
        page = await directory.ask(ADMIN, PAGE)
        await write(directory.database, creation("late"))
        assert [each["user"] for each in await followed(other, page["followFrom"], 1)] == [
            {"username": "late"}
        ]


async def test_follow_from_of_an_empty_feed_is_its_beginning(client: Client) -> None:
    async with directory_client(client.database) as directory:
        start = (await client.ask(FOLLOW_FROM))["followFrom"]
        assert id_at(start) == 0
        await client.create("mia")
        subscriber = Subscriber(directory, ADMIN).begin(after=start)
        async with subscribed(subscriber):
            assert await subscriber.until(1) == [1]
        query = """query ($at: String, $id: ID!) {
          after: userEvents(after: $at) { nodes { versionAfter } pageInfo { hasPreviousPage } }
          before: userEvents(before: $at) { nodes { id } }
          user(id: $id) { history(after: $at) { nodes { type } } } }"""
        found = await client.ask(query, at=start, id=id_of(1))
        assert found == {
            "after": {"nodes": [{"versionAfter": 1}], "pageInfo": {"hasPreviousPage": True}},
            "before": {"nodes": []},
            "user": {"history": {"nodes": [{"type": "CREATED"}]}},
        }
        assert (await client.ask(FOLLOW_FROM))["followFrom"] == await cursor_at(client.database, 1)


async def test_follow_from_of_another_epoch_is_rejected(client: Client) -> None:
    start = (await client.ask(FOLLOW_FROM))["followFrom"]
    await renew_epoch(client.database)
    assert (await client.ask(FOLLOW_FROM))["followFrom"] != start
    await client.create("mia")
    after = (await client.ask(FOLLOW_FROM))["followFrom"]
    await renew_epoch(client.database)
    assert (await client.ask(FOLLOW_FROM))["followFrom"] not in {start, after}
    async with directory_client(client.database) as directory:
        for text in (start, after):
            await assert_rejected(client, directory, text)


async def test_follow_from_after_a_restore_is_that_of_the_restored_events(
    directory: DirectoryClient,
) -> None:
    lost = (await directory.ask(ADMIN, FOLLOW_FROM))["followFrom"]
    await lose_events(directory.database, FIRST - 1)
    found = (await directory.ask(ADMIN, FOLLOW_FROM))["followFrom"]
    assert found == await cursor_at(directory.database, FIRST - 1) != lost


@pytest.mark.parametrize("linked_user", [None, 1], ids=["service", "user"])
async def test_follow_from_is_null_without_a_statement_unless_the_caller_may_follow(
    directory: DirectoryClient, linked_user: int | None
) -> None:
    end = encode_anchor(await directory.feed.end())
    for scopes in SCOPE_SETS:
        caller = linked(linked_user, *scopes) if linked_user else service(*scopes)
        may_follow = {Scope.READ, Scope.HISTORY} <= scopes
        with statements(directory.database) as ran:
            found = await directory.ask(caller, PAGE)
        assert found["followFrom"] == (end if may_follow else None)
        assert bool(of_feed(ran)) == may_follow
        answer = await directory.send(caller, "{ userEvents(first: 0) { nodes { id } } }")
        assert ("errors" not in answer) == may_follow


SELECTED = {
    "alias": "{ users { from: followFrom } }",
    "fragment": "{ users { ...F } } fragment F on UserConnection { ... { x: followFrom } }",
    "included": "query ($yes: Boolean! = true) { users { followFrom @include(if: $yes) } }",
    "merged": "{ users { nodes { id } } users { followFrom } }",
    "last page": "{ users(last: 1) { followFrom edges { cursor } } }",
    "nothing found": '{ users(filter: { username: { eq: "no" } }) { followFrom nodes { id } } }',
    "no condition": "{ users(filter: { id: [] }) { followFrom totalCount } }",
    "search": '{ users(search: "ad") { followFrom nodes { id } } }',
    "blank search": '{ users(search: "") { followFrom } }',
    "ordered": "{ users(orderBy: [{ field: STATUS }]) { followFrom statusCounts { count } } }",
}
NOT_SELECTED = {
    "skipped": "query ($yes: Boolean! = true) { users { totalCount followFrom @skip(if: $yes) } }",
    "not included": "{ users { totalCount ... @include(if: false) { followFrom } } }",
    "skipped fragment": "{ users { totalCount ...F @skip(if: true) } } "
    "fragment F on UserConnection { followFrom }",
    "both": "{ users { totalCount followFrom @include(if: true) @skip(if: true) } }",
    "not named": "{ users { nodes { id } totalCount } }",
}


@pytest.mark.parametrize("name", [*SELECTED, *NOT_SELECTED])
async def test_watermark_is_read_only_if_follow_from_is_selected(
    directory: DirectoryClient, name: str
) -> None:
    query = (SELECTED | NOT_SELECTED)[name]
    end = encode_anchor(await directory.feed.end())
    with statements(directory.database) as ran:
        found = await directory.ask(ADMIN, query)
    assert (end in found.values()) == (name in SELECTED)
    assert bool(of_feed(ran)) == (name in SELECTED)
    await assert_same(case(directory, ADMIN, Operation(query)))


async def test_pages_of_one_operation_share_the_watermark(directory: DirectoryClient) -> None:
    query = "{ " + " ".join(f"u{n}: users {{ followFrom }}" for n in range(5)) + " }"
    await directory.feed.end()
    with statements(directory.database) as ran:
        found = await directory.ask_all(ADMIN, query)
    assert len({page["followFrom"] for page in found.values()}) == 1
    assert len(ran) == 1


async def test_invalid_arguments_read_no_watermark(directory: DirectoryClient) -> None:
    await directory.feed.end()
    for arguments in ("first: 101", 'after: "x"', "first: 1, last: 1"):
        with statements(directory.database) as ran:
            answer = await directory.send(ADMIN, f"{{ users({arguments}) {{ followFrom }} }}")
        assert answer["data"] == {"users": None}
        assert ran == []


async def test_payload_reads_follow_from_after_its_write(directory: DirectoryClient) -> None:
    query = """mutation { createUser(input: { username: "eve", email: "eve@example.com" }) {
      query { users(first: 1) { followFrom nodes { username } } } } }"""
    page = (await directory.ask(ADMIN, query))["query"]["users"]
    assert page["nodes"] == [{"username": "eve"}]
    assert id_at(page["followFrom"]) == FIRST + 1


async def test_events_have_the_status_before_and_after(client: Client) -> None:
    user = await client.create("mia")
    await client.create("eve", isActive=False)
    await client.mutate("updateUser", user["id"], displayName="Mia")
    for verb in ("deactivateUser", "reactivateUser", "deleteUser", "restoreUser", "deleteUser"):
        await client.mutate(verb, user["id"])
    await client.mutate("deleteUser", user["id"], eraseAfter="2999-01-01T00:00:00Z")
    erase = """mutation ($id: ID!) { eraseUser(input: {
      id: $id, confirmUsername: "mia", reason: "As asked." }) { errors { code } } }"""
    assert await client.ask(erase, id=user["id"]) == {"errors": []}
    found = await client.ask("{ userEvents { nodes { type statusBefore statusAfter } } }")
    assert [tuple(node.values()) for node in found["nodes"]] == [
        ("CREATED", None, "ACTIVE"),
        ("CREATED", None, "DEACTIVATED"),
        ("UPDATED", None, None),
        ("DEACTIVATED", "ACTIVE", "DEACTIVATED"),
        ("REACTIVATED", "DEACTIVATED", "ACTIVE"),
        ("DELETED", "ACTIVE", "DELETED"),
        ("RESTORED", "DELETED", "DEACTIVATED"),
        ("DELETED", "DEACTIVATED", "DELETED"),
        ("UPDATED", None, None),
        ("ERASED", None, None),
    ]


async def test_edge_of_an_event_is_that_of_the_default_list(client: Client) -> None:
    for name in ("mia", "ada"):
        await client.create(name)
    both = """{ users { edges { cursor node { id username version } } }
      userEvents { nodes { userEdge { cursor node { id username version } } } } }"""
    found = await client.ask(both)
    edges = [node["userEdge"] for node in found["userEvents"]["nodes"]]
    assert edges[::-1] == found["users"]["edges"]
    page = "query ($after: String) { users(after: $after) { nodes { username } } }"
    assert await client.ask(page, after=edges[1]["cursor"]) == {"nodes": [{"username": "mia"}]}


async def test_edge_of_an_event_shows_an_erased_user_as_erased(client: Client) -> None:
    user = await client.create("leaver", displayName="Lea Leaver")
    await client.mutate("deleteUser", user["id"])
    erase = """mutation ($id: ID!) { eraseUser(input: {
      id: $id, confirmUsername: "leaver", reason: "As asked." }) { errors { code } } }"""
    assert await client.ask(erase, id=user["id"]) == {"errors": []}
    query = "{ userEvents { nodes { userEdge { node { username displayName status } } } } }"
    nodes = (await client.ask(query))["nodes"]
    assert len(nodes) == 3
    for node in nodes:
        shown = node["userEdge"]["node"]
        assert (shown["displayName"], shown["status"]) == (None, "DELETED")
        assert "leaver" not in shown["username"]


async def test_edge_of_an_event_is_null_like_the_user_if_hidden(
    directory: DirectoryClient,
) -> None:
    # The history of oneself, with events of oneself only.
    query = """{ viewer { history { nodes { user { id } userEdge { node { id } } statusAfter }
      } } }"""
    found = await directory.ask(linked(1, Scope.HISTORY), query)
    assert found["history"]["nodes"] == [
        {"user": {"id": id_of(1)}, "userEdge": {"node": {"id": id_of(1)}}, "statusAfter": "ACTIVE"}
    ]
    event_id = (await directory.ask(ADMIN, "{ userEvents { nodes { id } } }"))["nodes"][0]["id"]
    node = "query ($id: ID!) { node(id: $id) { ...on UserEvent { userEdge { cursor } } } }"
    for caller in (linked(2, Scope.HISTORY), service(Scope.HISTORY), service()):
        answer = await directory.send(caller, node, id=event_id)
        assert answer["data"] == {"node": None}


async def test_events_and_edges_of_a_batch_take_one_lookup(directory: DirectoryClient) -> None:
    query = "{ userEvents { nodes { user { id email } userEdge { cursor node { version } } } } }"
    await directory.feed.end()
    with statements(directory.database) as ran:
        found = await directory.ask(ADMIN, query)
    assert len(found["nodes"]) == FIRST
    assert len([statement for statement in ran if " users" in statement]) == 1
    await assert_same(case(directory, ADMIN, Operation(query)))


async def test_replay_looks_up_the_users_of_many_events_together(
    directory: DirectoryClient,
) -> None:
    for number in range(60):
        await write(directory.database, creation(f"user{number}"))
    start = await cursor_at(directory.database, FIRST)
    with statements(directory.database) as ran:
        found = await followed(directory, start, 60)
    assert [each["user"]["username"] for each in found] == [f"user{n}" for n in range(60)]
    assert len([statement for statement in ran if " users" in statement]) == 2
