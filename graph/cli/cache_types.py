"""What normalised caches of clients need to know of the schema, as JSON."""

from typing import Any

from graphql import GraphQLObjectType, GraphQLSchema, is_abstract_type


def cache_types(schema: GraphQLSchema) -> dict[str, Any]:
    """Return `possibleTypes` for Apollo Client, and for each object type the field that is its key.

    The key is null for types without identity, which are stored as a part of their parent. Some of
    these have a field `id`, which names something else: `Actor.id` is the id of a user or service.
    """
    types = sorted(schema.type_map.values(), key=lambda type_: type_.name)
    node = schema.type_map["Node"]
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    return {
        "possibleTypes": {
            type_.name: sorted(possible.name for possible in schema.get_possible_types(type_))
            for type_ in types
            if is_abstract_type(type_)
        },
        "keys": {
            type_.name: "id" if node in type_.interfaces else None
            for type_ in types
            if isinstance(type_, GraphQLObjectType)
            and type_ not in roots
            and not type_.name.startswith("__")
        },
    }
