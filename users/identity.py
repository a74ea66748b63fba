"""Usernames, e-mail addresses and the other texts of a user, as values: checked and normalised.

What is unique has two forms: the one that is shown, and a key that is the same for all its twins in
case and Unicode form, which the database's unique index decides on.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import idna
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from email_validator.rfc_constants import (
    DNS_LABEL_LENGTH_LIMIT,
    DOMAIN_MAX_LENGTH,
    LOCAL_PART_MAX_LENGTH,
)
from precis_i18n import get_profile

from db.models import (
    DISPLAY_NAME_LENGTH,
    EMAIL_LENGTH,
    EXTERNAL_ID_LENGTH,
    FOLDED_GROWTH,
    REASON_LENGTH,
    USERNAME_LENGTH,
)
from users import plain
from users.errors import ErrorCode, FieldViolation

USERNAME_MIN_LENGTH: Final = 3
USERNAME_PATTERN: Final = r"^\S+$"
EMAIL_PATTERN: Final = r"^[^\s@]+@[^\s@]+$"
# RFC 8265 sections 3.3 and 3.4.
_CASE_MAPPED = get_profile("UsernameCaseMapped")
_CASE_PRESERVED = get_profile("UsernameCasePreserved")
# Embeddings, overrides and isolates: they make a text read otherwise than it is (UTS 55).
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_BREAKS = frozenset("\u2028\u2029")
# Unicode 23.7: these, and the last two of every plane.
_NONCHARACTERS = range(0xFDD0, 0xFDF0)
_PLANE_END = 0xFFFE
_VISIBLE = frozenset("LNPS")
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # letters and signs that show nothing
_DECOMPOSED_GROWTH = 4  # no character decomposes (NFD) into more
_ERASED_NAME = re.compile(r"erased-[0-9]+")
_NOT_TEXT = frozenset({"Cc", "Cs"})
_SPECIAL_USE = frozenset(SPECIAL_USE_DOMAIN_NAMES) - {"test"}
_A_LABEL = re.compile(r"(?<![^@.])xn--[a-z0-9-]{1,59}(?![^.])", re.IGNORECASE)  # RFC 5890, 2.3.2.1


class UsernameEmails(StrEnum):
    """Which usernames may be an e-mail address: the user's own, any, or none.

    A service that lets people sign in by either would mix up two users otherwise.
    """

    OWN = "own"
    ANY = "any"
    NONE = "none"


class InvalidValue(ValueError):
    """A value that breaks a rule; `violation` says which."""

    def __init__(
        self,
        field: str,
        code: ErrorCode,
        message: str,
        *,
        min: int | None = None,
        max: int | None = None,
        pattern: str | None = None,
    ) -> None:
        super().__init__(message)
        self.violation = FieldViolation(
            code=code, message=message, field=field, min=min, max=max, pattern=pattern
        )


@dataclass(frozen=True, slots=True)
class Username:
    """A name of 3 to 64 characters by RFC 8265: letters, digits and printable ASCII, no spaces."""

    text: str
    key: str

    @classmethod
    def parse(cls, raw: str) -> "Username":
        _check_size("username", raw, USERNAME_MIN_LENGTH, USERNAME_LENGTH)
        if plain.is_name(raw):
            return cls(raw, raw.lower())
        try:
            text = _CASE_PRESERVED.enforce(raw)
            mapped = _CASE_MAPPED.enforce(raw)
        except UnicodeEncodeError:
            raise InvalidValue(
                "username",
                ErrorCode.INVALID_FORMAT,
                "A username is made of letters, digits and signs such as . _ - without spaces.",
                pattern=USERNAME_PATTERN,
            ) from None
        _check_length("username", text, USERNAME_MIN_LENGTH, USERNAME_LENGTH)
        return cls(text, fold(mapped))

    def check_free(self) -> None:
        """Raise InvalidValue for a name that nobody can be given."""
        if _ERASED_NAME.fullmatch(self.key):
            message = "This name is kept for users that were erased."
            raise InvalidValue("username", ErrorCode.RESERVED, message)


@dataclass(frozen=True, slots=True)
class Email:
    """An address by RFC 5321 and 6531, of at most 254 characters; whether it exists isn't asked."""

    text: str
    key: str

    @classmethod
    def parse(cls, raw: str) -> "Email":
        _check_size("email", raw, 1, EMAIL_LENGTH)
        if address := plain.address(raw):
            local, domain = address
            return cls(f"{local}@{domain}", f"{local.lower()}@{domain}")
        if _has_too_long_label(raw):
            raise _no_email(raw)
        try:
            # In a test environment names under .test are addresses like any other.
            valid = validate_email(
                raw, check_deliverability=False, test_environment=True, strict=True
            )
        except (EmailNotValidError, UnicodeError):
            raise _no_email(raw) from None
        # IDNA has made the domain one already, and to it ß and ss are two letters.
        key = f"{fold(valid.local_part)}@{valid.domain}"
        _check_length("email", valid.normalized, 1, EMAIL_LENGTH)
        if len(key) > EMAIL_LENGTH * FOLDED_GROWTH:
            raise _no_email(raw)
        return cls(valid.normalized, key)


def username_key(raw: str) -> str | None:
    """Give the key to look a username up by; None where no user can have it."""
    return _or_none(lambda: Username.parse(raw).key)


def email_key(raw: str) -> str | None:
    """Give the key to look an e-mail address up by; None where no user can have it."""
    return _or_none(lambda: Email.parse(raw).key)


def external_id_key(raw: str) -> str | None:
    """Give the key to look an external id up by; None where no user can have it."""
    return _or_none(lambda: external_id(raw))


