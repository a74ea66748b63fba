"""What the feed sends about erased users, and about users that changed later."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from db.engine import Database
from db.models import UserEvent
from graph.streaming.streams import ResultStreams
from tests.conftest import opened
from tests.support.callers import DirectoryClient, directory_client, id_of, service
from tests.support.feed import Writer, creation, overlapping, wait_until, write
from users.commands import Erase, Transition, Update
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE

ADMIN = service(*EVERY_SCOPE)
OTHER = replace(ADMIN, actor=replace(ADMIN.actor, id="another"))
WHOLE = """subscription ($after: String) { userEvents(after: $after) {
  cursor type reason changes { before after } user { username email displayName } } }"""
SHORT = "subscription ($after: String) { userEvents(after: $after) { cursor changes { after } } }"
CURSORS = "{ userEvents(first: 100) { nodes { cursor } } }"
PERSONAL = ("mia", "Mia Meier", "left us")


def disclosed(text: str) -> list[str]:
    return [value for value in PERSONAL if re.search(rf"\b{value}\b", text)]


async def received(
    directory: DirectoryClient, query: str, count: int, **variables: Any
) -> list[str]:
    """Follows the feed like a client and returns at least `count` results."""
    texts: list[str] = []
    caller = variables.pop("caller", ADMIN)
    batches = directory.follow(caller, query, **variables)
    async with asyncio.timeout(60), aclosing(batches):
        async for results in batches:
            texts += [text.decode() for text in results.texts]
            if len(texts) >= count:
                return texts
    return texts


async def name_and_delete(database: Database) -> None:
    await write(database, Update(user_id=1, fields={"display_name": "Mia Meier"}))
    await write(database, Transition(action=UserAction.DELETE, user_id=1, reason="left us"))


async def erase(database: Database) -> None:
    await write(database, Erase(user_id=1, confirm_username=None, reason="asked"))


@asynccontextmanager
async def follower(directory: DirectoryClient, query: str) -> AsyncIterator[list[str]]:
    """Follows the feed from its first event, in the background."""
    texts: list[str] = []

    async def follow() -> None:
        cursors = (await directory.ask(ADMIN, CURSORS))["nodes"]
        after = cursors[0]["cursor"]
        async with aclosing(directory.follow(ADMIN, query, after=after)) as batches:
            async for results in batches:
                texts.extend(text.decode() for text in results.texts)

    task = asyncio.create_task(follow())
    try:
        yield texts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def deaf(directory: DirectoryClient) -> AsyncIterator[DirectoryClient]:
    """The same directory in a process that gets no events of others."""
    async with directory_client(directory.database, poll=3600.0) as client:
        yield client


@pytest.mark.parametrize(("query", "caller"), [(WHOLE, ADMIN), (SHORT, ADMIN), (WHOLE, OTHER)])
async def test_replay_omits_values_that_another_process_erased(
    deaf: DirectoryClient, query: str, caller: Any, database_url: str
) -> None:
    first = (await deaf.ask(ADMIN, CURSORS))["nodes"][0]["cursor"]
    async with follower(deaf, WHOLE) as live:
        await name_and_delete(deaf.database)
        deaf.feed.wake()
        await wait_until(lambda: len(live) == 5)
        assert disclosed("".join(live[3:])) == list(PERSONAL)
        async with opened(database_url) as other:
            await erase(other)
        replayed = await received(deaf, query, 6, after=first, caller=caller)
        assert len(replayed) == 6
        assert disclosed("".join(replayed)) == []


async def test_replay_contains_the_current_state_of_users(directory: DirectoryClient) -> None:
    first = (await directory.ask(ADMIN, CURSORS))["nodes"][0]["cursor"]
    async with follower(directory, WHOLE) as live:
        await write(directory.database, Update(user_id=2, fields={"display_name": "Before"}))
        directory.feed.wake()
        await wait_until(lambda: len(live) == 4)
        await write(directory.database, Update(user_id=2, fields={"display_name": "After"}))
        directory.feed.wake()
        await wait_until(lambda: len(live) == 5)
        replayed = await received(directory, WHOLE, 5, after=first)
        users = [json.loads(text)["data"]["userEvents"]["user"] for text in replayed]
        assert [user["displayName"] for user in (users[0], users[3], users[4])] == ["After"] * 3


async def test_batch_in_progress_during_an_erasure_is_read_again(
    directory: DirectoryClient,
) -> None:
    each_by_itself = ResultStreams(batch_bytes=1)
    directory = DirectoryClient(directory.database, directory.feed, each_by_itself)
    first = (await directory.ask(ADMIN, CURSORS))["nodes"][0]["cursor"]
    await name_and_delete(directory.database)
    texts: list[str] = []
    async with aclosing(directory.follow(ADMIN, WHOLE, after=first)) as batches:
        async for results in batches:
            texts += [text.decode() for text in results.texts]
            if len(texts) == 1:
                await erase(directory.database)
                await directory.feed.poll()  # as after a wake-up
            if len(texts) == 6:
                break
    events = [json.loads(text)["data"]["userEvents"] for text in texts]
    assert len({found["cursor"] for found in events}) == 6
    assert [found["type"] for found in events] == [
        "CREATED",
        "CREATED",
        "DELETED",
        "UPDATED",
        "DELETED",
        "ERASED",
    ]
    assert disclosed("".join(texts)) == []


HISTORY = "query ($id: ID!) { user(id: $id) { history { nodes { id cursor versionAfter } } } }"
NODE = "query ($id: ID!) { node(id: $id) { id } }"


@overlapping
async def test_no_cursor_is_issued_above_an_open_transaction(database_url: str) -> None:
    async with opened(database_url) as database, directory_client(database) as directory:
        await write(database, creation("mia"))
        held = Writer(database, "held")
        await held.begin(2)
        await write(database, Update(user_id=1, fields={"display_name": "Mia Meier"}))

        listed = (await directory.ask(ADMIN, HISTORY, id=id_of(1)))["history"]["nodes"]
        assert [found["versionAfter"] for found in listed] == [1]
        document = await directory.ask(
            ADMIN, "query ($id: ID!) { personalData(userId: $id) }", id=id_of(1)
        )
        assert [found["versionAfter"] for found in document["history"]] == [1, 2]
        assert document["history"][0]["cursor"] == listed[0]["cursor"]
        assert document["history"][1]["cursor"] is None
        renamed = document["history"][1]["id"]
        assert await directory.ask(ADMIN, NODE, id=renamed) is None

        await held.end(commit=True)
        replayed = await received(directory, SHORT, 3, after=listed[0]["cursor"])
        assert len(replayed) == 3  # both of the transaction, and the renaming
        assert await directory.ask(ADMIN, NODE, id=renamed) == {"id": renamed}
        again = (await directory.ask(ADMIN, HISTORY, id=id_of(1)))["history"]["nodes"]
        assert [found["versionAfter"] for found in again] == [1, 2]


@overlapping
async def test_following_from_a_history_cursor_delivers_every_later_event(
    database_url: str,
) -> None:
    """The histories are read while bulk writes overlap."""
    async with (
        opened(database_url, pool_size=20) as database,
        directory_client(database) as directory,
        opened(database_url) as reading,
    ):
        await write(database, creation("mia"))
        cursors: list[tuple[str, int]] = []
        for n in range(12):
            held = Writer(database, f"held{n}")
            await held.begin(3)
            await write(database, Update(user_id=1, fields={"display_name": f"Mia {n}"}))
            last = (await directory.ask(ADMIN, HISTORY, id=id_of(1)))["history"]["nodes"][-1]
            cursors.append((last["cursor"], last["versionAfter"]))
            await held.end(commit=n % 3 != 0)
        async with reading.session() as session:
            columns = (UserEvent.id, UserEvent.user_id, UserEvent.version_after)
            rows = await session.execute(select(*columns).order_by(UserEvent.id))
            expected = [(row.id, row.user_id, row.version_after) for row in rows]
        for cursor, version in cursors:
            [position] = [i for i, user_id, v in expected if (user_id, v) == (1, version)]
            after = [i for i, _, _ in expected if i > position]
            assert len(await received(directory, SHORT, len(after), after=cursor)) == len(after)
