import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from precis_i18n import get_profile

from users import identity
from users.email_address import Email
from users.errors import ErrorCode
from users.identity import Username, is_ascii_name, part_keys
from users.text import InvalidValue

FORMAT, SHORT, LONG = ErrorCode.INVALID_FORMAT, ErrorCode.TOO_SHORT, ErrorCode.TOO_LONG
PRESERVED, MAPPED = get_profile("UsernameCasePreserved"), get_profile("UsernameCaseMapped")
texts = st.one_of(
    st.text(st.characters(max_codepoint=0x7F), max_size=70),
    st.text(max_size=70),
    st.text(st.sampled_from("aZ9._-@ ~\x7f\u017f\u212aé"), max_size=12),
)


@pytest.mark.parametrize(
    ("raw", "text", "key"),
    [
        ("Ada", "Ada", "ada"),
        ("ada.lovelace_1-2", "ada.lovelace_1-2", "ada.lovelace_1-2"),
        ("Émile", "Émile", "émile"),
        ("e\u0301mile", "émile", "émile"),
        ("Ａｄａ", "Ada", "ada"),
        ("ΣΊΣΥΦΟΣ", "ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("Σίσυφος", "Σίσυφος", "σίσυφοσ"),
        ("Weiß", "Weiß", "weiss"),
        ("שלום", "שלום", "שלום"),
        ("a" * 64, "a" * 64, "a" * 64),
        ("e\u0301" * 64, "é" * 64, "é" * 64),
    ],
)
def test_username_has_a_text_and_a_key(raw: str, text: str, key: str) -> None:
    assert Username.parse(raw) == Username(text, key)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", SHORT),
        ("ab", SHORT),
        ("a" * 65, LONG),
        ("ﬀ" * 40, FORMAT),
        ("e\u0301" * 65, LONG),
        ("a b c", FORMAT),
        (" ada", FORMAT),
        ("ada\n", FORMAT),
        ("ada\x00", FORMAT),
        ("ada\u202eevil", FORMAT),
        ("ada\u200b", FORMAT),
        ("ada\ud800", FORMAT),
        ("ada😀", FORMAT),
        ("שלוםa", FORMAT),
        ("e\u0301e\u0301", SHORT),
    ],
)
def test_invalid_username_is_rejected_with_its_code(raw: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidValue) as caught:
        Username.parse(raw)
    violation = caught.value.violation
    assert (violation.field, violation.code) == ("username", code)
    assert (violation.min, violation.max) == ((None, None) if code is FORMAT else (3, 64))


def by_precis(raw: str) -> tuple[str, str] | None:
    try:
        return PRESERVED.enforce(raw), MAPPED.enforce(raw)
    except UnicodeEncodeError:
        return None


@given(texts)
@example("\u017fara")  # matches an s if case is ignored
@example("a b")
def test_ascii_name_of_the_fast_path_is_valid_by_rfc_8265(raw: str) -> None:
    if is_ascii_name(raw):
        assert by_precis(raw) == (raw, raw.lower())


@given(texts)
def test_username_without_the_fast_path_is_the_same(raw: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = verdict(raw)
        patch.setattr(identity, "is_ascii_name", lambda _: False)
        assert verdict(raw) == fast


def verdict(raw: str) -> object:
    try:
        return Username.parse(raw)
    except InvalidValue as error:
        return error.violation


@pytest.mark.parametrize(
    ("part", "forms"),
    [
        ("@xn--bcher-kva.de", ["@bücher.de", "@xn--bcher-kva.de"]),
        ("@XN--BCHER-KVA.DE", ["@bücher.de", "@xn--bcher-kva.de"]),
        ("ada@xn--bcher-kva", ["ada@bücher", "ada@xn--bcher-kva"]),
        ("xn--bcher-kva.xn--p1ai", ["bücher.рф", "xn--bcher-kva.xn--p1ai"]),
        ("xn--bch", ["xn--bch"]),  # a part of a label
        ("myxn--bcher-kva.de", ["myxn--bcher-kva.de"]),
        ("xn--\U0001f600", ["xn--\U0001f600"]),
    ],
)
def test_part_of_an_internationalised_domain_has_its_unicode_form_too(
    part: str, forms: list[str]
) -> None:
    assert part_keys(part) == forms


def keys_of(parse: type[Username] | type[Email], raw: str) -> set[str]:
    """Returns the keys of a text and of its valid case and normalization variants."""
    cases = (raw.upper(), raw.lower(), raw.title(), raw.swapcase())
    # Not every letter survives upper case: the dotless ı becomes an i, which is no variant of it
    # (Unicode 3.13, D144: default caseless matching).
    variants = {raw, *(case for case in cases if case.casefold() == raw.casefold())}
    variants |= {unicodedata.normalize(form, t) for form in ("NFC", "NFD") for t in variants}
    keys = set()
    for variant in variants:
        try:
            keys.add(parse.parse(variant).key)
        except InvalidValue:
            continue
    return keys


@given(st.text(min_size=3, max_size=64))
def test_variants_of_a_username_have_one_key(raw: str) -> None:
    assert len(keys_of(Username, raw)) <= 1


@given(st.text(st.characters(categories=["L", "N"]), min_size=3, max_size=20))
def test_variants_of_letters_have_one_key(raw: str) -> None:
    assert len(keys_of(Username, raw)) <= 1
    assert len(keys_of(Email, f"{raw}@example.com")) <= 1


@given(st.text(max_size=80))
def test_valid_value_is_parsed_to_itself(raw: str) -> None:
    for parse in (Username.parse, Email.parse):
        try:
            value = parse(raw)
        except InvalidValue:
            continue
        assert parse(value.text) == value
