"""Fan-out: equal subscriptions share a topic, and each receives every committed event."""

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
from tests.support.callers import DirectoryClient, id_of, linked, service
from tests.support.client import Client
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import committed_ids, creation, wait_until, write
from tests.support.schema import SCHEMA
from users.commands import Update
from users.policy import EVERY_SCOPE, Caller

FEED = """subscription ($after: String, $filter: UserEventFilter) {
  userEvents(after: $after, filter: $filter) { cursor } }"""
ADMIN = service(*EVERY_SCOPE)
ME, ADA, GONE = 1, 2, 3
FIRST = 4  # existing events: three users created, one deleted


class Subscriber:
    """Records the results of a topic or of its own subscription; `accepting` pauses it."""

    def __init__(self, directory: DirectoryClient, caller: Caller, **context: Any) -> None:
        self.ids: list[int] = []
        self.separate_ids: list[int] = []  # ids that were not written by a topic
        self.error_codes: list[str] = []  # the codes of the errors that ended it
        self.accepting = asyncio.Event()
        self.accepting.set()
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
                    await self.accepting.wait()
                    self.separate_ids += self._keep(results)
        except RequestError as rejection:
            self.error_codes = [error["extensions"]["code"] for error in rejection.errors]

    def _write(self, results: ResultBatch) -> bool:
        if not self.accepting.is_set():
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


def topics(directory: DirectoryClient) -> list[Any]:
    return list(directory.live._groups._groups.values())  # noqa: SLF001 - there is no public access


async def wait_for_topics(directory: DirectoryClient, *members: int) -> None:
    """Waits until the topics have these numbers of members, in order of creation."""

    def are_there() -> bool:
        return [len(topic.members) for topic in topics(directory)] == list(members)

    await wait_until(are_there)


async def after_event(directory: DirectoryClient, id_: int) -> dict[str, str]:
    return {"after": await cursor_at(directory.database, id_)}


async def create_event(directory: DirectoryClient, name: str) -> int:
    """Creates a user and returns the id of the event."""
    await write(directory.database, creation(name))
    directory.feed.wake()
    return (await committed_ids(directory.database))[-1]


@asynccontextmanager
async def subscribed(*subscribers: Subscriber) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for subscriber in subscribers:
            await subscriber.stop()


@pytest.fixture
def block_executions(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], tuple[asyncio.Event, asyncio.Event]]:
    """Blocks executions. Returns an event that is set on arrival, and one that resumes them."""
    execute = OperationExecutor.execute

    def block() -> tuple[asyncio.Event, asyncio.Event]:
        reached, released = asyncio.Event(), asyncio.Event()

        async def execute_when_released(
            self: OperationExecutor, operation: Operation, root: object = None
        ) -> ExecutionResult:
            reached.set()
            await released.wait()
            return await execute(self, operation, root)

        monkeypatch.setattr(OperationExecutor, "execute", execute_when_released)
        return reached, released

    return block


