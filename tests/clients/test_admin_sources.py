"""What the example page writes by hand matches the schema."""

import re

import pytest
from graphql import GraphQLEnumType

from graph.cli.cache_types import cache_types
from tests.support.admin_page import FOLDER
from tests.support.schema import CORE

DOCUMENTS = (FOLDER / "src" / "documents.ts").read_text()
CLIENT = (FOLDER / "src" / "client.ts").read_text()


@pytest.mark.parametrize(
    ("type_name", "enum"), [("Status", "UserStatus"), ("Action", "UserAction"), ("Scope", "Scope")]
)
def test_union_has_the_values_of_the_enum(type_name: str, enum: str) -> None:
    [union] = re.findall(rf"^export type {type_name} = (.+)$", DOCUMENTS, re.MULTILINE)
    type_ = CORE.get_type(enum)
    assert isinstance(type_, GraphQLEnumType)
    assert re.findall(r'"(\w+)"', union) == list(type_.values)


def test_cache_knows_all_types_of_errors() -> None:
    [names] = re.findall(r"UserError: \[([^]]+)\]", CLIENT)
    assert re.findall(r'"(\w+)"', names) == cache_types(CORE)["possibleTypes"]["UserError"]
