"""Values that make libraries raise, and the texts that must not appear in a response."""

import json
import re
from typing import Any

from graph.api.errors import MAX_MESSAGE

# Messages of Python and of the libraries, and Python's notation of values.
FOREIGN = re.compile(
    r"sys\.|int_max|limit \(4300|encountered error|Traceback|codec|byte 0x|at position|Expecting "
    r"|\b(None|True|False|Undefined|NoneType)\b|\w(Error|Exception)\b|recursion|invalid literal"
    r"|Invalid base64|unhashable|\w+ instance>|<class|Maybe\[|\.py\b"
    r"|(?i:pydantic|orjson|asyncpg|sqlite|sqlalchemy|starlette|uvicorn|websockets|strawberry)"
)
LONG = "9" * 4301
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**63, 10**4299, "", "x", "x" * 500, "\0"),
    *([], [None], [1, "x"], [[None, True, {"x": None}]], {}, {"a": None, "b": [True]}),
    {"id": None, "username": True, "operations": [None]},
    {"field": "NOPE", "direction": 1},
]
TYPES = {
    "Int": "users(first: $v) { totalCount }",
    "Int!": "users(first: $v) { totalCount }",
    "ID!": "user(id: $v) { id }",
    "[ID!]!": "nodes(ids: $v) { id }",
    "BigInt!": "userBy(by: { databaseId: $v }) { id }",
    "UserBy!": "userBy(by: $v) { id }",
    "String": "users(search: $v) { totalCount }",
    "DateTime": "users(filter: { createdAt: { gte: $v } }) { totalCount }",
    "[UserStatus!]": "users(filter: { status: $v }) { totalCount }",
    "UserFilter": "users(filter: $v) { totalCount }",
    "[UserOrder!]": "users(orderBy: $v) { totalCount }",
    "Boolean!": "__typename @skip(if: $v)",
    "CreateUserInput!": "createUser(input: $v) { errors { code } }",
    "UpsertUserInput!": "upsertUser(input: $v) { errors { code } }",
    "BulkUsersInput!": "bulkUsers(input: $v) { errors { code } }",
}


def document_with_variable(type_: str) -> str:
    field = TYPES[type_]
    kind = "mutation" if type_.endswith("Input!") else "query"
    return f"{kind} ($v: {type_}) {{ {field} }}"


def errors_of(text: str) -> list[Any]:
    """Returns the errors of a response after checking its whole text."""
    errors = json.loads(text).get("errors", [])
    for error in errors:
        assert FOREIGN.search(error["message"]) is None, error
        assert len(error["message"]) <= MAX_MESSAGE
        assert error["extensions"]["code"] != "INTERNAL_ERROR"
    assert FOREIGN.search(text) is None
    return list(errors)
