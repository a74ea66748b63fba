"""Usernames, and the keys by which users are looked up.

Each unique value has two forms: the one that is shown, and a key that is equal for all variants in
case and Unicode form. The unique indexes are on the keys.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import idna
from precis_i18n import get_profile

from db.models import USERNAME_LENGTH
from users.email_address import Email
from users.errors import ErrorCode
from users.text import InvalidValue, check_length, check_size, external_id, fold

USERNAME_MIN_LENGTH: Final = 3
USERNAME_PATTERN: Final = r"^\S+$"
# RFC 8265 sections 3.3 and 3.4.
_CASE_MAPPED: Final = get_profile("UsernameCaseMapped")
_CASE_PRESERVED: Final = get_profile("UsernameCasePreserved")
_ASCII: Final = re.compile(r"[!-~]+")
_ERASED_NAME: Final = re.compile(r"erased-[0-9]+")
_A_LABEL: Final = re.compile(r"(?<![^@.])xn--[a-z0-9-]{1,59}(?![^.])", re.IGNORECASE)  # RFC 5890


class UsernameEmails(StrEnum):
    """Which usernames may be an e-mail address: the user's own, any, or none.

    A service that accepts either at sign-in would confuse two users otherwise.
    """

    OWN = "own"
    ANY = "any"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Username:
    """A name of 3 to 64 characters by RFC 8265: letters, digits and printable ASCII, no spaces."""

    text: str
    key: str

    @classmethod
    def parse(cls, raw: str) -> "Username":
        check_size("username", raw, USERNAME_MIN_LENGTH, USERNAME_LENGTH)
        if is_ascii_name(raw):
            return cls(raw, raw.lower())
        try:
            text = _CASE_PRESERVED.enforce(raw)
            mapped = _CASE_MAPPED.enforce(raw)
        except UnicodeEncodeError:
            raise InvalidValue(
                "username",
                ErrorCode.INVALID_FORMAT,
                "A username consists of letters, digits and symbols such as . _ - without spaces.",
                pattern=USERNAME_PATTERN,
            ) from None
        check_length("username", text, USERNAME_MIN_LENGTH, USERNAME_LENGTH)
        return cls(text, fold(mapped))

    def check_free(self) -> None:
        """Raise InvalidValue for a name that is reserved."""
        if _ERASED_NAME.fullmatch(self.key):
            message = "This name is reserved for erased users."
            raise InvalidValue("username", ErrorCode.RESERVED, message)


def is_ascii_name(raw: str) -> bool:
    """Return whether RFC 8265 accepts a name unchanged (RFC 8264, 4.2: printable ASCII).

    It is the fast path of `Username.parse` (ADR 23).
    """
    return _ASCII.fullmatch(raw) is not None


def username_key(raw: str) -> str | None:
    """Return the key of a username, or None if no user can have it."""
    return _or_none(lambda: Username.parse(raw).key)


def email_key(raw: str) -> str | None:
    """Return the key of an e-mail address, or None if no user can have it."""
    return _or_none(lambda: Email.parse(raw).key)


def external_id_key(raw: str) -> str | None:
    """Return the key of an external id, or None if no user can have it."""
    return _or_none(lambda: external_id(raw))


def part_keys(raw: str) -> list[str]:
    """Return the forms that a part of a text has in keys.

    An address's domain is not folded there, and an internationalised one has its Unicode form.
    """
    forms = {fold(raw), unicodedata.normalize("NFC", raw).lower()}
    if "xn--" in raw.lower():
        forms.add(_A_LABEL.sub(_u_label, raw.lower()))
    return sorted(forms)


def erased_name(user_id: int) -> str:
    """Return the username of an erased user, which is also its key. It is reserved."""
    return f"erased-{user_id}"


def erased_email(user_id: int) -> str:
    """Return the address, and key, of an erased user. It has no mailbox (RFC 2606)."""
    return f"{erased_name(user_id)}@erased.invalid"


def _u_label(found: re.Match[str]) -> str:
    try:
        return idna.decode(found[0])
    except (idna.IDNAError, UnicodeError):
        return found[0]  # a part of a label, or none


def _or_none(parse: Callable[[], str]) -> str | None:
    try:
        return parse()
    except InvalidValue:
        return None
