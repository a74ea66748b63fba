from itertools import product

import pytest

from db.models import UserStatus
from users.lifecycle import EVENT_OF, UserAction, next_status

A, I, D = UserStatus.ACTIVE, UserStatus.DEACTIVATED, UserStatus.DELETED  # noqa: E741

EXPECTED: dict[UserAction, dict[UserStatus, UserStatus | None]] = {
    UserAction.UPDATE: {A: A, I: I, D: None},
    UserAction.DEACTIVATE: {A: I, I: I, D: None},
    UserAction.REACTIVATE: {A: A, I: A, D: None},
    UserAction.DELETE: {A: D, I: D, D: D},
    UserAction.RESTORE: {A: None, I: I, D: I},
    UserAction.ERASE: {A: None, I: None, D: D},
    UserAction.VIEW_HISTORY: {A: A, I: I, D: D},
}


@pytest.mark.parametrize(("action", "status"), list(product(UserAction, UserStatus)))
def test_every_action_in_every_status(action: UserAction, status: UserStatus) -> None:
    assert next_status(status, action) is EXPECTED[action][status]


@pytest.mark.parametrize("action", UserAction)
def test_of_an_erased_user_nothing_becomes(action: UserAction) -> None:
    stays = {UserAction.DELETE, UserAction.ERASE, UserAction.VIEW_HISTORY}
    expected = D if action in stays else None
    assert next_status(D, action, erased=True) is expected


def test_every_action_but_looking_leaves_an_event() -> None:
    assert set(EVENT_OF) == set(UserAction) - {UserAction.VIEW_HISTORY}
