"""Usernames, and the keys by which users are looked up.

Each unique value has a display form and a key. Variants in case and Unicode form have the same key.
The unique indexes are on the keys.
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
    """Which e-mail addresses are allowed as usernames: the user's own, any, or none.

    If a service accepts usernames and addresses at sign-in, a username that is another user's
    address is ambiguous.
    """

    OWN = "own"
    ANY = "any"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Username:
    """A name of 3 to 64 characters (RFC 8265): letters, digits and printable ASCII, no spaces."""

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
        """Raise InvalidValue if the name is reserved."""
        if _ERASED_NAME.fullmatch(self.key):
            message = "This name is reserved for erased users."
            raise InvalidValue("username", ErrorCode.RESERVED, message)


def is_ascii_name(raw: str) -> bool:
    """Return whether RFC 8265 accepts a name unchanged (RFC 8264, 4.2: printable ASCII).

    This is the fast path of `Username.parse` (ADR 23).
    """
    return _ASCII.fullmatch(raw) is not None


# The key functions return None for a value that no user can have.
def username_key(raw: str) -> str | None:
    return _or_none(lambda: Username.parse(raw).key)


def email_key(raw: str) -> str | None:
    return _or_none(lambda: Email.parse(raw).key)


def external_id_key(raw: str) -> str | None:
    return _or_none(lambda: external_id(raw))


def part_keys(raw: str) -> list[str]:
    """Return the forms that a substring can have in keys.

    The domain of an e-mail key is not folded. An internationalised domain is in Unicode form.
    """
    forms = {fold(raw), unicodedata.normalize("NFC", raw).lower()}
    if "xn--" in raw.lower():
        forms.add(_A_LABEL.sub(_u_label, raw.lower()))
    return sorted(forms)


def erased_name(user_id: int) -> str:
    """Return the username of an erased user, which is also its key. It is reserved."""
    return f"erased-{user_id}"


def erased_email(user_id: int) -> str:
    """Return the address and key of an erased user. It has no mailbox (RFC 2606)."""
    return f"{erased_name(user_id)}@erased.invalid"


def _u_label(found: re.Match[str]) -> str:
    try:
        return idna.decode(found[0])
    except (idna.IDNAError, UnicodeError):
        return found[0]  # not a complete label


def _or_none(parse: Callable[[], str]) -> str | None:
    try:
        return parse()
    except InvalidValue:
        return None
