"""Positions: their text, and which of several includes the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.replication.position import PRIMARY, Position, latest, parse_position

TERM, LATER_TERM = "0000000a-00112233445566ff", "0000000b-0011223344556600"
_POSITIONS = st.builds(Position, st.sampled_from([TERM, LATER_TERM]), st.integers(0, 2**64 - 1))


@given(_POSITIONS)
def test_position_survives_its_text(position: Position) -> None:
    assert parse_position(str(position)) == position


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_texts_of_a_term_have_the_order_of_their_positions(one: int, two: int) -> None:
    texts = str(Position(TERM, one)), str(Position(TERM, two))
    assert (texts[0] < texts[1]) == (one < two)
    assert str(Position(LATER_TERM, 0)) > texts[0]
    assert str(PRIMARY) > texts[0]


@pytest.mark.parametrize(
    "text",
    ["primary", "0", "x", f"{TERM}-1", f"{TERM}-{1:016X}x", f"{TERM}-{255:016X}", "\u0660" * 16],
)
def test_unreadable_text_is_the_primary(text: str) -> None:
    assert parse_position(text) is PRIMARY


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_empty_text_is_no_position(text: str) -> None:
    assert parse_position(text) is None


def test_several_positions_are_the_latest() -> None:
    one, two = Position(TERM, 1), Position(TERM, 2)
    assert parse_position(f"{two}, {one},") == two
    assert latest([None, one, None, two]) == two
    assert latest([]) is None


@given(st.permutations([Position(TERM, 2), Position(LATER_TERM, 1), Position(TERM, 3)]))
def test_positions_of_two_terms_are_the_primary(positions: list[Position]) -> None:
    assert latest(positions) is PRIMARY
    assert latest([*positions, PRIMARY]) is PRIMARY


def test_position_reaches_those_of_its_term_up_to_it() -> None:
    position = Position(TERM, 5)
    reached = [position.has_reached(Position(TERM, lsn)) for lsn in (4, 5, 6)]
    assert reached == [True, True, False]
    assert not position.has_reached(Position(LATER_TERM, 1))
    assert not position.has_reached(PRIMARY)
