"""What the entries of a ledger say together."""

from db.erasure_ledger.entries import Erasures, State
from tests.support.ledgers import entry, row

BEGUN, ERASED, DISMISSED = State.BEGUN, State.ERASED, State.DISMISSED


def erasures(*entries: tuple[State, int, str]) -> tuple[list[int], list[int]]:
    """Returns the ids of erased users, and those of incomplete erasures."""
    found = Erasures()
    for each in entries:
        found.add(entry(*each))
    return [r.user_id for r in found.erased], [e.row.user_id for e in found.incomplete()]


def test_erasure_is_incomplete_until_its_second_entry() -> None:
    assert erasures((BEGUN, 1, "a")) == ([], [1])
    assert erasures((BEGUN, 1, "a"), (ERASED, 1, "a")) == ([1], [])
    assert erasures((BEGUN, 1, "a"), (DISMISSED, 1, "a")) == ([], [])
    assert erasures((ERASED, 1, "a"), (BEGUN, 1, "a")) == ([1], [])


def test_dismissal_of_one_attempt_does_not_dismiss_another() -> None:
    assert erasures((BEGUN, 1, "a"), (DISMISSED, 1, "a"), (BEGUN, 1, "b")) == ([], [1])
    assert erasures((BEGUN, 1, "a"), (DISMISSED, 1, "a"), (ERASED, 1, "b")) == ([1], [])


def test_erasure_that_was_done_completes_earlier_attempts() -> None:
    assert erasures((BEGUN, 1, "a"), (BEGUN, 1, "b"), (ERASED, 1, "b")) == ([1], [])
    assert erasures((BEGUN, 1, "a"), (BEGUN, 2, "b"), (ERASED, 2, "b")) == ([2], [1])


def test_erasure_that_was_done_after_its_dismissal_counts() -> None:
    assert erasures((BEGUN, 1, "a"), (DISMISSED, 1, "a"), (ERASED, 1, "a")) == ([1], [])


def test_rows_with_the_same_id_are_different() -> None:
    assert row(1) == row(1)
    assert len({row(1), entry(BEGUN, 2).row, row(2)}) == 2
