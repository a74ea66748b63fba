"""Texts in scripts without spaces between words, and emoji.

Names in these scripts have few characters, and a search for one or two of them has no trigram. For
PostgreSQL's index they are therefore written with a space on each side of every such character:
then each is a word, and has trigrams of its own.
"""

import re
from typing import Any, Final

from sqlalchemy import ColumnElement, String, TextClause, func, text, true

# Symbols such as emoji, Thai to Lao, Burmese, Khmer, Chinese, Japanese and Korean. The escapes are
# those of Python and of PostgreSQL.
_CHARACTER: Final = (
    r"[\u2190-\u2bff\U0001f000-\U0001faff"
    r"\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\ua4cf\ua960-\ua97f"
    r"\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_PATTERN: Final = re.compile(f"({_CHARACTER})")
_SPACED: Final = r" \1 "


def is_unspaced(value: str) -> bool:
    return _PATTERN.search(value) is not None


def spaced(value: str) -> str:
    return _PATTERN.sub(_SPACED, value)


def has_unspaced(column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return `is_unspaced` as an expression of PostgreSQL."""
    # IS TRUE hides the operator from other trigram indexes, which would be read as a whole.
    return column.regexp_match(_literal(_CHARACTER)).is_(true())


def spaced_column(column: ColumnElement[str]) -> ColumnElement[Any]:
    """Return `spaced` as an expression of PostgreSQL."""
    arguments = map(_literal, (_PATTERN.pattern, _SPACED, "g"))
    return func.regexp_replace(column, *arguments, type_=String())


def _literal(value: str) -> TextClause:
    # Not a parameter, because the planner compares the expressions with those of the index.
    return text(f"'{value}'")
