import string

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from users import email_address
from users.email_address import Email, parse_ascii
from users.errors import ErrorCode
from users.text import InvalidValue

FORMAT, SHORT, LONG = ErrorCode.INVALID_FORMAT, ErrorCode.TOO_SHORT, ErrorCode.TOO_LONG
texts = st.one_of(
    st.text(st.characters(max_codepoint=0x7F), max_size=70),
    st.text(max_size=70),
    st.text(st.sampled_from("aZ9._-@ ~\x7f\u017f\u212aé"), max_size=12),
)
words = st.text(st.sampled_from(string.ascii_letters + string.digits + "-._+"), max_size=66)
lasts = st.sampled_from(
    [
        "com",
        "COM",
        "de",
        "test",
        "local",
        "invalid",
        "onion",
        "arpa",
        "localhost",
        "c0m",
        "1",
        "x-y",
    ]
)
addresses = st.one_of(
    texts,
    st.builds("{}@{}.{}".format, words, words, lasts),
    st.builds(
        "{}@{}".format,
        st.sampled_from(["POSTMASTER", "Info", "a.b", "a..b", ".a", "ada", "x" * 64, "x" * 65]),
        st.one_of(words, st.builds("{}.{}".format, words, lasts)),
    ),
    st.builds("{}@{}".format, words, st.lists(words, min_size=1, max_size=5).map(".".join)),
)


LONG_DOMAIN = f"{'a' * 63}.{'b' * 58}."  # 123 characters


@pytest.mark.parametrize(
    "raw",
    [
        f"{'x' * 64}@{'a' * 63}.{'b' * 63}.{'c' * 61}",
        f"{'ü' * 64}@{LONG_DOMAIN}de",
    ],
)
def test_email_of_254_bytes_is_accepted_and_a_longer_one_is_not(raw: str) -> None:
    assert len(raw.encode()) == 254
    assert Email.parse(raw).text == raw
    with pytest.raises(InvalidValue):
        Email.parse(f"{raw}x")


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
def test_email_has_a_text_and_a_key(raw: str, text: str, key: str | None) -> None:
    assert Email.parse(raw) == Email(text, key or text)


def test_domains_that_fold_to_one_have_two_keys() -> None:
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
def test_invalid_email_is_rejected_with_its_code(raw: str, code: ErrorCode) -> None:
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
        ("a" * 65 + "@example.com", "The part before the @ must have at most 64 characters."),
        ("ü" * 65 + "@example.com", "The part before the @ must have at most 64 characters."),
        (
            f"ada@{'a' * 64}.com",
            "The part after the @ must have at most 253 characters, and 63 between two dots.",
        ),
        (f"{'ü' * 64}@{LONG_DOMAIN}x.de", "Must have at most 254 bytes in UTF-8."),
        ("ada@example", "The part after the @ needs a dot, as in example.com."),
        ("ada@exa mple.com", "An e-mail address cannot contain spaces."),
        ("ada..l@example.com", "An e-mail address cannot contain two consecutive dots."),
        ("ada", "Must be an e-mail address such as name@example.com."),
        ("ada@", "Must be an e-mail address such as name@example.com."),
        ("@example.com", "Must be an e-mail address such as name@example.com."),
    ],
)
def test_invalid_email_is_rejected_with_the_reason(raw: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Email.parse(raw)
    assert (caught.value.violation.code, caught.value.violation.message) == (
        ErrorCode.INVALID_FORMAT,
        message,
    )


def test_email_whose_key_outgrows_its_column_is_rejected() -> None:
    with pytest.raises(InvalidValue) as caught:
        Email.parse("\ufdfa" * 60 + "@example.com")  # one character that folds to eighteen
    assert caught.value.violation.code is FORMAT


def by_email_validator(raw: str) -> tuple[str, str] | None:
    try:
        found = validate_email(raw, check_deliverability=False, test_environment=True, strict=True)
    except (EmailNotValidError, UnicodeError):
        return None
    return found.local_part, found.domain


@given(addresses)
@example("POSTMASTER@example.com")
@example("a@example.local")
@example("a@ab--c.com")
@example("a@xn--fa-hia.de")
@example(f"a@{'x' * 64}.com")
@example("a@\u212aelvin.com")
def test_address_of_the_fast_path_is_the_same_by_the_library(raw: str) -> None:
    found = parse_ascii(raw)
    if found and len(raw) <= 254:  # `Email` checks the length first
        assert by_email_validator(raw) == found


@given(addresses)
def test_email_without_the_fast_path_is_the_same(raw: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = verdict(raw)
        patch.setattr(email_address, "parse_ascii", lambda _: None)
        assert verdict(raw) == fast


def verdict(raw: str) -> object:
    try:
        return Email.parse(raw)
    except InvalidValue as error:
        return error.violation


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("Ada.Love+x@Mail.Example.com", ("Ada.Love+x", "mail.example.com")),
        ("a@x-1.co", ("a", "x-1.co")),
    ],
)
def test_ordinary_address_takes_the_fast_path(raw: str, found: tuple[str, str]) -> None:
    assert parse_ascii(raw) == found
