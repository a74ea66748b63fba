"""The same requests in each server's form: GraphQL with Roster's schema, or the floor's paths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from graph.api import global_ids

ALIASES: Final = 20
# Placeholder in a body for a number that is unique. The number has the same length.
MARK: Final = "@" * 10


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes = b""

    def line(self) -> bytes:
        """Return the request in the format that load.lua reads."""
        return b"\t".join((self.method.encode(), self.path.encode(), self.body)) + b"\n"


class Dialect:
    """GraphQL requests for Roster and for servers with its schema.

    `encode` converts a key to an id.
    """

    fields = "id username email status createdAt"
    one = "user(id: {}) {{ {} }}"
    users = "users(first: $first)"
    key_type = "ID!"
    creation = """mutation ($input: CreateUserInput!) {
      createUser(input: $input) { user { id username version } } }"""

    def __init__(self, encode: Callable[[int], Any] = str) -> None:
        self.encode = encode

    def look_up(self, key: int) -> Request:
        query = f"query ($id: {self.key_type}) {{ {self.one.format('$id', self.fields)} }}"
        return self._ask(query, id=self.encode(key))

    def list(self, first: int) -> Request:
        return self._ask(
            f"""query ($first: Int!) {{ {self.users} {{
              edges {{ cursor node {{ {self.fields} }} }}
              pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}""",
            first=first,
        )

    def look_up_many(self, keys: Sequence[int]) -> Request:
        given = {f"k{n}": self.encode(key) for n, key in enumerate(keys)}
        declared = ", ".join(f"${name}: {self.key_type}" for name in given)
        plain = self.one.removeprefix("user: ")
        fields = (f"u{n}: {plain.format(f'$k{n}', self.fields)}" for n in range(len(keys)))
        return self._ask(f"query ({declared}) {{ {' '.join(fields)} }}", **given)

    def create(self, username: str) -> Request:
        return self._ask(self.creation, input=creation(username))

    def _ask(self, query: str, **variables: Any) -> Request:
        return Request("POST", "/graphql", orjson.dumps({"query": query, "variables": variables}))


class Paths(Dialect):
    """The paths of the floor, which has no GraphQL."""

    def look_up(self, key: int) -> Request:
        return Request("GET", f"/users/{key}")

    def list(self, first: int) -> Request:
        return Request("GET", f"/users?first={first}")

    def look_up_many(self, keys: Sequence[int]) -> Request:
        return Request("GET", f"/users?ids={','.join(map(str, keys))}")

    def create(self, username: str) -> Request:
        return Request("POST", "/users", orjson.dumps(creation(username)))


ROSTER: Final = Dialect(lambda key: global_ids.encode("User", key))


def creation(username: str) -> dict[str, str]:
    return {
        "username": username,
        "email": f"{username}@example.com",
        "displayName": f"User {username}",
    }
