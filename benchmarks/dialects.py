"""How each server wants the same thing said: Roster's schema, or the floor's paths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from graph import ids

ALIASES: Final = 20
# Stands in a body for a number that was never used before; as long as what comes in its place.
MARK: Final = "@" * 10
_FIELDS = "id username email status createdAt"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes = b""

    def line(self) -> bytes:
        """Give it as load.lua reads it."""
        return b"\t".join((self.method.encode(), self.path.encode(), self.body)) + b"\n"


class Dialect:
    """GraphQL as Roster and those that have its schema are asked. `encode` makes an id of a key."""

    one = f"query ($id: ID!) {{ user(id: $id) {{ {_FIELDS} }} }}"
    page = f"""query ($first: Int!) {{ users(first: $first) {{
      edges {{ cursor node {{ {_FIELDS} }} }}
      pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"""
    aliased = "query ({}) {{ {} }}"
    alias_variable = "$u{0}: ID!"
    alias = "u{0}: user(id: $u{0}) {{ " + _FIELDS + " }}"
    creation = """mutation ($input: CreateUserInput!) {
      createUser(input: $input) { user { id username version } } }"""

    def __init__(self, encode: Callable[[int], Any] = str) -> None:
        self.encode = encode

    def look_up(self, key: int) -> Request:
        return self.ask(self.one, id=self.encode(key))

    def list(self, first: int) -> Request:
        return self.ask(self.page, first=first)

    def look_up_many(self, keys: Sequence[int]) -> Request:
        declared = ", ".join(map(self.alias_variable.format, range(len(keys))))
        fields = " ".join(map(self.alias.format, range(len(keys))))
        given = {f"u{n}": self.encode(key) for n, key in enumerate(keys)}
        return self.ask(self.aliased.format(declared, fields), **given)

    def create(self, username: str) -> Request:
        return self.ask(self.creation, input=creation(username))

    def ask(self, query: str, **variables: Any) -> Request:
        return Request("POST", "/graphql", orjson.dumps({"query": query, "variables": variables}))


class Paths(Dialect):
    """The floor's."""

    def look_up(self, key: int) -> Request:
        return Request("GET", f"/users/{key}")

    def list(self, first: int) -> Request:
        return Request("GET", f"/users?first={first}")

    def look_up_many(self, keys: Sequence[int]) -> Request:
        return Request("GET", f"/users?ids={','.join(map(str, keys))}")

    def create(self, username: str) -> Request:
        return Request("POST", "/users", orjson.dumps(creation(username)))


ROSTER: Final = Dialect(lambda key: ids.encode("User", key))


def creation(username: str) -> dict[str, str]:
    return {
        "username": username,
        "email": f"{username}@example.com",
        "displayName": f"User {username}",
    }