def part_keys(raw: str) -> list[str]:
    """Return the forms that a part of a text has in keys.

    An address's domain is not folded there, and an internationalised one has its Unicode form.
    """
    forms = {fold(raw), unicodedata.normalize("NFC", raw).lower()}
    if "xn--" in raw.lower():
        forms.add(_A_LABEL.sub(_u_label, raw.lower()))
    return sorted(forms)


def _u_label(found: re.Match[str]) -> str:
    try:
        return idna.decode(found[0])
    except (idna.IDNAError, UnicodeError):
        return found[0]  # a part of a label, or none


def erased_name(user_id: int) -> str:
    """Give the username, and its key, of a user that was erased; nobody else can have it."""
    return f"erased-{user_id}"


def erased_email(user_id: int) -> str:
    """Give the address, and its key, of a user that was erased; none leads there (RFC 2606)."""
    return f"{erased_name(user_id)}@erased.invalid"


def display_name(raw: str) -> str:
    """One line for people to read, of 1 to 200 characters."""
    return _line("display_name", raw, DISPLAY_NAME_LENGTH)


def reason(raw: str) -> str:
    """One line that says why, of 1 to 500 characters."""
    return _line("reason", raw, REASON_LENGTH)


def external_id(raw: str) -> str:
    """Another system's key for the user, kept to the letter, of 1 to 255 characters."""
    _check_length("external_id", raw, 1, EXTERNAL_ID_LENGTH)
    _check_readable("external_id", raw)
    return raw


def _no_email(raw: str) -> InvalidValue:
    return InvalidValue("email", ErrorCode.INVALID_FORMAT, _email_fault(raw), pattern=EMAIL_PATTERN)


def _email_fault(raw: str) -> str:
    """Say why an address is rejected, as far as it can be seen without the library."""
    local, _, domain = raw.rpartition("@")
    name = domain.lower()
    last = name.rpartition(".")[2]
    if not local or not domain:
        return "An e-mail address looks like name@example.com."
    if len(local) > LOCAL_PART_MAX_LENGTH:
        return f"The part before the @ can have at most {LOCAL_PART_MAX_LENGTH} characters."
    if len(domain) > DOMAIN_MAX_LENGTH or any(
        len(label) > DNS_LABEL_LENGTH_LIMIT for label in domain.split(".")
    ):
        return (
            f"The part after the @ can have at most {DOMAIN_MAX_LENGTH} characters, and "
            f"{DNS_LABEL_LENGTH_LIMIT} between two dots."
        )
    if last in _SPECIAL_USE:
        return f"Domains under .{last} are reserved and have no addresses (RFC 6761)."
    if "." not in domain.rstrip("."):
        return "The part after the @ needs a dot, as in example.com."
    if any(character.isspace() for character in raw):
        return "An e-mail address has no spaces."
    if ".." in raw:
        return "An e-mail address has no two dots in a row."
    return "An e-mail address looks like name@example.com."


def _has_too_long_label(address: str) -> bool:
    """Whether a label of the domain is too long for DNS.

    The library checks this too, but only after encoding the label, which takes time quadratic in
    its length: 5 ms for 240 characters. An encoded label is never shorter than its characters.
    """
    domain = address.rpartition("@")[2]
    if domain.isascii() or len(domain) > DOMAIN_MAX_LENGTH:
        return False
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError:
        return False  # the library rejects it
    return any(len(label) > DNS_LABEL_LENGTH_LIMIT for label in mapped.split("."))


def _or_none(parse: Callable[[], str]) -> str | None:
    try:
        return parse()
    except InvalidValue:
        return None


def _line(field: str, raw: str, longest: int) -> str:
    _check_size(field, raw, 1, longest)
    _check_readable(field, raw)
    text = unicodedata.normalize("NFC", raw).strip()
    _check_length(field, text, 1, longest)
    if not any(unicodedata.category(c)[0] in _VISIBLE and c not in _FILLERS for c in text):
        raise InvalidValue(field, ErrorCode.INVALID_FORMAT, "There is nothing to be seen in this.")
    return text


def fold(text: str) -> str:
    """Give all twins in case, width and composition one form (Unicode 3.13, D146)."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


def _is_noncharacter(code_point: int) -> bool:
    return code_point in _NONCHARACTERS or code_point & 0xFFFE == _PLANE_END


def _check_size(field: str, raw: str, shortest: int, longest: int) -> None:
    """Check the length of a text as it will be kept; of one that is far too long, as it is."""
    if len(raw) <= longest * _DECOMPOSED_GROWTH:
        raw = unicodedata.normalize("NFC", raw)
    _check_length(field, raw, shortest, longest)


def _check_length(field: str, text: str, shortest: int, longest: int) -> None:
    if len(text) < shortest:
        message = f"This needs at least {shortest} characters." if text else "This is empty."
        raise InvalidValue(field, ErrorCode.TOO_SHORT, message, min=shortest, max=longest)
    if len(text) > longest:
        message = f"This can have at most {longest} characters."
        raise InvalidValue(field, ErrorCode.TOO_LONG, message, min=shortest, max=longest)


def _check_readable(field: str, text: str) -> None:
    if text.isascii() and text.isprintable():
        return
    for character in text:
        if (
            unicodedata.category(character) in _NOT_TEXT
            or _is_noncharacter(ord(character))
            or character in _BIDI_CONTROLS
            or character in _LINE_BREAKS
        ):
            message = f"The character U+{ord(character):04X} is not allowed here."
            raise InvalidValue(field, ErrorCode.INVALID_FORMAT, message)
