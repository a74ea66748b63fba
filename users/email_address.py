"""E-mail addresses (RFC 5321, RFC 6531), validated and normalised with email-validator."""

import re
from dataclasses import dataclass
from typing import Final

import idna
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from email_validator.rfc_constants import (
    CASE_INSENSITIVE_MAILBOX_NAMES,
    DNS_LABEL_LENGTH_LIMIT,
    DOMAIN_MAX_LENGTH,
    LOCAL_PART_MAX_LENGTH,
)

from db.models import EMAIL_LENGTH, FOLDED_GROWTH
from users.errors import ErrorCode
from users.text import InvalidValue, check_length, check_size, fold

EMAIL_PATTERN: Final = r"^[^\s@]+@[^\s@]+$"
_ASCII: Final = re.compile(
    r"([a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*)@((?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+([a-z]+))", re.IGNORECASE
)
_SPECIAL_USE: Final = frozenset(SPECIAL_USE_DOMAIN_NAMES) - {"test"}
_SPECIAL_USE_TLDS: Final = frozenset(n.rpartition(".")[-1] for n in SPECIAL_USE_DOMAIN_NAMES)
_MAILBOXES: Final = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)


@dataclass(frozen=True, slots=True)
class Email:
    """An address of at most 254 bytes in UTF-8. Deliverability is not checked."""

    text: str
    key: str

    @classmethod
    def parse(cls, raw: str) -> "Email":
        check_size("email", raw, 1, EMAIL_LENGTH)
        if parts := parse_ascii(raw):
            local, domain = parts
            return cls(f"{local}@{domain}", f"{local.lower()}@{domain}")
        if _has_too_long_label(raw):
            raise _invalid(raw)
        try:
            # `test_environment` allows domains under .test.
            valid = validate_email(
                raw, check_deliverability=False, test_environment=True, strict=True
            )
        except (EmailNotValidError, UnicodeError):
            raise _invalid(raw) from None
        # IDNA has already normalised the domain. Unlike `fold`, it distinguishes ß from ss.
        key = f"{fold(valid.local_part)}@{valid.domain}"
        check_length("email", valid.normalized, 1, EMAIL_LENGTH)
        if len(key) > EMAIL_LENGTH * FOLDED_GROWTH:
            raise _invalid(raw)
        return cls(valid.normalized, key)


def parse_ascii(raw: str) -> tuple[str, str] | None:
    """Return the local part and the lower-case domain of an ordinary ASCII address.

    This is the fast path of `Email.parse` (ADR 23), with the same result as the library. None means
    that the library decides.
    """
    found = raw.isascii() and _ASCII.fullmatch(raw)
    if not found:
        return None
    local, domain, last = found[1], found[2].lower(), found[3].lower()
    if len(local) > LOCAL_PART_MAX_LENGTH or len(domain) > DOMAIN_MAX_LENGTH:
        return None
    if last in _SPECIAL_USE_TLDS or local.lower() in _MAILBOXES:
        return None
    if any(len(label) > DNS_LABEL_LENGTH_LIMIT for label in domain.split(".")):
        return None
    return local, domain


def _has_too_long_label(address: str) -> bool:
    # The library checks this too, but only after encoding the label. Encoding takes time quadratic
    # in the length: 5 ms for 240 characters. An encoded label is never shorter than the original.
    domain = address.rpartition("@")[2]
    if domain.isascii() or len(domain) > DOMAIN_MAX_LENGTH:
        return False
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError:
        return False  # the library rejects it
    return any(len(label) > DNS_LABEL_LENGTH_LIMIT for label in mapped.split("."))


def _invalid(raw: str) -> InvalidValue:
    return InvalidValue("email", ErrorCode.INVALID_FORMAT, _fault(raw), pattern=EMAIL_PATTERN)


def _fault(raw: str) -> str:
    local, _, domain = raw.rpartition("@")
    name = domain.lower()
    last = name.rpartition(".")[2]
    if not local or not domain:
        return "Must be an e-mail address such as name@example.com."
    if len(local) > LOCAL_PART_MAX_LENGTH:
        return f"The part before the @ must have at most {LOCAL_PART_MAX_LENGTH} characters."
    if len(domain) > DOMAIN_MAX_LENGTH or any(
        len(label) > DNS_LABEL_LENGTH_LIMIT for label in domain.split(".")
    ):
        return (
            f"The part after the @ must have at most {DOMAIN_MAX_LENGTH} characters, and "
            f"{DNS_LABEL_LENGTH_LIMIT} between two dots."
        )
    if len(raw.encode(errors="surrogatepass")) > EMAIL_LENGTH:
        return f"Must have at most {EMAIL_LENGTH} bytes in UTF-8."
    if last in _SPECIAL_USE:
        return f"Domains under .{last} are reserved and have no addresses (RFC 6761)."
    if "." not in domain.rstrip("."):
        return "The part after the @ needs a dot, as in example.com."
    if any(character.isspace() for character in raw):
        return "An e-mail address cannot contain spaces."
    if ".." in raw:
        return "An e-mail address cannot contain two consecutive dots."
    return "Must be an e-mail address such as name@example.com."
