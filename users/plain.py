"""Plain ASCII names and addresses, as most are: what the libraries say of them, without asking.

Whatever isn't seen to be right here at once is for them to decide, and they decide the same.
"""

import re
from typing import Final

from email_validator import SPECIAL_USE_DOMAIN_NAMES
from email_validator.rfc_constants import (
    CASE_INSENSITIVE_MAILBOX_NAMES,
    DNS_LABEL_LENGTH_LIMIT,
    DOMAIN_MAX_LENGTH,
    LOCAL_PART_MAX_LENGTH,
)

# RFC 8264 section 4.2: of ASCII, an identifier has what is printed, and no space.
_NAME = re.compile(r"[!-~]+")
_ADDRESS = re.compile(
    r"([a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*)@((?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+([a-z]+))", re.IGNORECASE
)
_SPECIAL: Final = frozenset(name.rpartition(".")[-1] for name in SPECIAL_USE_DOMAIN_NAMES)
_MAILBOXES: Final = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)


def is_name(raw: str) -> bool:
    """Tell whether a username stands as it is, its key being the same in small letters."""
    return _NAME.fullmatch(raw) is not None


def address(raw: str) -> tuple[str, str] | None:
    """Give the local part and the domain, in small letters, of an address that is fine."""
    found = raw.isascii() and _ADDRESS.fullmatch(raw)
    if not found:
        return None
    local, domain, last = found[1], found[2].lower(), found[3].lower()
    if len(local) > LOCAL_PART_MAX_LENGTH or len(domain) > DOMAIN_MAX_LENGTH:
        return None
    if last in _SPECIAL or local.lower() in _MAILBOXES:
        return None
    if any(len(label) > DNS_LABEL_LENGTH_LIMIT for label in domain.split(".")):
        return None
    return local, domain
