"""What makes the schema a subgraph of Apollo Federation 2 (`ROSTER_FEDERATION`).

`FederatedSchema` in `graph/execution/schema.py` adds these fields and directives to the schema.
"""

from collections.abc import Iterator
from typing import Annotated, Final

import strawberry
from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
)
from strawberry.federation.schema_directives import Inaccessible, Key, Link, Shareable
from strawberry.federation.types import FieldSet, LinkImport
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField
from strawberry.types.unset import UNSET

from graph.api.context import GraphInfo
from graph.api.entities import KEYS, MAX_REPRESENTATIONS, find_entities
from graph.api.field_costs import ROOT_FIELD, ids
from graph.api.selected_fields import names_below
from graph.api.types.user import User
from graph.api.types.user_event import UserEvent
from graph.strawberry_adapter import Representation, raw_info

# The Guild's composition rejects Strawberry's default, 2.11.
VERSION: Final = "2.9"
LINK: Final = Link(
    url=f"https://specs.apollo.dev/federation/v{VERSION}",
    import_=[LinkImport(name) for name in ("@inaccessible", "@key", "@shareable")],
)
_SHAREABLE_FIELDS: Final = ("node", "nodes")

_Entity = Annotated[
    User | UserEvent,
    strawberry.union("_Entity", description="The types that other subgraphs can refer to."),
]


@strawberry.type(name="_Service", description="The subgraph that this server is.")
class Service:
    sdl: str = strawberry.field(description="The schema of the subgraph, with its directives.")


@strawberry.type
class _GatewayFields:
    @strawberry.field(
        name="_entities",
        metadata=ids("representations", MAX_REPRESENTATIONS),
        description="Entities by their keys, in the order asked for; null where there is none. "
        f"For gateways, at most {MAX_REPRESENTATIONS}.",
    )
    async def entities(
        self,
        info: GraphInfo,
        representations: Annotated[
            list[Representation],
            strawberry.argument(
                description="Objects with `__typename` and exactly one key, at most "
                f"{MAX_REPRESENTATIONS}."
            ),
        ],
    ) -> list[_Entity | None]:
        return await find_entities(info.context, representations, names_below(raw_info(info)))

    @strawberry.field(
        name="_service", metadata=ROOT_FIELD, description="This subgraph, for gateways."
    )
    def service(self, info: GraphInfo) -> Service:
        return Service(sdl=info.schema.as_str())


_DEFINITION: Final[StrawberryObjectDefinition] = _GatewayFields.__strawberry_definition__  # type: ignore[attr-defined]
GATEWAY_FIELDS: Final[list[StrawberryField]] = _DEFINITION.fields


def directives(
    schema: GraphQLSchema,
) -> Iterator[tuple[GraphQLNamedType | GraphQLField, list[object]]]:
    """Yield the elements of the schema that have directives in a federated graph."""
    for name, keys in KEYS.items():
        yield schema.type_map[name], [_key(field) for field in keys]
    yield schema.type_map["PageInfo"], [Shareable()]
    query = schema.type_map["Query"]
    assert isinstance(query, GraphQLObjectType)
    for name in _SHAREABLE_FIELDS:
        yield query.fields[name], [Shareable()]
    # `query` of the payloads. The Guild's composition does not let a gateway continue from there in
    # another subgraph, and rejects the graph.
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType):
            for output in type_.fields.values():
                if get_named_type(output.type) is query:
                    yield output, [Inaccessible()]


def _key(field: str) -> Key:
    return Key(fields=FieldSet(field), resolvable=UNSET)
