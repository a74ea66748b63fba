"""A checker for read-your-writes and monotonic reads, by random operations of several callers.

Every write increments the version of a user. So a caller who has seen a version of a user, in the
answer to a write or to a read, must never read an earlier one afterwards.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.plain_http import PlainClient
from tests.system.test_production import bearer

HEADER = "roster-position"
READ = "query ($id: ID!) { user(id: $id) { id version } }"
LIST = "{ users(first: 100) { nodes { id version } } }"
COUNTED = "{ users(first: 100) { totalCount nodes { id version } } }"
CREATE = """mutation ($name: String!) { createUser(input: {username: $name,
  email: "a@example.com"}) { user { id version } errors { code message } } }"""
UPDATE = """mutation ($id: ID!, $name: String!) { updateUser(input: {id: $id, displayName: $name}) {
  user { id version } errors { code message } } }"""
MIX = [*["write"] * 3, *["read"] * 5, *["list"] * 2]
_THINKS = 0.05  # seconds at most, in which replicas catch up with the last operation
_FIRST_KEPT = 10  # violations that the report describes


@dataclass
class Report:
    """What the callers did. A violation is a text for people."""

    operations: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def reads(self) -> int:
        return self.operations["read"] + self.operations["list"]

    def __str__(self) -> str:
        shown = "".join(f"\n  {violation}" for violation in self.violations[:_FIRST_KEPT])
        return (
            f"{self.operations.total()} operations ({self.reads} reads) in {self.seconds:.0f} s, "
            f"{len(self.violations)} violations, errors: {dict(self.errors)}{shown}"
        )


class Caller:
    """Sends one operation after another, to any of the servers or always to the same.

    With `sends_position`, it sends the position of its last response with each request.
    """

    def __init__(
        self,
        name: str,
        servers: Sequence[PlainClient],
        report: Report,
        seed: str,
        *,
        sends_position: bool,
    ) -> None:
        self._name = name
        self._servers = servers
        self._report = report
        self._random = random.Random(f"{seed} {name}")  # noqa: S311 - not for security
        self._headers = {"authorization": bearer(sub=name)}
        self._sends_position = sends_position
        self._seen: dict[str, int] = {}
        if sends_position:
            self._headers[HEADER] = ""

    async def run(self, ids: Sequence[str], operations: int) -> None:
        for number in range(operations):
            await asyncio.sleep(self._random.uniform(0, _THINKS))
            kind = self._random.choice(MIX)
            id_ = self._random.choice(ids)
            if kind == "write":
                name = f"{self._name} {number} {self._random.random()}"
                await self._send(kind, UPDATE, id=id_, name=name)
            elif kind == "read":
                await self._send(kind, READ, id=id_)
            else:
                await self._send(kind, self._random.choice([LIST, COUNTED]))

    async def _send(self, kind: str, query: str, **variables: object) -> None:
        server = self._random.randrange(len(self._servers))
        headers, body = await self._servers[server].post(
            "/graphql", {"query": query, "variables": variables}, self._headers
        )
        self._report.operations[kind] += 1
        if "errors" in body:
            self._report.errors[f"{kind}: {body['errors'][0]['extensions']['code']}"] += 1
            return
        if self._sends_position:
            self._headers[HEADER] = headers[HEADER]
        for user in _users(body["data"]):
            self._check(kind, server, user["id"], user["version"])

    def _check(self, kind: str, server: int, id_: str, version: int) -> None:
        seen = self._seen.get(id_, 0)
        if version < seen:
            self._report.violations.append(
                f"{self._name} had seen version {seen} of {id_}, and server {server} answered "
                f"a {kind} with {version}; position {self._headers.get(HEADER)!r}"
            )
        self._seen[id_] = max(version, seen)


def _users(data: dict[str, Any]) -> list[dict[str, Any]]:
    match data:
        case {"users": {"nodes": list(nodes)}}:
            return nodes
        case {"updateUser": {"user": dict(user)}} | {"user": dict(user)}:
            return [user]
    raise AssertionError(data)


async def add_users(server: PlainClient, count: int) -> list[str]:
    ids = []
    for number in range(count):
        values = {"name": f"user{number}"}
        query = CREATE.replace('"a@', f'"a{number}@')
        _, body = await server.post(
            "/graphql",
            {"query": query, "variables": values},
            {"authorization": bearer(sub="admin")},
        )
        ids.append(body["data"]["createUser"]["user"]["id"])
    return ids


async def check(
    callers: Sequence[Caller], report: Report, ids: Sequence[str], operations: int
) -> Report:
    """Run so many operations, an equal share by each caller."""
    begun = time.monotonic()
    await asyncio.gather(*(caller.run(ids, operations // len(callers)) for caller in callers))
    report.seconds += time.monotonic() - begun
    return report
