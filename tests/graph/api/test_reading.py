"""JSON parsing, compared with Python's own parser."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graph.protocol.errors import InvalidRequest
from graph.protocol.json import read_json

_NUMBERS = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | st.integers(-9, 9)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def _parse_with_json_module(text: bytes) -> object:
    """The value according to Python's parser, in a list; None if it is invalid."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return [json.loads(text.decode(), parse_constant=refuse)]
    except ValueError:
        return None


@given(
    _VALUES.map(lambda value: json.dumps(value).encode())
    | st.lists(
        st.sampled_from(
            [b"[", b"]", b"{", b"}", b'"', b"a", b":", b",", b"1", b"-", b"0", b".", b"e", b" ",
             b"9" * 18, b"NaN", b"null", b"\\u", b"\\ud83d", b"\\ude00", b"\xef\xbb\xbf", b"\xff"]
        ),
        max_size=8,
    ).map(b"".join)
)  # fmt: skip
@example(b"18446744073709551616")
@example(b"-9223372036854775809")
@example(b'{"a": 9223372036854775808, "a": [1e400, -0, -0.0]}')
@example(b'"\\ud800"')
@example(b"9" * 5_000)
def test_json_is_parsed_as_by_python(text: bytes) -> None:
    expected = _parse_with_json_module(text)
    try:
        found: object = [read_json(text)]
    except InvalidRequest:
        found = None
    assert repr(found) == repr(expected)  # repr distinguishes 1 from 1.0, and 0.0 from -0.0


@pytest.mark.parametrize(
    ("depth", "deep"), [(50, False), (51, True), (1_100, True), (200_000, True)]
)
def test_json_nested_deeper_than_50_levels_is_rejected(depth: int, deep: bool) -> None:  # noqa: FBT001
    text = b"[" * depth + b"]" * depth
    if not deep:
        assert read_json(text)
        return
    with pytest.raises(InvalidRequest) as raised:
        read_json(text)
    assert raised.value.code == "JSON_TOO_DEEP"
