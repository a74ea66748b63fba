"""Global ids: opaque, one for each object, the same for ever."""

import base64
import binascii

_MAX_ID = 2**63 - 1
_FOR_URLS = bytes.maketrans(b"+/", b"-_")


class MalformedId(ValueError):
    """Not an id that this directory gives; the message says so to people."""


def encode(type_name: str, key: int) -> str:
    text = binascii.b2a_base64(b"%b:%d" % (type_name.encode(), key), newline=False)
    return text.translate(_FOR_URLS, b"=").decode()


def decode(text: str) -> tuple[str, int]:
    """Give the type's name and the key; only what `encode` gives is taken, to the letter."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        type_name, _, digits = base64.urlsafe_b64decode(padded).decode("ascii").partition(":")
        key = int(digits) if len(digits) < 20 else 0  # noqa: PLR2004 - 2**63 has 19 digits
    except (UnicodeError, binascii.Error, ValueError):
        raise MalformedId("This is not an id of this directory.") from None
    if not 0 < key <= _MAX_ID or encode(type_name, key) != text:
        raise MalformedId("This is not an id of this directory.")
    return type_name, key


def decode_as(type_name: str, text: str) -> int:
    """Give the key of an id that has to be of one type."""
    found, key = decode(text)
    if found != type_name:
        raise MalformedId(f"This is the id of a {found}, not of a {type_name}.")
    return key
