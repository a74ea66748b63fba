"""Conditions of a search on one word or text.

PostgreSQL evaluates them with the trigram indexes of the keys (`db.models`), SQLite for each row.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Dialect,
    String,
    TypeDecorator,
    and_,
    case,
    false,
    literal,
    or_,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from db.filters import (
    SEARCHED,
    Condition,
    any_key_contains,
    containing,
    count_letters,
    has_trigram,
    indexed_value,
    of_a_value,
    starts_with,
)
from db.models import USER_KEYS
from db.unspaced import has_unspaced, is_unspaced, spaced, spaced_column

_BEFORE_WORDS: Final = "\n ._@+'(-"
_CLASS: Final = f"[{_BEFORE_WORDS}]"


def is_found_inside(word: str) -> bool:
    return has_trigram(word) or is_unspaced(word)


def any_form(test: Callable[[str], Condition], forms: Sequence[str]) -> Condition:
    return or_(*map(test, forms))


def is_a_key(text: str) -> Condition:
    return or_(*(of_a_value(column, indexed_value(column) == text) for column in SEARCHED))


def begins_a_key(text: str) -> Condition:
    return or_(*(starts_with(column, text) for column in SEARCHED))


def matches(word: str) -> Condition:
    if not is_found_inside(word):
        return begins_a_word(word)
    if has_trigram(word):
        return any_key_contains(word)
    return _ContainsUnspaced(USER_KEYS, literal(word, _Unspaced()))


def begins_a_word(word: str) -> Condition:
    # LIKE takes a fraction of the time, and excludes most rows of a scan.
    begins = and_(
        _without_index(any_key_contains(word)),
        _BeginsAWord(USER_KEYS, literal(word, _Beginning())),
    )
    return begins if count_letters(word) else _without_index(begins)


class _BeginsAWord(FunctionElement[bool]):
    """True if a word of the keys begins with a text: a regular expression, or GLOB on SQLite.

    PostgreSQL looks up the expression's trigrams, which include the beginnings of words, in one
    scan of the index. SQLite has no regular expressions.
    """

    type = Boolean()
    inherit_cache = True


class _Beginning(TypeDecorator[str]):
    """A text as the pattern of `_BeginsAWord`."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str:
        if dialect.name == "sqlite":
            return f"*{_CLASS}" + re.sub(r"([*?\[])", r"[\1]", value or "") + "*"
        return f"(?:^|{_CLASS})" + re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", value or "")


@compiles(_BeginsAWord, "postgresql")
def _matches_expression(element: _BeginsAWord, compiler: Any, **options: Any) -> str:
    keys, pattern = (compiler.process(part, **options) for part in element.clauses)
    return f"({keys}) ~ {pattern}"


@compiles(_BeginsAWord, "sqlite")
def _matches_glob(element: _BeginsAWord, compiler: Any, **options: Any) -> str:
    keys, pattern = (compiler.process(part, **options) for part in element.clauses)
    return f"(' ' || {keys}) GLOB {pattern}"


class _ContainsUnspaced(FunctionElement[bool]):
    """True if the keys contain a text in a script without spaces (`db.unspaced`)."""

    type = Boolean()
    inherit_cache = True


class _Unspaced(TypeDecorator[str]):
    """A text as the pattern of `_ContainsUnspaced`."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str:
        text = value or ""
        return containing(text if dialect.name == "sqlite" else spaced(text))


@compiles(_ContainsUnspaced, "postgresql")
def _contains_spaced(element: _ContainsUnspaced, compiler: Any, **options: Any) -> str:
    keys, pattern = element.clauses
    found = and_(has_unspaced(keys), spaced_column(keys).like(pattern, escape="/"))
    return f"({compiler.process(found, **options)})"


@compiles(_ContainsUnspaced, "sqlite")
def _contains(element: _ContainsUnspaced, compiler: Any, **options: Any) -> str:
    keys, pattern = element.clauses
    return f"({compiler.process(keys.like(pattern, escape='/'), **options)})"


def _without_index(condition: Condition) -> Condition:
    # PostgreSQL would read the whole trigram index for a text without a trigram.
    return case((condition, true()), else_=false())
