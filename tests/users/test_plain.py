"""What is seen to be right at once is what the libraries say of it, to the letter."""

import string
import unicodedata

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st
from precis_i18n import get_profile

from users import plain
from users.identity import Email, InvalidValue, Username, fold

PRESERVED, MAPPED = get_profile("UsernameCasePreserved"), get_profile("UsernameCaseMapped")
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


def by_precis(raw: str) -> tuple[str, str] | None:
    try:
        return PRESERVED.enforce(raw), MAPPED.enforce(raw)
    except UnicodeEncodeError:
        return None


@given(texts)
@example("\u017fara")  # which ignoring case takes for an s
@example("a b")
def test_a_plain_name_is_one_by_rfc_8265(raw: str) -> None:
    if plain.is_name(raw):
        assert by_precis(raw) == (raw, raw.lower())


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
def test_a_plain_address_is_one_by_the_library(raw: str) -> None:
    found = plain.address(raw)
    if found and len(raw) <= 254:  # as `Email` sees to first
        assert by_email_validator(raw) == found


@given(addresses)
def test_a_way_that_is_never_plain_leads_to_the_same(raw: str) -> None:
    """For names and addresses both, with the faults that are told."""
    with pytest.MonkeyPatch.context() as patch:
        quick = [verdict(kind, raw) for kind in (Username, Email)]
        patch.setattr(plain, "is_name", lambda _: False)
        patch.setattr(plain, "address", lambda _: None)
        assert [verdict(kind, raw) for kind in (Username, Email)] == quick


def verdict(kind: type[Username | Email], raw: str) -> object:
    try:
        return kind.parse(raw)
    except InvalidValue as error:
        return error.violation


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("Ada.Love+x@Mail.Example.com", ("Ada.Love+x", "mail.example.com")),
        ("a@x-1.co", ("a", "x-1.co")),
    ],
)
def test_most_addresses_are_plain(raw: str, found: tuple[str, str]) -> None:
    assert plain.address(raw) == found


@pytest.mark.parametrize("code_points", [range(0x80), range(0x80, 0x3000)])
def test_folding_is_what_unicode_says(code_points: range) -> None:
    for character in map(chr, code_points):
        text = f"x{character}Y"
        once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
        assert fold(text) == unicodedata.normalize("NFKC", once.casefold())
