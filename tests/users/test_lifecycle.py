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
def test_next_status_matches_the_table_of_transitions(
    action: UserAction, status: UserStatus
) -> None:
    assert next_status(status, action) is EXPECTED[action][status]


@pytest.mark.parametrize("action", UserAction)
def test_erased_user_allows_only_delete_erase_and_view_history(action: UserAction) -> None:
    stays = {UserAction.DELETE, UserAction.ERASE, UserAction.VIEW_HISTORY}
    expected = D if action in stays else None
    assert next_status(D, action, erased=True) is expected


def test_every_action_except_view_history_has_an_event_type() -> None:
    assert set(EVENT_OF) == set(UserAction) - {UserAction.VIEW_HISTORY}
