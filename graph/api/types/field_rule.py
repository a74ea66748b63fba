"""`Query.validationRules`: the rules for the texts of each input."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import strawberry
from strawberry.types import get_object_definition
from strawberry.utils.str_converters import to_camel_case

from graph.api.inputs.bulk import BulkUsersInput
from graph.api.inputs.mutations import (
    CreateUserInput,
    DeleteUserInput,
    EraseUserInput,
    UpdateUserInput,
    UpsertUserInput,
    UserTransitionInput,
)
from graph.api.types.enums import Normalisation
from users.field_rules import TEXT_RULES
from users.validation import REQUIRED_FIELDS

_INPUTS: Final[tuple[type[Any], ...]] = (
    CreateUserInput,
    UpdateUserInput,
    UpsertUserInput,
    UserTransitionInput,
    DeleteUserInput,
    EraseUserInput,
    BulkUsersInput,
)


@strawberry.type(
    description="The rule for a text of an input, for checks in a form. Every accepted value "
    "satisfies it; the server rejects some values that satisfy it too."
)
class FieldRule:
    input: str = strawberry.field(description="The input type, for example `CreateUserInput`.")
    field: str = strawberry.field(description="The field of the input, for example `username`.")
    required: bool = strawberry.field(description="Whether the field must be given.")
    nullable: bool = strawberry.field(description="Whether null is accepted.")
    min: int = strawberry.field(
        description="The minimum number of Unicode code points, as stored: in NFC unless "
        "`normalisation` is NONE, and without spaces around the text if it is TRIMMED_NFC."
    )
    max: int = strawberry.field(
        description="The maximum number of Unicode code points, counted like `min`. E-mail "
        "addresses have other limits, too: 64 before the `@`, and 254 bytes in UTF-8."
    )
    pattern: str | None = strawberry.field(
        description="A regular expression (ECMA 262, with the flag `u` or `v`) that every accepted "
        "value matches."
    )
    normalisation: Normalisation = strawberry.field(description="How the text is normalised.")


@cache
def field_rules() -> list[FieldRule]:
    return [rule for declared in _INPUTS for rule in _rules_of(declared)]


def _rules_of(declared: type[Any]) -> Iterator[FieldRule]:
    definition = get_object_definition(declared, strict=True)
    for field in definition.fields:
        if rule := TEXT_RULES.get(field.python_name):
            required = field.type is str
            yield FieldRule(
                input=definition.name,
                field=to_camel_case(field.python_name),
                required=required,
                nullable=not required and field.python_name not in REQUIRED_FIELDS,
                min=rule.min,
                max=rule.max,
                pattern=rule.pattern,
                normalisation=rule.normalisation,
            )
