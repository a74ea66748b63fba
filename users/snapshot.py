"""Reads and locks the users that commands refer to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from db.models import User
from db.statements.events import fields_changed_since
from db.statements.users import key_holders, users_to_hold, users_to_write
from db.time_slices import pause_if_due
from users.commands import Transition
from users.entity import KEY_COLUMNS, Key, unique_values
from users.lifecycle import UserAction
from users.validation import ParsedCommand


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the directory before the commands.

    `users` are the users that the commands name, locked. `holders` are the known holders of
    requested unique values. The unique indexes are the final authority. `changes` maps each user to
    the fields changed since the expected version, each with the last version that changed it.
    """

    users: Mapping[int, User]
    holders: Mapping[Key, int] = field(default_factory=dict)
    changes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


async def load_snapshot(
    session: AsyncSession, batch: Sequence[ParsedCommand], caller_id: int | None
) -> Snapshot:
    """Lock and read the users that commands name, by id or by a unique value, and the caller."""
    # The caller is locked so that their rights cannot be revoked before the commit.
    own = set() if caller_id is None else {caller_id}
    ids = {parsed.user_id for parsed in batch if parsed.user_id is not None}
    keys = [parsed.by for parsed in batch if parsed.by is not None]
    if not ids and not keys:
        if not own:
            return Snapshot({})
        held = await session.execute(users_to_hold(own))
        return Snapshot({row.id: User.of(row) for row in held})
    # One statement locks all users in the order of their ids, so transactions cannot deadlock.
    found = await session.execute(users_to_write(ids | own, _group_by_column(keys)))
    users = {row.id: User.of(row) for row in found}
    return Snapshot(users, changes=await _changes_since(session, batch, users))


async def find_holders(
    session: AsyncSession, batch: Sequence[ParsedCommand], snapshot: Snapshot
) -> dict[Key, int]:
    wanted = {key for parsed in batch for key in _wanted_keys(parsed, snapshot)}
    if not wanted:
        return {}
    await pause_if_due()
    found = await session.execute(key_holders(_group_by_column(wanted)))
    return {
        (column, value): row.id
        for row in found
        for column in KEY_COLUMNS.values()
        if (value := row._mapping[column]) is not None  # noqa: SLF001 - its public name
    }


def _wanted_keys(parsed: ParsedCommand, snapshot: Snapshot) -> Iterable[Key]:
    for column in KEY_COLUMNS.values():
        if (value := parsed.columns.get(column)) is not None:
            yield column, value
    if parsed.by:
        yield parsed.by
    match parsed.command:
        case Transition(action=UserAction.RESTORE, user_id=int(user_id)):
            if user := snapshot.users.get(user_id):
                yield from unique_values(user)


async def _changes_since(
    session: AsyncSession, batch: Sequence[ParsedCommand], users: Mapping[int, User]
) -> dict[int, dict[str, int]]:
    expected = [version for p in batch if (version := p.expected_version) is not None]
    first = min(expected, default=None)
    if first is None:
        return {}
    changes: dict[int, dict[str, int]] = {
        user.id: {} for user in users.values() if user.version > first
    }
    if changes:
        for row in await session.execute(fields_changed_since(changes, first)):
            changes[row.user_id][row.field] = row.version
    return changes


def _group_by_column(keys: Iterable[Key]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for column, value in keys:
        values.setdefault(column, []).append(value)
    return values