async def test_equal_subscriptions_share_a_topic_and_execute_each_event_once(
    directory: DirectoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[object] = []
    execute = OperationExecutor.execute

    async def record(
        self: OperationExecutor, operation: Operation, root: object = None
    ) -> ExecutionResult:
        executed.append(root)
        return await execute(self, operation, root)

    monkeypatch.setattr(OperationExecutor, "execute", record)
    subscribers = [Subscriber(directory, ADMIN).begin() for _ in range(100)]
    async with subscribed(*subscribers):
        await wait_for_topics(directory, 100)
        assert len(topics(directory)) == 1
        expected = [await create_event(directory, f"user{n}") for n in range(5)]
        for subscriber in subscribers:
            assert await subscriber.until(expected[-1]) == expected
            assert subscriber.separate_ids == []
        assert len(executed) == 5
    assert topics(directory) == []  # topics without members are removed


async def test_subscriber_that_joins_during_a_batch_receives_the_right_events(
    directory: DirectoryClient, block_executions: Any
) -> None:
    early = Subscriber(directory, ADMIN).begin()
    async with subscribed(early):
        await wait_for_topics(directory, 1)
        reached, released = block_executions()
        first = await create_event(directory, "first")
        await reached.wait()
        late = Subscriber(directory, ADMIN).begin()
        again = Subscriber(directory, ADMIN).begin(**await after_event(directory, first - 1))
        async with subscribed(late, again):
            await wait_for_topics(directory, 2)
            second = await create_event(directory, "second")
            released.set()
            assert await early.until(second) == [first, second]
            assert await late.until(second) == [second]  # the first event preceded the subscription
            assert await again.until(second) == [first, second]
            third = await create_event(directory, "third")
            assert await early.until(third) == [first, second, third]
            assert await late.until(third) == [second, third]
            assert late.separate_ids == early.separate_ids == []


async def test_subscriber_that_leaves_during_a_batch_receives_nothing_more(
    directory: DirectoryClient, block_executions: Any
) -> None:
    subscribers = [Subscriber(directory, ADMIN).begin() for _ in range(3)]
    async with subscribed(*subscribers):
        await wait_for_topics(directory, 3)
        reached, released = block_executions()
        first = await create_event(directory, "first")
        await reached.wait()
        gone = subscribers.pop(0)
        assert await gone.stop() == []
        released.set()
        for subscriber in subscribers:
            assert await subscriber.until(first) == [first]
        assert gone.ids == []
        assert [len(topic.members) for topic in topics(directory)] == [2]


async def test_topic_is_removed_with_its_last_member(
    directory: DirectoryClient, block_executions: Any
) -> None:
    gone = Subscriber(directory, ADMIN).begin()
    await wait_for_topics(directory, 1)
    reached, released = block_executions()
    first = await create_event(directory, "first")
    await reached.wait()
    await gone.stop()
    assert topics(directory) == []
    another = Subscriber(directory, ADMIN).begin(**await after_event(directory, first - 1))
    released.set()
    async with subscribed(another):
        await wait_for_topics(directory, 1)
        second = await create_event(directory, "second")
        assert await another.until(second) == [first, second]
        assert gone.ids == []


async def test_slow_subscriber_delays_no_other_and_misses_no_event(
    directory: DirectoryClient,
) -> None:
    slow, quick = [Subscriber(directory, ADMIN).begin() for _ in range(2)]
    async with subscribed(slow, quick):
        await wait_for_topics(directory, 2)
        slow.accepting.clear()
        some = [await create_event(directory, f"user{n}") for n in range(5)]
        assert await quick.until(some[-1]) == some
        assert slow.ids == []
        await wait_for_topics(directory, 1)  # the slow one has left the topic
        slow.accepting.set()
        assert await slow.until(some[-1]) == some == slow.separate_ids
        await wait_for_topics(directory, 2)
        more = [await create_event(directory, f"more{n}") for n in range(3)]
        for subscriber in (slow, quick):
            assert await subscriber.until(more[-1]) == some + more
        assert slow.separate_ids == some  # it has joined the topic again
        assert quick.separate_ids == []


async def test_rejected_token_ends_only_its_own_subscribers(directory: DirectoryClient) -> None:
    good = {"a": True, "b": True}
    checked_tokens: list[str] = []

    def checked(token: str) -> dict[str, Any]:
        async def still() -> bool:
            checked_tokens.append(token)
            return good[token]

        return {"token": token, "still": still}

    subscribers = [Subscriber(directory, ADMIN, **checked(token)).begin() for token in "abab"]
    async with subscribed(*subscribers):
        await wait_for_topics(directory, 4)
        first = await create_event(directory, "first")
        for subscriber in subscribers:
            assert await subscriber.until(first) == [first]
        good["b"] = False
        checked_tokens.clear()
        second = await create_event(directory, "second")
        for subscriber in (subscribers[0], subscribers[2]):
            assert await subscriber.until(second) == [first, second]
        for subscriber in (subscribers[1], subscribers[3]):
            await subscriber.task
            assert (subscriber.ids, subscriber.error_codes) == ([first], ["UNAUTHENTICATED"])
        assert sorted(set(checked_tokens)) == ["a", "b"]  # checked at each delivery
        assert [len(topic.members) for topic in topics(directory)] == [2]


async def test_expired_token_ends_only_its_own_subscriber(
    directory: DirectoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    callers = [ADMIN, replace(ADMIN, expires_at=soon)]
    subscribers = [Subscriber(directory, caller).begin() for caller in callers]
    async with subscribed(*subscribers):
        await wait_for_topics(directory, 2)
        monkeypatch.setattr(subscriptions, "now", lambda: soon)
        first = await create_event(directory, "first")
        assert await subscribers[0].until(first) == [first]
        await subscribers[1].task
        assert (subscribers[1].ids, subscribers[1].error_codes) == ([], ["UNAUTHENTICATED"])


async def test_deactivated_user_receives_no_further_events(
    directory: DirectoryClient, client: Client
) -> None:
    others = Subscriber(directory, ADMIN).begin()
    await wait_for_topics(directory, 1)
    mine = [Subscriber(directory, linked(ME, *EVERY_SCOPE)).begin() for _ in range(2)]
    async with subscribed(*mine, others):
        await wait_for_topics(directory, 1, 2)
        await client.mutate("deactivateUser", id_of(ME))
        directory.feed.wake()
        for subscriber in mine:
            await subscriber.task
            assert (subscriber.ids, subscriber.error_codes) == ([], ["UNAUTHENTICATED"])
        assert await others.until(FIRST + 1) == [FIRST + 1]
        assert others.error_codes == []


async def test_different_subscriptions_have_separate_topics(directory: DirectoryClient) -> None:
    ada = {"filter": {"userId": [id_of(ADA)]}}
    variables: list[dict[str, Any]] = [{}, ada, CREATED]
    subscribers = []
    for number, some in enumerate(variables, 1):
        subscribers += [Subscriber(directory, ADMIN).begin(**some) for _ in range(2)]
        await wait_for_topics(directory, *[2] * number)
    async with subscribed(*subscribers):
        for n in range(3):
            await create_event(directory, f"user{n}")
            named = Update(user_id=ADA, fields={"display_name": f"Ada {n}"})
            await write(directory.database, named)
            directory.feed.wake()
        whole = (await committed_ids(directory.database))[FIRST:]
        expected = [whole, whole[1::2], whole[::2]]
        for subscriber, ids in zip(
            subscribers, [ids for ids in expected for _ in range(2)], strict=True
        ):
            assert await subscriber.until(ids[-1]) == ids
            assert subscriber.separate_ids == []


async def test_subscriber_with_the_cursor_of_an_erased_user_joins_the_topic(
    directory: DirectoryClient, client: Client
) -> None:
    erase = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
    given = {"id": id_of(GONE), "confirmUsername": "gone", "reason": "asked"}
    assert await client.ask(erase, input=given) == {"errors": []}
    gone = await after_event(directory, GONE)
    subscribers = [Subscriber(directory, ADMIN).begin(**gone) for _ in range(2)]
    async with subscribed(*subscribers):
        await wait_for_topics(directory, 2)
        last = await create_event(directory, "last")
        for subscriber in subscribers:
            assert await subscriber.until(last) == list(range(GONE + 1, last + 1))
            assert subscriber.separate_ids == list(range(GONE + 1, last))


async def test_failed_topic_is_replaced_and_no_event_is_lost(
    directory: DirectoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribers = [Subscriber(directory, ADMIN).begin() for _ in range(3)]
    async with subscribed(*subscribers):
        await wait_for_topics(directory, 3)
        [topic] = topics(directory)

        async def fail(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(topic, "_make", fail)
        first = await create_event(directory, "first")
        for subscriber in subscribers:
            assert await subscriber.until(first) == [first] == subscriber.separate_ids
        await wait_for_topics(directory, 3)
        assert topics(directory) != [topic]
        second = await create_event(directory, "second")
        for subscriber in subscribers:
            assert await subscriber.until(second) == [first, second]
            assert subscriber.separate_ids == [first]


async def test_ended_topic_accepts_no_subscriber(directory: DirectoryClient) -> None:
    """A new subscriber can arrive while the members leave one after another."""
    last = Subscriber(directory, ADMIN).begin()
    await wait_for_topics(directory, 1)
    known = directory.live._groups._groups  # noqa: SLF001 - the ended topic is put back
    [(key, ended)] = known.items()
    await last.stop()
    await asyncio.gather(ended.task, return_exceptions=True)
    known[key] = ended
    subscriber = Subscriber(directory, ADMIN).begin()
    async with subscribed(subscriber):
        await wait_until(lambda: topics(directory) not in ([], [ended]))
        first = await create_event(directory, "first")
        assert await subscriber.until(first) == [first]


CREATED = {"filter": {"type": ["CREATED"]}}


class Ledger:
    """Subscribers that connect, leave and pause at random, and the events each must receive."""

    def __init__(self, directory: DirectoryClient, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same order on every run
        self.following: list[tuple[Subscriber, int, dict[str, Any]]] = []
        self._directory = directory

    async def come(self, after: int, wanted: dict[str, Any]) -> None:
        begin = await after_event(self._directory, after)
        subscriber = Subscriber(self._directory, ADMIN).begin(**begin, **wanted)
        self.following.append((subscriber, after, wanted))

    async def move(self) -> None:
        subscriber, after, wanted = self.chance.choice(self.following)
        match self.chance.randrange(4):
            case 0:
                subscriber.accepting.clear()
            case 1:
                subscriber.accepting.set()
            case 2:  # leaves, and reconnects with its last cursor
                self.following.remove((subscriber, after, wanted))
                had = await subscriber.stop()
                await self.come(had[-1] if had else after, wanted)

    async def settle(self, last: int) -> None:
        events = (await self._directory.all_rows())[1]
        for subscriber, after, wanted in self.following:
            subscriber.accepting.set()
            kinds = {UserEventType.CREATED} if wanted else set(UserEventType)
            expected = [e.id for e in events if e.id > after and e.type in kinds]
            assert await subscriber.until(last) == expected
            await subscriber.stop()


@pytest.mark.parametrize("seed", range(3))
async def test_random_joins_leaves_and_pauses_lose_and_repeat_no_event(
    directory: DirectoryClient, seed: int
) -> None:
    ledger = Ledger(directory, seed)
    for n in range(12):
        await ledger.come(FIRST, CREATED if n % 3 == 0 else {})
    for n in range(40):
        await create_event(directory, f"user{n}")
        if ledger.chance.random() < 0.5:
            named = Update(user_id=ADA, fields={"display_name": f"Ada {n}"})
            await write(directory.database, named)
            directory.feed.wake()
        for _ in range(ledger.chance.randrange(4)):  # lets subscribers proceed
            await asyncio.sleep(0)
        await ledger.move()
    await ledger.settle(await create_event(directory, "last"))
