"""validationRules in JavaScript: a form accepts each text that the validators accept."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.graph.api.test_validation_rules import PARSERS
from tests.support.node import run_program
from users.field_rules import TEXT_RULES
from users.text import InvalidValue

_SCRIPT = Path(__file__).parent / "tools" / "rules.mjs"
# All letters of common scripts, symbols and spaces, and every 131st of the other code points.
_CHARACTERS = [chr(n) for n in (*range(0x3100), *range(0x3100, sys.maxunicode + 1, 131))]
_CHARACTERS += ["\ufeff", "\ufdd0", "\uffff", "\U000e0020", "\U0001f600", "\uff20", "\uff0e"]
# A form that finds these mistakes spares the user a request.
_MISTAKES = {
    "username": ["", "ab", "x" * 65, "ada king", " ada", "ada\n"],
    "email": ["", "ada", "ada@", "@example.com", "a@b@example.com", "a b@example.com", "a@b c.com"],
    "display_name": ["", " ", "x" * 201, "\U0001f600" * 201],
    "external_id": ["", "x" * 256, "e\u0301" * 128],
    "reason": ["", " \u3000", "x" * 501],
}


def lengths(longest: int) -> Iterator[str]:
    """Texts at the limits, whose characters have one or two UTF-16 units or two code points."""
    for character in ("x", "é", "e\u0301", "漢", "\U00020000", "\U0001f600", "👩\u200d💻"):
        for count in (0, 1, 2, 3, longest // 2, longest - 1, longest, longest + 1):
            yield character * count
            yield f" {character * count} "


def texts(field: str) -> Iterator[str]:
    yield from lengths(TEXT_RULES[field].max)
    if field != "email":
        for character in _CHARACTERS:
            yield f"ab{character}"
            yield f"{character}bcd"
        return
    for character in _CHARACTERS:
        yield f"a{character}b@example.com"
        yield f"ab@ex{character}mple.com"
    for local in (1, 64, 65):
        for last in (2, 60, 61, 62, 63):
            yield f"{'x' * local}@{'a' * 63}.{'b' * 63}.{'c' * last}"
            yield f"{'ü' * local}@{'a' * 63}.{'b' * last}.de"
            yield f"{'x' * local}@{'ü' * last}.de"
            yield f'"{"x " * local}"@example.com'


def is_accepted(parse: Callable[[str], Any], text: str) -> bool:
    try:
        parse(text)
    except InvalidValue:
        return False
    return True


async def checked_by_node(folder: Path, field: str, values: list[str]) -> list[bool]:
    rule = TEXT_RULES[field]
    given = {name: getattr(rule, name) for name in ("min", "max", "pattern", "normalisation")}
    table = folder / "table.json"
    table.write_text(json.dumps([{"rule": given, "texts": values}]))
    [answers] = json.loads(await run_program("node", str(_SCRIPT), str(table), cwd=folder))
    assert len(answers) == len(values)
    return list(answers)


@pytest.mark.parametrize("field", PARSERS)
async def test_form_accepts_each_text_that_the_validator_accepts(
    tmp_path: Path, field: str
) -> None:
    values = list(texts(field))
    accepted = [is_accepted(PARSERS[field], text) for text in values]
    assert 100 < sum(accepted) < len(values)
    shown = await checked_by_node(tmp_path, field, values)
    pattern = re.compile(TEXT_RULES[field].pattern or "")
    for text, is_valid, is_shown in zip(values, accepted, shown, strict=True):
        if is_valid:
            assert (is_shown, bool(pattern.search(text))) == (True, True), ascii(text)


@pytest.mark.parametrize("field", PARSERS)
async def test_form_finds_common_mistakes(tmp_path: Path, field: str) -> None:
    mistakes = _MISTAKES[field]
    assert not any(is_accepted(PARSERS[field], text) for text in mistakes)
    assert not any(await checked_by_node(tmp_path, field, mistakes))
