"""validationRules: what a form can check, compared with the validators."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.client import Client
from users import text
from users.email_address import Email
from users.errors import ErrorCode
from users.field_rules import TEXT_RULES, Normalisation
from users.identity import Username
from users.text import InvalidValue

PARSERS: dict[str, Callable[[str], Any]] = {
    "username": Username.parse,
    "email": Email.parse,
    "display_name": text.display_name,
    "external_id": text.external_id,
    "reason": text.reason,
}
RULES = """{ validationRules {
  input field required nullable min max pattern normalisation } }"""


async def test_rules_name_each_text_of_each_input(client: Client) -> None:
    rules = await client.ask(RULES)
    found = {(rule["input"], rule["field"]): rule for rule in rules}
    assert len(found) == len(rules) == 5 + 5 + 5 + 2 + 2 + 2 + 1
    assert found["CreateUserInput", "username"] == {
        "input": "CreateUserInput",
        "field": "username",
        "required": True,
        "nullable": False,
        "min": 3,
        "max": 64,
        "pattern": r"^\S+$",
        "normalisation": "USERNAME",
    }
    presence = {key: (rule["required"], rule["nullable"]) for key, rule in found.items()}
    assert presence["UpdateUserInput", "email"] == (False, False)
    assert presence["UpdateUserInput", "displayName"] == (False, True)
    assert presence["EraseUserInput", "reason"] == (True, False)
    assert presence["DeleteUserInput", "idempotencyKey"] == (False, True)
    assert presence["BulkUsersInput", "idempotencyKey"] == (False, True)


@pytest.mark.parametrize("field", PARSERS)
@given(raw=st.text(max_size=250) | st.emails() | st.from_regex(r"\S{1,70}", fullmatch=True))
def test_rule_accepts_what_the_validator_accepts(field: str, raw: str) -> None:
    try:
        PARSERS[field](raw)
    except InvalidValue:
        return
    rule = TEXT_RULES[field]
    stored = raw if rule.normalisation is Normalisation.NONE else unicodedata.normalize("NFC", raw)
    if rule.normalisation is Normalisation.TRIMMED_NFC:
        stored = stored.strip()
    assert rule.min <= len(stored) <= rule.max
    assert rule.pattern is None or re.search(rule.pattern, raw)


@pytest.mark.parametrize("field", [field for field in PARSERS if field != "email"])
def test_lengths_of_a_rule_are_those_of_the_validator(field: str) -> None:
    rule, parse = TEXT_RULES[field], PARSERS[field]
    parse("é" * rule.min)
    parse("é" * rule.max)
    for raw, code in (
        ("é" * (rule.min - 1), ErrorCode.TOO_SHORT),
        ("é" * (rule.max + 1), ErrorCode.TOO_LONG),
    ):
        with pytest.raises(InvalidValue) as error:
            parse(raw)
        violation = error.value.violation
        assert (violation.code, violation.min, violation.max) == (code, rule.min, rule.max)
