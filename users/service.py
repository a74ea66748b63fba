"""The one way into the directory: operations are checked, planned, and written with their events.

One operation is a batch of one. Either costs the same few statements: one locks the users that
are named, one looks for taken values, and one each inserts users, updates users and adds events.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from db.errors import is_unique_violation
from db.models import ActorKind, User
from db.statements import (
    ADD_EVENTS,
    ADD_USERS,
    FREE_KEYS,
    REATTRIBUTE_EVENTS,
    REDACT_EVENTS,
    UPDATE_USERS,
    fields_changed_since,
    forget_actors,
    key_holders,
    traces_of,
    users_to_hold,
    users_to_write,
)
from db.time_slices import partitions, pause_if_due
from users import former_ids
from users.changeset import NO_VERSION, Plan, Stock, kept, row_of
from users.commands import (
    Answer,
    IdempotencyKey,
    Operation,
    Overtaken,
    Refused,
    Result,
    Transition,
)
from users.errors import ErrorCode, GeneralProblem, Problem, VersionConflict
from users.fields import Parsed
from users.idempotency import Claim, key_problems
from users.identity import UsernameEmails
from users.lifecycle import UserAction
from users.policy import NOT_ACTIVE, Caller, acts, refusal, shown
from users.recorder import Recorder, redacted
from users.validation import KEY_COLUMNS, Key, Request, parse_all

MAX_OPERATIONS: Final = 500


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class UserService:
    """The directory, on behalf of one caller, inside a transaction that the caller begins and ends.

    An operation that names the version it has seen is refused where there is another by now;
    without it, writers of different fields both keep their change.
    """

    session: AsyncSession
    caller: Caller
    request_id: str | None = None
    clock: Callable[[], datetime] = now
    username_emails: UsernameEmails = UsernameEmails.OWN

    async def carry_out(
        self,
        operations: Sequence[Operation],
        *,
        atomic: bool = True,
        key: IdempotencyKey | None = None,
        look: bool = True,
        parsed: Parsed | None = None,
    ) -> Answer:
        """Do all the operations in their order, each on what those before it left.

        Raises `Refused` where one is refused and `atomic` says that nothing is to be done then, or
        where all are; the caller rolls back. Raises `Overtaken` where a unique value was taken
        after the look: the caller rolls back and does it again, with `look`. Without it nobody
        looks first whether values are free, which saves a statement where they mostly are.

        What is done under a key is done once: for 24 hours its caller gets the first answer again,
        with the users as they were then. A refusal is not kept.

        What the caller may not do is refused first, before anything is looked up for it; and all
        is, where they are a user who isn't active by the time they are locked.

        What was `parsed` before is not parsed again.
        """
        parsed = {} if parsed is None else parsed
        if len(operations) > MAX_OPERATIONS:
            raise Refused(problems=[_too_many(operations)])
        denied = [refusal(self.caller, operation) for operation in operations]
        if denied and all(denied):
            raise Refused(_beside(denied, []))
        allowed = [o for o, no in zip(operations, denied, strict=True) if no is None]
        requests = await parse_all(allowed, parsed)
        problems = key_problems(key)
        claim = None
        if key and not problems and _claims(requests, hopeless=atomic and any(denied)):
            claim = Claim.of(self.session, self.caller.actor, key)
            if (earlier := await claim.take(self.clock())) is not None:
                return await self._replay(earlier, denied)
        plan, planned = await self._plan(requests, parsed, look=look)
        results = _beside(denied, planned)
        refused = [bool(result.problems) for result in results]
        if problems or (refused and (all(refused) or (atomic and any(refused)))):
            raise Refused([shown(self.caller, r) for r in _of_nobody_new(results)], problems)
        await self._write(plan)
        if claim:
            await claim.keep(results)
        return Answer([shown(self.caller, result) for result in results])

    async def _replay(self, earlier: Sequence[Result], denied: Sequence[Problem | None]) -> Answer:
        """Answer as before, less what the caller may no longer do."""
        stock = await self._lock([])
        if not self._acts(stock):
            raise Refused([_denied(NOT_ACTIVE)] * len(earlier))
        told = zip(earlier, denied, strict=True)
        results = [before if no is None else _denied(no) for before, no in told]
        return Answer([shown(self.caller, result) for result in results], replayed=True)

    async def _plan(
        self, requests: Sequence[Request], parsed: Parsed, *, look: bool
    ) -> tuple[Plan, Sequence[Result]]:
        stock = await self._lock(requests)
        if not self._acts(stock):
            return self._plan_of(Stock({}), parsed), [_denied(NOT_ACTIVE)] * len(requests)
        moments = [self.clock() for _ in requests]
        look = look or any(request.validate_only for request in requests)
        while True:
            if look:
                stock = replace(stock, holders=await self._look(requests, stock))
            plan = self._plan_of(stock, parsed)
            results = []
            for asked in zip(requests, moments, strict=True):
                await pause_if_due()
                results.append(plan.do(*asked))
            if look or not any(result.problems for result in results):
                return plan, results
            look = True  # to name what is taken beside the other problems

    def _plan_of(self, stock: Stock, parsed: Parsed) -> Plan:
        recorder = Recorder(self.caller.actor, self.request_id)
        return Plan(stock, recorder, self.caller.subject, parsed, self.username_emails)

    def _acts(self, stock: Stock) -> bool:
        user = stock.users.get(self.caller.user_id or 0)
        return acts(self.caller, user.status if user else None)

    async def _lock(self, requests: Sequence[Request]) -> Stock:
        """Lock and read the users that the requests name, by id or by a unique value.

        And the user who asks: nobody can take away their right until what they did is committed.
        All in one statement, in the order of ids: who is named and who asks never wait crosswise.
        """
        own = set() if self.caller.user_id is None else {self.caller.user_id}
        ids = {request.user_id for request in requests if request.user_id is not None}
        keys = [request.by for request in requests if request.by is not None]
        if not ids and not keys:
            if not own:
                return Stock({})
            held = await self.session.execute(users_to_hold(own))
            return Stock({row.id: User.of(row) for row in held})
        found = await self.session.execute(users_to_write(ids | own, _by_column(keys)))
        users = {row.id: User.of(row) for row in found}
        return Stock(users, changes=await self._changes(requests, users))

    async def _changes(
        self, requests: Sequence[Request], users: dict[int, User]
    ) -> dict[int, dict[str, int]]:
        """Read which fields were changed since the versions that the requests have seen."""
        seen = [version for r in requests if (version := r.expected_version) is not None]
        first = min(seen, default=None)
        if first is None:
            return {}
        changes: dict[int, dict[str, int]] = {
            user.id: {} for user in users.values() if user.version > first
        }
        if changes:
            for row in await self.session.execute(fields_changed_since(changes, first)):
                changes[row.user_id][row.field] = row.version
        return changes

    async def _look(self, requests: Sequence[Request], stock: Stock) -> dict[Key, int]:
        """Find out who holds the unique values that the requests want to give."""
        wanted: set[Key] = set()
        for request in requests:
            columns = ((c, request.columns.get(c)) for c in KEY_COLUMNS.values())
            wanted |= {(column, value) for column, value in columns if value is not None}
            wanted |= {request.by} if request.by else set()
            match request.operation:
                case Transition(action=UserAction.RESTORE, user_id=int(user_id)):
                    wanted |= set(kept(stock.users[user_id])) if user_id in stock.users else set()
        if not wanted:
            return {}
        await pause_if_due()
        found = await self.session.execute(key_holders(_by_column(wanted)))
        return {
            (column, value): row.id
            for row in found
            for column in KEY_COLUMNS.values()
            if (value := row._mapping[column]) is not None  # noqa: SLF001 - its public name
        }

    async def _write(self, plan: Plan) -> None:
        await pause_if_due()
        try:
            if vacating := [
                {"row_id": user.id, "nobody": f" {user.id}"} for user in plan.vacating()
            ]:
                await self.session.execute(FREE_KEYS, vacating)
            if updated := [row_of(user) | {"row_id": user.id} for user in plan.updated]:
                await self.session.execute(UPDATE_USERS, updated)
        except IntegrityError as error:
            if is_unique_violation(error):
                raise Overtaken from None
            raise
        await self._insert(plan)
        if plan.former:
            await former_ids.record(self.session, plan.former)
        if plan.erased:
            await self._redact(plan)
        if plan.events:
            await pause_if_due()
            await self.session.execute(ADD_EVENTS, plan.events)

    async def _insert(self, plan: Plan) -> None:
        """Insert the new users, and give them the ids that the database chose."""
        if not plan.created:
            return
        await pause_if_due()
        added = await self.session.execute(ADD_USERS, [row_of(user) for user in plan.created])
        ids = {row.username_key: row.id for row in added}
        if len(ids) < len(plan.created):
            raise Overtaken
        new_ids = {user.id: ids[user.username_key] for user in plan.created}
        for user in plan.drafts:
            user.id = new_ids[user.id]
        for event in plan.events:
            event["user_id"] = new_ids.get(event["user_id"], event["user_id"])
        plan.former = [(new_ids.get(user_id, user_id), *rest) for user_id, *rest in plan.former]

    async def _redact(self, plan: Plan) -> None:
        """Take what is personal out of the histories of users, and their names as actors."""
        ids = set(plan.erased)
        at = plan.users[plan.erased[0]].updated_at
        users = [plan.stock.users[user_id] for user_id in ids & plan.stock.users.keys()]
        subjects = await former_ids.close(self.session, users, at)
        async for rows in partitions(await self.session.execute(traces_of(ids, subjects))):
            if acted := list(_acted_as_service(rows, subjects)):
                await self.session.execute(REATTRIBUTE_EVENTS, acted)
            theirs = [row for row in rows if row.user_id in ids]
            if events := [{"row_id": row.id, "kept": redacted(row.changes)} for row in theirs]:
                await self.session.execute(REDACT_EVENTS, events)
        await self.session.execute(forget_actors(ids))


def _acted_as_service(
    events: Iterable[Row[Any]], subjects: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """Find what was done by services whose subject was an external id: subject -> user.

    The token was used before the user had the id, or, with an earlier version, after a deletion.
    The user takes the place of the subject, which is as personal as their name.
    """
    for event in events:
        if event.actor_kind is ActorKind.SERVICE and event.actor_id in subjects:
            yield {"row_id": event.id, "user": str(subjects[event.actor_id])}


def _of_nobody_new(results: Sequence[Result]) -> list[Result]:
    """Name no user whom the batch would have created: now that it is refused, there is none."""
    return [
        replace(result, user=None, problems=NO_VERSION)
        if any(isinstance(p, VersionConflict) and p.user.id < 0 for p in result.problems)
        else result
        for result in results
    ]


def _claims(requests: Sequence[Request], *, hopeless: bool) -> bool:
    """Tell whether there can be an answer to keep."""
    return not hopeless and not all(request.validate_only for request in requests)


def _beside(denied: Sequence[Problem | None], planned: Sequence[Result]) -> list[Result]:
    """Put what was planned into its places, between what the caller may not do."""
    rest = iter(planned)
    return [next(rest) if problem is None else _denied(problem) for problem in denied]


def _denied(problem: Problem) -> Result:
    return Result(problems=[problem])


def _too_many(operations: Sequence[Operation]) -> GeneralProblem:
    message = f"A batch can have {MAX_OPERATIONS} operations; this one has {len(operations)}."
    return GeneralProblem(code=ErrorCode.LIMIT_EXCEEDED, message=message, field="operations")


def _by_column(keys: Iterable[Key]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for column, value in keys:
        values.setdefault(column, []).append(value)
    return values
