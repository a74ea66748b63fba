"""Validates and normalises display names, reasons and external ids.

ValueError
└── InvalidValue    a value that violates a rule
"""

import unicodedata
from typing import Final

from db.models import DISPLAY_NAME_LENGTH, EXTERNAL_ID_LENGTH, REASON_LENGTH
from users.errors import ErrorCode, FieldViolation

# Embeddings, overrides and isolates. They can display a text in a misleading order (UTS 55).
_BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_BREAKS: Final = frozenset("\u2028\u2029")
# Noncharacters (Unicode 23.7): this range, and the last two code points of every plane.
_NONCHARACTERS: Final = range(0xFDD0, 0xFDF0)
_PLANE_END: Final = 0xFFFE
_VISIBLE: Final = frozenset("LNPS")
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # letters and symbols without a glyph
_DECOMPOSED_GROWTH: Final = 4  # maximum number of characters in an NFD decomposition
_NOT_TEXT: Final = frozenset({"Cc", "Cs"})


class InvalidValue(ValueError):
    """A value that violates a rule. `violation` has the details."""

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


def display_name(raw: str) -> str:
    """Parse one line of 1 to 200 characters."""
    return _line("display_name", raw, DISPLAY_NAME_LENGTH)


def reason(raw: str) -> str:
    """Parse one line of 1 to 500 characters."""
    return _line("reason", raw, REASON_LENGTH)


def external_id(raw: str) -> str:
    """Parse the user's key in another system: 1 to 255 characters, stored unchanged."""
    check_length("external_id", raw, 1, EXTERNAL_ID_LENGTH)
    _check_readable("external_id", raw)
    return raw


def fold(text: str) -> str:
    """Map texts that differ only in case, width or composition to one form (Unicode 3.13, D146)."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


def check_size(field: str, raw: str, shortest: int, longest: int) -> None:
    """Check the length of a text in NFC, the stored form."""
    # Texts that are far too long are rejected without normalisation.
    if len(raw) <= longest * _DECOMPOSED_GROWTH:
        raw = unicodedata.normalize("NFC", raw)
    check_length(field, raw, shortest, longest)


def check_length(field: str, text: str, shortest: int, longest: int) -> None:
    if len(text) < shortest:
        message = f"Must have at least {shortest} characters." if text else "Must not be empty."
        raise InvalidValue(field, ErrorCode.TOO_SHORT, message, min=shortest, max=longest)
    if len(text) > longest:
        message = f"Must have at most {longest} characters."
        raise InvalidValue(field, ErrorCode.TOO_LONG, message, min=shortest, max=longest)


def _line(field: str, raw: str, longest: int) -> str:
    """Parse one line. Spaces around it are removed, and do not count."""
    if len(raw) > longest * _DECOMPOSED_GROWTH:
        check_length(field, raw, 1, longest)
    _check_readable(field, raw)
    text = unicodedata.normalize("NFC", raw).strip()
    check_length(field, text, 1, longest)
    if not any(unicodedata.category(c)[0] in _VISIBLE and c not in _FILLERS for c in text):
        raise InvalidValue(
            field, ErrorCode.INVALID_FORMAT, "Must contain at least one visible character."
        )
    return text


def _is_noncharacter(code_point: int) -> bool:
    return code_point in _NONCHARACTERS or code_point & 0xFFFE == _PLANE_END


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
