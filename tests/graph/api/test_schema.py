from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    is_introspection_type,
    is_specified_scalar_type,
)

from tests.support.schema import CORE, SCHEMA

PRINTED = Path(__file__).parents[3] / "schema.graphql"


def test_committed_schema_matches_the_code() -> None:
    assert PRINTED.read_text() == SCHEMA.as_str() + "\n", "stale: run `make schema`"


def elements() -> Iterator[tuple[str, str | None]]:
    """Yields the name and description of every element of the schema."""
    yield "schema", CORE.description
    for type_ in CORE.type_map.values():
        if is_introspection_type(type_) or is_specified_scalar_type(type_):
            continue
        yield type_.name, type_.description
        match type_:
            case GraphQLEnumType():
                for name, value in type_.values.items():
                    yield f"{type_.name}.{name}", value.description
            case GraphQLInputObjectType():
                for name, field in type_.fields.items():
                    yield f"{type_.name}.{name}", field.description
            case GraphQLObjectType() | GraphQLInterfaceType():
                for name, output in type_.fields.items():
                    yield f"{type_.name}.{name}", output.description
                    for argument, details in output.args.items():
                        yield f"{type_.name}.{name}({argument})", details.description


@pytest.mark.parametrize(("name", "description"), list(elements()), ids=lambda v: str(v)[:60])
def test_every_schema_element_has_a_description(name: str, description: str | None) -> None:
    assert description, name
    assert description[0] in f"`{description[0].upper()}", "begins like a sentence"
    assert description.endswith((".", "`", ")")), "ends like a sentence"
