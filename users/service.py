"""The verbs of the directory. Each writes the user and its event into the caller's transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from db.models import User, UserEventType, UserStatus
from db.statements import changes_since
from users.errors import (
    ErrorCode,
    FieldProblem,
    Problem,
    Refused,
    UnknownUser,
    VersionConflict,
    WrongStatus,
)
from users.events import NOTHING, RECORDED_FIELDS, Actor, Snapshot, event, snapshot
from users.fields import Columns, UserFields, parse_fields, parse_reason
from users.lifecycle import EVENT_OF, UserAction, next_status
from users.uniqueness import insert_user, taken, update_user

_WRONG_STATUS_MESSAGES = {
    UserAction.UPDATE: "A deleted user cannot be edited. Restore it first.",
    UserAction.DEACTIVATE: "A deleted user cannot be deactivated. Restore it first.",
    UserAction.REACTIVATE: "A deleted user cannot be reactivated. Restore it first.",
    UserAction.RESTORE: "Only a deleted user can be restored.",
}


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Written:
    """A user after a write; `changed` is false where it was already as asked."""

    user: User
    changed: bool
    created: bool = False


@dataclass(frozen=True, slots=True)
class UserService:
    """The verbs, on behalf of one actor, inside a transaction that the caller begins and ends.

    Every verb raises `Refused` with all the rules that a request breaks; the caller rolls back. An
    id of None stands for one that cannot be a user's, and is reported among them. A caller that
    names the version it has seen is refused where there is another by now; without it, writers of
    different fields both keep their change.
    """

    session: AsyncSession
    actor: Actor
    request_id: str | None = None
    clock: Callable[[], datetime] = now

    async def create(self, fields: UserFields, *, is_active: bool = True) -> Written:
        columns, problems = parse_fields(fields)
        if problems:
            raise Refused([*problems, *await taken(self.session, columns)])
        at = self.clock()
        columns |= {
            "is_active": is_active,
            "status": UserStatus.ACTIVE if is_active else UserStatus.DEACTIVATED,
            "status_changed_at": at,
            "version": 1,
            "created_at": at,
            "updated_at": at,
        }
        user = await insert_user(self.session, columns)
        await self._record(UserEventType.CREATED, user, NOTHING, at)
        return Written(user, changed=True, created=True)

    async def update(
        self, user_id: int | None, fields: UserFields, *, expected_version: int | None = None
    ) -> Written:
        columns, problems = parse_fields(fields)
        user, refusals = await self._find(user_id, UserAction.UPDATE, expected_version)
        if user is None or refusals or problems:
            raise Refused([*refusals, *problems, *await taken(self.session, columns, user_id)])
        return await self._write(user, UserAction.UPDATE, columns)

    async def deactivate(
        self, user_id: int | None, reason: str | None = None, *, expected_version: int | None = None
    ) -> Written:
        return await self._move(user_id, UserAction.DEACTIVATE, reason, expected_version)

    async def reactivate(
        self, user_id: int | None, reason: str | None = None, *, expected_version: int | None = None
    ) -> Written:
        return await self._move(user_id, UserAction.REACTIVATE, reason, expected_version)

    async def delete(
        self, user_id: int | None, reason: str | None = None, *, expected_version: int | None = None
    ) -> Written:
        """Delete softly: the user can be restored, but its unique values are free for others."""
        return await self._move(user_id, UserAction.DELETE, reason, expected_version)

    async def restore(
        self, user_id: int | None, reason: str | None = None, *, expected_version: int | None = None
    ) -> Written:
        """Bring a deleted user back, deactivated; refused where another has its values by now."""
        return await self._move(user_id, UserAction.RESTORE, reason, expected_version)

    async def _move(
        self,
        user_id: int | None,
        action: UserAction,
        raw: str | None,
        expected_version: int | None,
    ) -> Written:
        reason, problems = parse_reason(raw)
        user, refusals = await self._find(user_id, action, expected_version)
        if user is None or refusals or problems:
            raise Refused([*refusals, *problems])
        status = next_status(user.status, action)
        if status == user.status:
            return Written(user, changed=False)
        at = self.clock()
        columns = {
            "status": status,
            "is_active": status is UserStatus.ACTIVE,
            "status_reason": reason,
            "status_changed_at": at,
            "deleted_at": at if status is UserStatus.DELETED else None,
        }
        return await self._write(user, action, columns, at=at, reason=reason)

    async def _find(
        self, user_id: int | None, action: UserAction, expected_version: int | None
    ) -> tuple[User | None, list[Problem]]:
        """Lock a user for a write, or tell why `action` cannot be done to it."""
        if user_id is None:
            message = "This is not the id of a user."
            return None, [FieldProblem(code=ErrorCode.INVALID_FORMAT, message=message, field="id")]
        user = await self.session.get(User, user_id, populate_existing=True, with_for_update=True)
        if user is None:
            return None, [UnknownUser(user_id=user_id)]
        problems: list[Problem] = []
        if expected_version is not None and expected_version != user.version:
            problems.append(await self._conflict(user, expected_version))
        if next_status(user.status, action) is None:
            message = _WRONG_STATUS_MESSAGES[action]
            problems.append(WrongStatus(message=message, user=user, status=user.status))
        if problems:
            self.session.expunge(user)  # to be read after the rollback, which empties the others
        return user, problems

    async def _conflict(self, user: User, expected: int) -> VersionConflict:
        events = await self.session.scalars(changes_since(user.id, expected))
        changed = {change["field"] for changes in events for change in changes}
        ordered = [field for field in RECORDED_FIELDS.values() if field in changed]
        return VersionConflict(user=user, expected=expected, changed_fields=ordered)

    async def _write(
        self,
        user: User,
        action: UserAction,
        columns: Columns,
        *,
        at: datetime | None = None,
        reason: str | None = None,
    ) -> Written:
        before = snapshot(user)
        if all(getattr(user, name) == value for name, value in columns.items()):
            return Written(user, changed=False)
        at = at or self.clock()
        columns |= {"version": user.version + 1, "updated_at": at}
        await update_user(self.session, user, columns)
        await self._record(EVENT_OF[action], user, before, at, reason)
        return Written(user, changed=True)

    async def _record(
        self,
        type: UserEventType,
        user: User,
        before: Snapshot,
        at: datetime,
        reason: str | None = None,
    ) -> None:
        self.session.add(
            event(
                type,
                user,
                before,
                actor=self.actor,
                at=at,
                reason=reason,
                request_id=self.request_id,
            )
        )
        await self.session.flush()
