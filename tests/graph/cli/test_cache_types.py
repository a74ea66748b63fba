"""What normalised caches need to know of a schema."""

from graphql import build_schema

from graph.cli.cache_types import cache_types

SCHEMA = """
interface Node { id: ID! }
interface Problem { message: String! }
type User implements Node { id: ID! }
type Missing implements Problem { message: String! id: ID! }
type Unexpected implements Problem { message: String! }
union Found = User | Missing
input Filter { id: ID }
enum Kind { A }
type Query { node: Node problem: Problem found(filter: Filter): Found kind: Kind }
type Mutation { run: Query }
type Subscription { user: User }
"""


def test_possible_types_list_the_types_of_interfaces_and_unions() -> None:
    assert cache_types(build_schema(SCHEMA))["possibleTypes"] == {
        "Found": ["Missing", "User"],
        "Node": ["User"],
        "Problem": ["Missing", "Unexpected"],
    }


def test_only_types_that_implement_node_have_a_key() -> None:
    keys = cache_types(build_schema(SCHEMA))["keys"]
    assert keys == {"Missing": None, "Unexpected": None, "User": "id"}
