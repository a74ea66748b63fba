import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users import text
from users.errors import ErrorCode
from users.identity import external_id_key
from users.text import InvalidValue, fold

FORMAT, SHORT, LONG = ErrorCode.INVALID_FORMAT, ErrorCode.TOO_SHORT, ErrorCode.TOO_LONG


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  Ada  ", "Ada"),
        ("Zoe\u0308", "Zoë"),
        ("👩\u200d💻 Ada", "👩\u200d💻 Ada"),
        ("آدا\u200cلاولیس", "آدا\u200cلاولیس"),
        ("%_\\'\"", "%_\\'\""),
        (" \u3000" + "e\u0301" * 200 + "\u00a0", "é" * 200),
    ],
)
def test_display_name_is_normalised(raw: str, expected: str) -> None:
    assert text.display_name(raw) == expected


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", SHORT),
        ("   ", SHORT),
        ("a" * 201, LONG),
        ("Ada\nLovelace", FORMAT),
        ("Ada\x00", FORMAT),
        ("Ada\x7f", FORMAT),
        ("Ada\u2028", FORMAT),
        ("\u202eadA", FORMAT),
        ("\u2066Ada\u2069", FORMAT),
        ("Ada\udfff", FORMAT),
        ("Ada\ufdd0", FORMAT),
        ("Ada\U0001ffff", FORMAT),
        ("\u200b", FORMAT),
        ("\u3164", FORMAT),
        ("\u0301", FORMAT),
    ],
)
def test_invalid_display_name_is_rejected_with_its_code(raw: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidValue) as caught:
        text.display_name(raw)
    assert (caught.value.violation.field, caught.value.violation.code) == ("display_name", code)


def test_external_id_is_unchanged() -> None:
    assert text.external_id(" CN=Ada\u0301 ") == " CN=Ada\u0301 "


@pytest.mark.parametrize(("raw", "code"), [("", SHORT), ("x" * 256, LONG), ("x\x00", FORMAT)])
def test_invalid_external_id_is_rejected_with_its_code(raw: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidValue) as caught:
        text.external_id(raw)
    assert (caught.value.violation.field, caught.value.violation.code) == ("external_id", code)
    assert external_id_key(raw) is None


@given(st.text(max_size=210))
def test_valid_display_name_is_parsed_to_itself(raw: str) -> None:
    try:
        line = text.display_name(raw)
    except InvalidValue:
        return
    assert text.display_name(line) == line


@pytest.mark.parametrize("code_points", [range(0x80), range(0x80, 0x3000)])
def test_fold_matches_unicode(code_points: range) -> None:
    for character in map(chr, code_points):
        letters = f"x{character}Y"
        once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", letters).casefold())
        assert fold(letters) == unicodedata.normalize("NFKC", once.casefold())
