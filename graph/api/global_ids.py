"""Global ids: opaque, unique for each object, and permanent.

ValueError
└── InvalidId    not an id of this directory; the message is for clients
"""

import binascii
from collections.abc import Callable
from functools import lru_cache

_MAX_ID = 2**63 - 1
_MAX_DIGITS = 19  # of `_MAX_ID`


class InvalidId(ValueError):
    pass


@lru_cache(maxsize=16)
def encoder(type_name: str) -> Callable[[int], str]:
    """Return a function that encodes ids of one type, whose name must consist of letters.

    Ids are base64url without padding, which for these characters equals standard base64.
    """
    template = b"%b:%%d" % type_name.encode()
    base64_of = binascii.b2a_base64

    def encode(key: int) -> str:
        return base64_of(template % key, newline=False).rstrip(b"=").decode()

    return encode


def encode(type_name: str, key: int) -> str:
    return encoder(type_name)(key)


def decode(text: str) -> tuple[str, int]:
    """Return the type's name and the key. Accepts only the exact output of `encode`."""
    try:
        # This skips invalid characters. The comparison with `encode` below rejects them.
        type_name, _, digits = binascii.a2b_base64(text + "==").decode("ascii").partition(":")
        key = int(digits) if len(digits) <= _MAX_DIGITS else 0
    except ValueError:
        raise InvalidId("This is not an id of this directory.") from None
    if not (type_name.isalpha() and 0 < key <= _MAX_ID) or encode(type_name, key) != text:
        raise InvalidId("This is not an id of this directory.")
    return type_name, key


def database_id(text: str) -> int | None:
    """Return the id in the database that a text consists of; None if it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        return None
    key = int(text)
    return key if 0 < key <= _MAX_ID else None


def decoder(type_name: str) -> Callable[[str], int]:
    """Return a function that decodes the ids of one type."""
    prefix = f"{type_name}:".encode()
    length = len(prefix)
    encode_key, bytes_of = encoder(type_name), binascii.a2b_base64

    def decode_key(text: str) -> int:
        try:
            raw = bytes_of(text + "==")
            if raw.startswith(prefix) and len(raw) < length + 20:
                key = int(raw[length:])
                if 0 < key <= _MAX_ID and encode_key(key) == text:
                    return key
        except ValueError:
            pass  # `decode` below raises the error
        found, key = decode(text)
        if found != type_name:
            raise InvalidId(f"This is the id of a {found}, not of a {type_name}.")
        return key

    return decode_key


encode_user, decode_user = encoder("User"), decoder("User")
