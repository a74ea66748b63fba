"""Subscribers who ask the same, as groups: a ledger of what was committed against what came."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from graphql import ExecutionResult

from db.models import UserEventType
from graph.api import subscriptions
from graph.api.context import Context
from graph.execution.executor import OperationExecutor
from graph.execution.operation import Operation
from graph.protocol.errors import RequestError
from graph.protocol.request import Request
from graph.streaming.chunks import ResultBatch
from tests.support.callers import Asking, id_of, linked, service
from tests.support.client import Client
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import committed, creation, eventually, write
from tests.support.schema import SCHEMA
from users.commands import Update
from users.policy import EVERY_SCOPE, Caller

FEED = """subscription ($after: String, $filter: UserEventFilter) {
  userEvents(after: $after, filter: $filter) { cursor } }"""
ADMIN = service(*EVERY_SCOPE)
ME, ADA, GONE = 1, 2, 3
FIRST = 4  # events that the directory has: three are created, one deleted


class Subscriber:
    """Keeps what comes, from a group and by themselves, and takes it for as long as told."""

    def __init__(self, directory: Asking, caller: Caller, **context: Any) -> None:
        self.ids: list[int] = []
        self.alone: list[int] = []  # those of them that no group has written
        self.refused: list[str] = []  # with which codes it ended
        self.takes = asyncio.Event()
        self.takes.set()
        self._directory = directory
        self._context = Context(
            directory.database.session(), directory.feed, caller, "test", **context
        )
        self._came = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()
        self.task: asyncio.Task[None]

    def begin(self, **variables: Any) -> "Subscriber":
        self.task = asyncio.create_task(self._run(variables))
        return self

    async def _run(self, variables: dict[str, Any]) -> None:
        operation = await SCHEMA.prepare(Request(FEED, variables), self._context)
        try:
            async with aclosing(self._directory.live.results(operation, self._write)) as coming:
                async for results in coming:
                    await self.takes.wait()
                    self.alone += self._keep(results)
        except RequestError as refused:
            self.refused = [error["extensions"]["code"] for error in refused.errors]

    def _write(self, results: ResultBatch) -> bool:
        if not self.takes.is_set():
            return False
        self._keep(results)
        return True

    def _keep(self, results: ResultBatch) -> list[int]:
        found = [orjson.loads(text)["data"]["userEvents"]["cursor"] for text in results.texts]
        ids = [id_at(text) for text in found]
        self.ids += ids
        telling = asyncio.create_task(self._tell())
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        return ids

    async def _tell(self) -> None:
        async with self._came:
            self._came.notify_all()

    async def until(self, last: int) -> list[int]:
        async with asyncio.timeout(60), self._came:
            await self._came.wait_for(lambda: last in self.ids)
        return self.ids

    async def stop(self) -> list[int]:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        return self.ids


def groups(directory: Asking) -> list[Any]:
    return list(directory.live._groups._groups.values())  # noqa: SLF001 - nobody else tells


async def grouped(directory: Asking, *members: int) -> None:
    """Wait until there are groups of so many members, in the order in which they began."""

    def are_there() -> bool:
        return [len(group.members) for group in groups(directory)] == list(members)

    await eventually(are_there)


async def place(directory: Asking, id_: int) -> dict[str, str]:
    return {"after": await cursor_at(directory.database, id_)}


async def happen(directory: Asking, name: str) -> int:
    """Create a user, and give the id of the event."""
    await write(directory.database, creation(name))
    directory.feed.wake()
    return (await committed(directory.database))[-1]


@asynccontextmanager
async def subscribed(*subscribers: Subscriber) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for subscriber in subscribers:
            await subscriber.stop()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[asyncio.Event, asyncio.Event]]:
    """Hold up executions: what is set when there is one, and what lets it go on."""
    execute = OperationExecutor.execute

    def hold() -> tuple[asyncio.Event, asyncio.Event]:
        reached, released = asyncio.Event(), asyncio.Event()

        async def slowly(
            self: OperationExecutor, operation: Operation, root: object = None
        ) -> ExecutionResult:
            reached.set()
            await released.wait()
            return await execute(self, operation, root)

        monkeypatch.setattr(OperationExecutor, "execute", slowly)
        return reached, released

    return hold


async def test_many_are_one_group_and_each_event_is_executed_once(
    directory: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[object] = []
    execute = OperationExecutor.execute

    async def noted(
        self: OperationExecutor, operation: Operation, root: object = None
    ) -> ExecutionResult:
        executed.append(root)
        return await execute(self, operation, root)

    monkeypatch.setattr(OperationExecutor, "execute", noted)
    crowd = [Subscriber(directory, ADMIN).begin() for _ in range(100)]
    async with subscribed(*crowd):
        await grouped(directory, 100)
        assert len(groups(directory)) == 1
        expected = [await happen(directory, f"user{n}") for n in range(5)]
        for one in crowd:
            assert await one.until(expected[-1]) == expected
            assert one.alone == []
        assert len(executed) == 5
    assert groups(directory) == []  # which holds nothing of those who are gone


async def test_who_comes_while_a_batch_is_on_its_way(directory: Asking, held: Any) -> None:
    early = Subscriber(directory, ADMIN).begin()
    async with subscribed(early):
        await grouped(directory, 1)
        reached, released = held()
        first = await happen(directory, "first")
        await reached.wait()
        late = Subscriber(directory, ADMIN).begin()
        again = Subscriber(directory, ADMIN).begin(**await place(directory, first - 1))
        async with subscribed(late, again):
            await grouped(directory, 2)
            second = await happen(directory, "second")
            released.set()
            assert await early.until(second) == [first, second]
            assert await late.until(second) == [second]  # the first was there already
            assert await again.until(second) == [first, second]
            third = await happen(directory, "third")
            assert await early.until(third) == [first, second, third]
            assert await late.until(third) == [second, third]
            assert late.alone == early.alone == []


async def test_who_leaves_while_a_batch_is_on_its_way(directory: Asking, held: Any) -> None:
    crowd = [Subscriber(directory, ADMIN).begin() for _ in range(3)]
    async with subscribed(*crowd):
        await grouped(directory, 3)
        reached, released = held()
        first = await happen(directory, "first")
        await reached.wait()
        gone = crowd.pop(0)
        assert await gone.stop() == []
        released.set()
        for one in crowd:
            assert await one.until(first) == [first]
        assert gone.ids == []
        assert [len(group.members) for group in groups(directory)] == [2]


async def test_the_last_who_leaves_takes_the_group_along(directory: Asking, held: Any) -> None:
    gone = Subscriber(directory, ADMIN).begin()
    await grouped(directory, 1)
    reached, released = held()
    first = await happen(directory, "first")
    await reached.wait()
    await gone.stop()
    assert groups(directory) == []
    another = Subscriber(directory, ADMIN).begin(**await place(directory, first - 1))
    released.set()
    async with subscribed(another):
        await grouped(directory, 1)
        second = await happen(directory, "second")
        assert await another.until(second) == [first, second]
        assert gone.ids == []


async def test_who_is_slow_keeps_nobody_waiting_and_misses_nothing(directory: Asking) -> None:
    slow, quick = [Subscriber(directory, ADMIN).begin() for _ in range(2)]
    async with subscribed(slow, quick):
        await grouped(directory, 2)
        slow.takes.clear()
        some = [await happen(directory, f"user{n}") for n in range(5)]
        assert await quick.until(some[-1]) == some
        assert slow.ids == []
        await grouped(directory, 1)  # the other is alone in it
        slow.takes.set()
        assert await slow.until(some[-1]) == some == slow.alone
        await grouped(directory, 2)
        more = [await happen(directory, f"more{n}") for n in range(3)]
        for one in (slow, quick):
            assert await one.until(more[-1]) == some + more
        assert slow.alone == some  # and is back with the others
        assert quick.alone == []


async def test_a_token_that_is_let_in_no_more_ends_its_own_subscribers(directory: Asking) -> None:
    good = {"a": True, "b": True}
    asked: list[str] = []

    def checked(token: str) -> dict[str, Any]:
        async def still() -> bool:
            asked.append(token)
            return good[token]

        return {"token": token, "still": still}

    crowd = [Subscriber(directory, ADMIN, **checked(token)).begin() for token in "abab"]
    async with subscribed(*crowd):
        await grouped(directory, 4)
        first = await happen(directory, "first")
        for one in crowd:
            assert await one.until(first) == [first]
        good["b"] = False
        asked.clear()
        second = await happen(directory, "second")
        for one in (crowd[0], crowd[2]):
            assert await one.until(second) == [first, second]
        for one in (crowd[1], crowd[3]):
            await one.task
            assert (one.ids, one.refused) == ([first], ["UNAUTHENTICATED"])
        assert sorted(set(asked)) == ["a", "b"]  # at each delivery
        assert [len(group.members) for group in groups(directory)] == [2]


async def test_a_token_s_end_is_one_subscriber_s(
    directory: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    callers = [ADMIN, replace(ADMIN, expires_at=soon)]
    crowd = [Subscriber(directory, caller).begin() for caller in callers]
    async with subscribed(*crowd):
        await grouped(directory, 2)
        monkeypatch.setattr(subscriptions, "now", lambda: soon)
        first = await happen(directory, "first")
        assert await crowd[0].until(first) == [first]
        await crowd[1].task
        assert (crowd[1].ids, crowd[1].refused) == ([], ["UNAUTHENTICATED"])


async def test_a_user_who_is_switched_off_is_told_nothing_of_it(
    directory: Asking, client: Client
) -> None:
    others = Subscriber(directory, ADMIN).begin()
    await grouped(directory, 1)
    mine = [Subscriber(directory, linked(ME, *EVERY_SCOPE)).begin() for _ in range(2)]
    async with subscribed(*mine, others):
        await grouped(directory, 1, 2)
        await client.do("deactivateUser", id_of(ME))
        directory.feed.wake()
        for one in mine:
            await one.task
            assert (one.ids, one.refused) == ([], ["UNAUTHENTICATED"])
        assert await others.until(FIRST + 1) == [FIRST + 1]
        assert others.refused == []


async def test_who_asks_for_something_else_is_another_group(directory: Asking) -> None:
    ada = {"filter": {"userId": [id_of(ADA)]}}
    asked: list[dict[str, Any]] = [{}, ada, CREATED]
    crowd = []
    for number, some in enumerate(asked, 1):
        crowd += [Subscriber(directory, ADMIN).begin(**some) for _ in range(2)]
        await grouped(directory, *[2] * number)
    async with subscribed(*crowd):
        for n in range(3):
            await happen(directory, f"user{n}")
            named = Update(user_id=ADA, fields={"display_name": f"Ada {n}"})
            await write(directory.database, named)
            directory.feed.wake()
        whole = (await committed(directory.database))[FIRST:]
        expected = [whole, whole[1::2], whole[::2]]
        for one, ids in zip(crowd, [ids for ids in expected for _ in range(2)], strict=True):
            assert await one.until(ids[-1]) == ids
            assert one.alone == []


async def test_the_cursor_of_an_erased_user_leads_into_the_group(
    directory: Asking, client: Client
) -> None:
    erase = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
    given = {"id": id_of(GONE), "confirmUsername": "gone", "reason": "asked"}
    assert await client.ask(erase, input=given) == {"errors": []}
    gone = await place(directory, GONE)
    crowd = [Subscriber(directory, ADMIN).begin(**gone) for _ in range(2)]
    async with subscribed(*crowd):
        await grouped(directory, 2)
        last = await happen(directory, "last")
        for one in crowd:
            assert await one.until(last) == list(range(GONE + 1, last + 1))
            assert one.alone == list(range(GONE + 1, last))


async def test_a_group_that_stumbles_leaves_its_members_to_themselves(
    directory: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = [Subscriber(directory, ADMIN).begin() for _ in range(3)]
    async with subscribed(*crowd):
        await grouped(directory, 3)
        [group] = groups(directory)

        async def fail(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(group, "_make", fail)
        first = await happen(directory, "first")
        for one in crowd:
            assert await one.until(first) == [first] == one.alone
        await grouped(directory, 3)
        assert groups(directory) != [group]
        second = await happen(directory, "second")
        for one in crowd:
            assert await one.until(second) == [first, second]
            assert one.alone == [first]


async def test_a_group_that_has_ended_takes_no_subscriber(directory: Asking) -> None:
    """Its members leave it one after another, and a new subscriber can come in between."""
    last = Subscriber(directory, ADMIN).begin()
    await grouped(directory, 1)
    known = directory.live._groups._groups  # noqa: SLF001 - it is put back to where it was
    [(asked, ended)] = known.items()
    await last.stop()
    await asyncio.gather(ended.task, return_exceptions=True)
    known[asked] = ended
    one = Subscriber(directory, ADMIN).begin()
    async with subscribed(one):
        await eventually(lambda: groups(directory) not in ([], [ended]))
        first = await happen(directory, "first")
        assert await one.until(first) == [first]


CREATED = {"filter": {"type": ["CREATED"]}}


class Ledger:
    """Subscribers who come, go and stand still at random, and what each of them is to have."""

    def __init__(self, directory: Asking, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same order on every run
        self.following: list[tuple[Subscriber, int, dict[str, Any]]] = []
        self._directory = directory

    async def come(self, after: int, wanted: dict[str, Any]) -> None:
        begin = await place(self._directory, after)
        one = Subscriber(self._directory, ADMIN).begin(**begin, **wanted)
        self.following.append((one, after, wanted))

    async def move(self) -> None:
        one, after, wanted = self.chance.choice(self.following)
        match self.chance.randrange(4):
            case 0:
                one.takes.clear()
            case 1:
                one.takes.set()
            case 2:  # leaves, and comes back with the last they have had
                self.following.remove((one, after, wanted))
                had = await one.stop()
                await self.come(had[-1] if had else after, wanted)

    async def settle(self, last: int) -> None:
        events = (await self._directory.everything())[1]
        for one, after, wanted in self.following:
            one.takes.set()
            kinds = {UserEventType.CREATED} if wanted else set(UserEventType)
            expected = [e.id for e in events if e.id > after and e.type in kinds]
            assert await one.until(last) == expected
            await one.stop()


@pytest.mark.parametrize("seed", range(3))
async def test_who_comes_goes_and_stands_still_at_random(directory: Asking, seed: int) -> None:
    ledger = Ledger(directory, seed)
    for n in range(12):
        await ledger.come(FIRST, CREATED if n % 3 == 0 else {})
    for n in range(40):
        await happen(directory, f"user{n}")
        if ledger.chance.random() < 0.5:
            named = Update(user_id=ADA, fields={"display_name": f"Ada {n}"})
            await write(directory.database, named)
            directory.feed.wake()
        for _ in range(ledger.chance.randrange(4)):  # in which whoever can goes on a little
            await asyncio.sleep(0)
        await ledger.move()
    await ledger.settle(await happen(directory, "last"))
