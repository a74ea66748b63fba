"""The policy for every set of scopes, for oneself and for others, in every status."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, product

import pytest

from db.models import ActorKind, User, UserStatus
from users import policy
from users.commands import (
    Command,
    CommandResult,
    Create,
    Erase,
    Retention,
    Transition,
    Update,
    UpsertById,
    UpsertByKey,
)
from users.errors import (
    ErrorCode,
    FieldViolation,
    GeneralViolation,
    InvalidTransition,
    VersionConflict,
)
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE, Caller, Scope
from users.recorder import Actor

READ, WRITE, ERASE, HISTORY, LINK = (
    Scope.READ,
    Scope.WRITE,
    Scope.ERASE,
    Scope.HISTORY,
    Scope.LINK,
)
A, I, D = UserStatus.ACTIVE, UserStatus.DEACTIVATED, UserStatus.DELETED  # noqa: E741
SCOPES = [frozenset(some) for n in range(len(Scope) + 1) for some in combinations(Scope, n)]
NOW = datetime(2026, 1, 31, tzinfo=UTC)
ME, OTHER = 7, 8


def caller(scopes: frozenset[Scope], user_id: int | None = ME) -> Caller:
    actor = Actor(ActorKind.SERVICE, id="sync")
    if user_id is not None:
        actor = Actor(ActorKind.USER, id=str(user_id))
    return Caller(actor, scopes, user_id, subject="sync")


def parameter_id(value: object) -> str | None:
    """Returns the same id in every test process, because sets have no stable order."""
    match value:
        case Caller(scopes=scopes, user_id=user_id):
            return f"{user_id} {parameter_id(scopes)}"
        case frozenset():
            return " ".join(sorted(value)) or "nothing"
        case str():
            return value
    return None


CALLERS = [caller(scopes, user_id) for scopes in SCOPES for user_id in (ME, None)]


@pytest.mark.parametrize("who", CALLERS, ids=parameter_id)
def test_reading_requires_the_scope_or_being_the_user(who: Caller) -> None:
    mine = who.user_id == ME
    all_read, history = READ in who.scopes, HISTORY in who.scopes
    assert policy.can_read(who, OTHER) is all_read
    assert policy.can_read(who, ME) is (all_read or mine)
    assert policy.can_read_history(who, OTHER) is (all_read and history)
    assert policy.can_read_history(who, ME) is ((all_read or mine) and history)
    assert policy.can_read_history(who) is (all_read and history)
    condition = str(policy.readable_users(who).compile(compile_kwargs={"literal_binds": True}))
    assert condition == ("true" if all_read else "users.id IN (7)" if mine else "false")


def linking(external_id: str | None) -> Iterator[tuple[str, Command, str]]:
    """Yields each command that sets an external id of others, and the place in its input."""
    yield "update", Update(user_id=OTHER, fields={"external_id": external_id}), "external_id"
    yield "update nobody", Update(user_id=None, fields={"external_id": external_id}), "external_id"
    checked = Update(user_id=OTHER, fields={"external_id": external_id}, validate_only=True)
    yield "validate an update", checked, "external_id"
    yield (
        "upsert by id",
        UpsertById(by="id", user_id=OTHER, fields={"external_id": external_id}),
        "external_id",
    )
    by_name = UpsertByKey(by="username", value="ada", fields={"external_id": external_id})
    yield "upsert by username", by_name, "external_id"
    if external_id is not None:
        new = Create(fields={"username": "a", "external_id": external_id})
        yield "create", new, "external_id"
        yield "validate a creation", replace(new, validate_only=True), "external_id"
        by_it = UpsertByKey(by="external_id", value=external_id, fields={})
        yield "upsert by it", by_it, "by.external_id"


def operations() -> Iterator[tuple[str, Command, frozenset[Scope]]]:
    """Yields each kind of command on others, and the scopes that it requires."""
    write, erase, link = frozenset({WRITE}), frozenset({ERASE}), frozenset({LINK})
    for external_id in ("hr-1", "", None):
        for name, operation, place in linking(external_id):
            yield f"{name} {external_id} at {place}", operation, write | link
    unlinked = Create(fields={"username": "a", "email": "b", "external_id": None})
    yield "create without", unlinked, write
    yield "create", Create(fields={"username": "ada", "email": "a@example.com"}), write
    yield "update", Update(user_id=OTHER, fields={"username": "ada"}), write
    yield "nobody", Update(user_id=None, fields={"username": "ada"}), write
    yield "upsert", UpsertByKey(by="username", value="ada", fields={}), write
    yield "upsert id", UpsertById(by="id", user_id=OTHER, fields={}), write
    yield "upsert me", UpsertById(by="id", user_id=ME, fields={}), write
    for action in (
        UserAction.DEACTIVATE,
        UserAction.REACTIVATE,
        UserAction.DELETE,
        UserAction.RESTORE,
    ):
        for user_id in (ME, OTHER):
            yield f"{action} {user_id}", Transition(action=action, user_id=user_id), write
    for at in (None, NOW):
        later = Transition(action=UserAction.DELETE, user_id=OTHER, retention=Retention(at))
        yield f"delete until {at}", later, write | erase
    for user_id in (ME, OTHER):
        yield f"erase {user_id}", Erase(user_id=user_id, confirm_username=None, reason="r"), erase


@pytest.mark.parametrize(("name", "operation", "needed"), list(operations()), ids=parameter_id)
def test_writing_requires_the_scopes_of_the_command(
    name: str, operation: Command, needed: frozenset[Scope]
) -> None:
    for scopes, user_id in product(SCOPES, (ME, None)):
        violation = policy.authorize(caller(scopes, user_id), operation)
        assert (violation is None) is (needed <= scopes), (scopes, user_id)
        if violation:
            assert violation.code is ErrorCode.FORBIDDEN, (scopes, user_id)
            place = "erase_after" if "until" in name else name.partition(" at ")[2]
            assert violation.field == (place if WRITE in scopes else ""), (scopes, user_id)


@pytest.mark.parametrize("scopes", SCOPES, ids=parameter_id)
def test_own_fields_need_no_scope_except_the_external_id(scopes: frozenset[Scope]) -> None:
    mine = Update(user_id=ME, fields={"username": "a", "email": "b", "display_name": None})
    link = Update(user_id=ME, fields={"external_id": None, "username": "a"})
    writes, links = WRITE in scopes, LINK in scopes
    assert policy.authorize(caller(scopes), mine) is None
    assert (policy.authorize(caller(scopes, None), mine) is None) is writes
    violation = policy.authorize(caller(scopes), link)
    assert (violation is None) is links
    if violation:
        assert isinstance(violation, FieldViolation)
        assert (violation.code, violation.field) == (ErrorCode.FORBIDDEN, "external_id")
        assert violation.message.startswith("Missing scope `users:link`.")


@pytest.mark.parametrize("scopes", SCOPES, ids=parameter_id)
def test_caller_cannot_set_their_own_subject_as_external_id(scopes: frozenset[Scope]) -> None:
    own_fields = Update(user_id=ME, fields={"external_id": "sync"})
    for name, operation, place in [*linking("sync"), ("update me", own_fields, "external_id")]:
        for who in (caller(scopes), caller(scopes, None)):
            violation = policy.authorize(who, operation)
            assert violation is not None, name
            assert violation.code is ErrorCode.FORBIDDEN
            if {WRITE, LINK} <= scopes:
                assert violation == replace(policy.OWN_SUBJECT, field=place)
    for name, operation, _ in linking("Sync"):  # external ids are case-sensitive
        allowed = policy.authorize(caller(scopes), operation) is None
        assert allowed is ({WRITE, LINK} <= scopes), name


def test_api_key_caller_can_set_any_external_id() -> None:
    key = Caller(Actor(ActorKind.SERVICE, id="key-1"), EVERY_SCOPE)
    assert [policy.authorize(key, o) for e in ("key-1", "", None) for _, o, _ in linking(e)] == [
        None
    ] * 21


USEFUL: dict[tuple[UserStatus, bool], set[UserAction]] = {
    (A, False): {UserAction.UPDATE, UserAction.DEACTIVATE, UserAction.DELETE},
    (I, False): {UserAction.UPDATE, UserAction.REACTIVATE, UserAction.DELETE},
    (D, False): {UserAction.RESTORE, UserAction.ERASE},
    (D, True): set(),
}


@pytest.mark.parametrize(("state", "user_id"), list(product(USEFUL, (ME, OTHER))))
def test_available_actions_are_allowed_and_effective(
    state: tuple[UserStatus, bool], user_id: int
) -> None:
    (status, erased), mine = state, user_id == ME
    for scopes in SCOPES:
        allowed = {UserAction.UPDATE} if mine else set()
        if WRITE in scopes:
            allowed |= set(UserAction) - {UserAction.ERASE, UserAction.VIEW_HISTORY}
        if ERASE in scopes:
            allowed.add(UserAction.ERASE)
        expected = USEFUL[state] & allowed
        if mine and status is not A:
            expected = set()  # only active users can write
        if HISTORY in scopes and (mine or READ in scopes):
            expected.add(UserAction.VIEW_HISTORY)
        offered = policy.available_actions(caller(scopes), user_id, status, erased=erased)
        assert offered == [action for action in UserAction if action in expected], scopes


@pytest.mark.parametrize("status", [*UserStatus, None])
def test_session_is_invalid_after_expiry_or_for_an_inactive_user(status: UserStatus | None) -> None:
    for who in (caller(EVERY_SCOPE), caller(EVERY_SCOPE, None)):
        acts = who.user_id is None or status is A
        assert policy.can_write(who, status) is acts
        assert policy.is_session_valid(who, NOW, status) is acts
        for seconds, over in ((-1, True), (0, True), (1, False)):
            ends = NOW + timedelta(seconds=seconds)
            limited = Caller(who.actor, who.scopes, who.user_id, ends)
            assert policy.is_session_valid(limited, NOW, status) is (acts and not over)


@pytest.mark.parametrize("scopes", SCOPES, ids=parameter_id)
def test_result_hides_users_that_the_caller_cannot_read(scopes: frozenset[Scope]) -> None:
    for user_id, created in product((ME, OTHER), (True, False)):
        user = User(id=user_id, version=3)
        result = CommandResult(user, changed=True, created=created)
        seen = READ in scopes or created or user_id == ME
        expected = result if seen else CommandResult(None, changed=True)
        assert policy.redact_result(caller(scopes), result) == expected


@pytest.mark.parametrize("scopes", SCOPES, ids=parameter_id)
@pytest.mark.parametrize("user_id", [ME, OTHER])
def test_violations_hide_users_that_the_caller_cannot_read(
    scopes: frozenset[Scope], user_id: int
) -> None:
    user = User(id=user_id, version=3)
    status = InvalidTransition(message="No.", user=user, status=D)
    conflict = VersionConflict(user=user, expected=1, changed_fields=["email"])
    shown = policy.redact_result(
        caller(scopes), CommandResult(violations=[status, conflict])
    ).violations
    if READ in scopes or user_id == ME:
        assert list(shown) == [status, conflict]
        return
    assert list(shown) == [
        GeneralViolation(code=status.code, message="No.", field="id"),
        GeneralViolation(code=conflict.code, message=conflict.message, field="expected_version"),
    ]
