import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users import identity
from users.errors import ErrorCode
from users.identity import Email, InvalidValue, Username, part_keys

FORMAT, SHORT, LONG = ErrorCode.INVALID_FORMAT, ErrorCode.TOO_SHORT, ErrorCode.TOO_LONG


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
def test_a_username_and_its_key(raw: str, text: str, key: str) -> None:
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
def test_a_wrong_username(raw: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidValue) as caught:
        Username.parse(raw)
    violation = caught.value.violation
    assert (violation.field, violation.code) == ("username", code)
    assert (violation.min, violation.max) == ((None, None) if code is FORMAT else (3, 64))


@pytest.mark.parametrize(
    ("raw", "text", "key"),
    [
        ("Ada@Example.COM", "Ada@example.com", "ada@example.com"),
        ("É@example.com", "É@example.com", "é@example.com"),
        ("e\u0301@example.com", "é@example.com", "é@example.com"),
        ("ａｄａ@example.com", "ａｄａ@example.com", "ada@example.com"),
        ("ada@ｅxample.com", "ada@example.com", "ada@example.com"),
        ("ada@bücher.example", "ada@bücher.example", None),
        ("ada@xn--bcher-kva.example", "ada@bücher.example", None),
        ("ada+roster@sub.example.test", "ada+roster@sub.example.test", None),
    ],
)
def test_an_email_and_its_key(raw: str, text: str, key: str | None) -> None:
    assert Email.parse(raw) == Email(text, key or text)


def test_two_domains_stay_two_where_two_letters_would_fold_into_one() -> None:
    assert Email.parse("ada@straße.example").key != Email.parse("ada@strasse.example").key


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", SHORT),
        ("a@" + "x." * 130 + "com", LONG),
        ("a" * 65 + "@example.com", FORMAT),
        ("ada", FORMAT),
        ("ada@", FORMAT),
        ("@example.com", FORMAT),
        ("ada@localhost", FORMAT),
        ("ada@@example.com", FORMAT),
        ("a..b@example.com", FORMAT),
        ("ada@example.com ", FORMAT),
        ("Ada <ada@example.com>", FORMAT),
        ("ada\x00@example.com", FORMAT),
        ("ada\u202e@example.com", FORMAT),
        ("ada\ud800@example.com", FORMAT),
        ("ada@[127.0.0.1]", FORMAT),
    ],
)
def test_a_wrong_email(raw: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidValue) as caught:
        Email.parse(raw)
    violation = caught.value.violation
    assert (violation.field, violation.code) == ("email", code)
    assert (violation.min, violation.max) == ((None, None) if code is FORMAT else (1, 254))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("admin@corp.local", "Domains under .local are reserved and have no addresses (RFC 6761)."),
        ("me@LOCALHOST", "Domains under .localhost are reserved and have no addresses (RFC 6761)."),
        ("a" * 65 + "@example.com", "The part before the @ can have at most 64 characters."),
        ("ü" * 65 + "@example.com", "The part before the @ can have at most 64 characters."),
        (
            f"ada@{'a' * 64}.com",
            "The part after the @ can have at most 253 characters, and 63 between two dots.",
        ),
        ("ada@example", "The part after the @ needs a dot, as in example.com."),
        ("ada@exa mple.com", "An e-mail address has no spaces."),
        ("ada..l@example.com", "An e-mail address has no two dots in a row."),
        ("ada", "An e-mail address looks like name@example.com."),
        ("ada@", "An e-mail address looks like name@example.com."),
        ("@example.com", "An e-mail address looks like name@example.com."),
    ],
)
def test_a_rejected_email_is_told_the_reason(raw: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Email.parse(raw)
    assert (caught.value.violation.code, caught.value.violation.message) == (
        ErrorCode.INVALID_FORMAT,
        message,
    )


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
def test_a_part_of_an_internationalised_domain_has_its_unicode_form_too(
    part: str, forms: list[str]
) -> None:
    assert part_keys(part) == forms


def test_an_email_whose_key_outgrows_its_column_is_refused() -> None:
    with pytest.raises(InvalidValue) as caught:
        Email.parse("\ufdfa" * 60 + "@example.com")  # one letter that stands for eighteen
    assert caught.value.violation.code is FORMAT


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  Ada  ", "Ada"),
        ("Zoe\u0308", "Zoë"),
        ("👩\u200d💻 Ada", "👩\u200d💻 Ada"),
        ("آدا\u200cلاولیس", "آدا\u200cلاولیس"),
        ("%_\\'\"", "%_\\'\""),
    ],
)
def test_a_display_name(raw: str, text: str) -> None:
    assert identity.display_name(raw) == text


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
def test_a_wrong_display_name(raw: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidValue) as caught:
        identity.display_name(raw)
    assert (caught.value.violation.field, caught.value.violation.code) == ("display_name", code)


def test_an_external_id_is_kept_to_the_letter() -> None:
    assert identity.external_id(" CN=Ada\u0301 ") == " CN=Ada\u0301 "


@pytest.mark.parametrize(("raw", "code"), [("", SHORT), ("x" * 256, LONG), ("x\x00", FORMAT)])
def test_a_wrong_external_id(raw: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidValue) as caught:
        identity.external_id(raw)
    assert (caught.value.violation.field, caught.value.violation.code) == ("external_id", code)
    assert identity.external_id_key(raw) is None


def keys_of(parse: type[Username] | type[Email], raw: str) -> set[str]:
    """Give the keys of a text and of its twins, as far as they can be used at all."""
    cases = (raw.upper(), raw.lower(), raw.title(), raw.swapcase())
    # Not every letter comes back from upper case: the dotless ı does as an i, which it is no twin
    # of (Unicode 3.13, D144: default caseless matching).
    twins = {raw, *(case for case in cases if case.casefold() == raw.casefold())}
    twins |= {unicodedata.normalize(form, t) for form in ("NFC", "NFD") for t in twins}
    keys = set()
    for twin in twins:
        try:
            keys.add(parse.parse(twin).key)
        except InvalidValue:
            continue
    return keys


@given(st.text(min_size=3, max_size=64))
def test_twins_of_a_username_share_its_key(raw: str) -> None:
    assert len(keys_of(Username, raw)) <= 1


@given(st.text(st.characters(categories=["L", "N"]), min_size=3, max_size=20))
def test_twins_of_letters_share_their_key(raw: str) -> None:
    assert len(keys_of(Username, raw)) <= 1
    assert len(keys_of(Email, f"{raw}@example.com")) <= 1


@given(st.text(max_size=80))
def test_any_text_is_taken_or_refused_and_what_is_taken_is_stable(raw: str) -> None:
    for parse in (Username.parse, Email.parse):
        try:
            value = parse(raw)
        except InvalidValue:
            continue
        assert parse(value.text) == value


@given(st.text(max_size=210))
def test_a_line_that_was_taken_is_taken_again_as_it_is(raw: str) -> None:
    try:
        text = identity.display_name(raw)
    except InvalidValue:
        return
    assert identity.display_name(text) == text
