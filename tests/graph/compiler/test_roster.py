"""Roster's schema, executed by graphql-core and by the compiler for the same callers."""

import gc
import re
from functools import cache
from random import Random

import pytest
from graphql import parse, validate
from hypothesis_graphql import Mode, mutations, queries

from graph.execution.strawberry_types import StrawberryResolvers
from tests.fuzz.operations import SCHEMA as DRAWN
from tests.fuzz.operations import Known, Operation, generate_texts, with_known_values
from tests.graph.api.test_laws import populate
from tests.graph.compiler.differential import (
    Case,
    Observation,
    assert_same,
    by_compiled,
    by_graphql_core,
    observe,
)
from tests.graph.compiler.rewriting import scattered
from tests.support.callers import SCOPE_SETS, DirectoryClient, directory_client, linked, service
from tests.support.client import USER, Client, count
from tests.support.examples import examples
from tests.support.schema import CORE, SCHEMA
from users.policy import EVERY_SCOPE, Caller, Scope

# Random or exhaustive cases: others cover the code, and coverage doubles their time.
pytestmark = pytest.mark.no_cover

RESOLVERS = StrawberryResolvers(SCHEMA)
CALLERS = [
    *[service(*EVERY_SCOPE)] * 4,
    *[service(*scopes) for scopes in SCOPE_SETS],
    linked(1),
    linked(2, Scope.READ, Scope.HISTORY),
    linked(3, *EVERY_SCOPE),
]
# Values that depend on the time or are random: datetimes, cursors, which contain them, and the ids
# of requests.
_TIMES = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|(?<='cursor': ')[^']*|(?<=Cursor': ')[^']*|ey[\w-]{20,}"
    r'|(?<="cursor":")[^"]*|(?<="requestId":")[^"]*'  # of events in `personalData`
)


@cache
def texts(kind: str) -> list[str]:
    make = {"query": queries, "mutation": mutations}[kind]
    return generate_texts(DRAWN, Mode.POSITIVE, examples(40), seed=6, make=make)


def operations(kind: str, known: Known) -> list[Operation]:
    """The drawn operations with existing ids and cursors, each also rewritten."""
    rng = Random(6)  # noqa: S311 - the same operations on every run
    made = []
    for text in texts(kind):
        found = with_known_values(Operation(text), DRAWN, known, rng)
        made += [found, scattered(found, DRAWN, rng)]
    valid = [operation for operation in made if not validate(CORE, parse(operation.query))]
    gc.freeze()  # excludes what the generators keep: garbage is collected after each execution
    return valid


async def known(client: Client) -> Known:
    """Fills a directory and returns the ids and cursors in it."""
    await populate(client, people=12)
    ids = [user["id"] for user in (await client.ask("{ users { nodes { id } } }"))["nodes"]]
    cursors = [
        edge["cursor"]
        for name in ("users", "userEvents")
        for edge in (await client.ask(f"{{ {name}(first: 20) {{ edges {{ cursor }} }} }}"))["edges"]
    ]
    return Known(ids, cursors)


def case(asks: DirectoryClient, caller: Caller, operation: Operation) -> Case:
    return Case(
        CORE,
        operation.query,
        operation.variables,
        context=lambda: asks.context(caller),
        resolvers=RESOLVERS,
        # Lookups that operations share, and the notification of a write.
        shared=frozenset({"_Batch.run", "WakeUps._notify_loop"}),
        valid=False,
    )


async def test_queries_of_roster_match_graphql_core(client: Client) -> None:
    known_values = await known(client)
    rng = Random(1)  # noqa: S311 - the same callers on every run
    async with directory_client(client.database) as asks:
        found = [
            await assert_same(case(asks, rng.choice(CALLERS), operation))
            for operation in operations("query", known_values)
        ]
    assert sum(each.errors is None for each in found) >= examples(11)
    assert sum(each.errors is not None for each in found) >= examples(11)


EVERYTHING = """{ users(first: 100, filter: { status: [ACTIVE, DEACTIVATED, DELETED] }) {
  nodes { %s erasedAt history { nodes { id type reason versionAfter
    changes { fieldName before after } actor { type actorId id label user { id } }
  } } } } }""".replace("%s", USER)


_CHANGED = "user { id version } userEdge { cursor node { status } } changed errors { code }"
_READ_AGAIN = """query { __typename viewer { id } viewerScopes
  user(id: $a) { id version displayName }
  node(id: $b) { id ... on User { status history { countAtMost nodes { type } } } }
  nodes(ids: [$a, $b, "x"]) { id } users(first: 3) { totalCount edges { node { version } } }
  __type(name: "Query") { name } }"""
_CONFLICTS = """errors { __typename code path ... on VersionConflictError {
    expectedVersion actualVersion changedFields changedAt changedBy { type label user { id } }
    changes { fieldName before after redacted } again: changes { after }
    current { version viewerCan history(last: 1) { nodes { type } } } }
  ... on TransitionError { from current { status } } }"""
# The drawn mutations are rarely accepted.
WRITES = f"""mutation ($a: ID!, $b: ID!) {{
  createUser(input: {{ username: "zoe", email: "zoe@example.com" }}) {{
    user {{ id version }} userEdge {{ cursor node {{ username }} }} errors {{ code }}
    {_READ_AGAIN} }}
  taken: createUser(input: {{ username: "zoe", email: "zoe@example.com" }}) {{
    errors {{ code }} {_READ_AGAIN} }}
  updateUser(input: {{ id: $a, displayName: "Zoe" }}) {{ {_CHANGED} {_READ_AGAIN} }}
  deactivateUser(input: {{ id: $a }}) {{ {_CHANGED} }}
  deleteUser(input: {{ id: $b }}) {{ deletedUserId {_CHANGED} {_READ_AGAIN} }}
  stale: updateUser(input: {{ id: $a, displayName: "A", expectedVersion: 1 }}) {{ {_CONFLICTS} }}
  bulkUsers(input: {{ operations: [
    {{ update: {{ id: $a, displayName: "B" }} }}, {{ update: {{ id: $b, expectedVersion: 1 }} }},
    {{ update: {{ id: $a, expectedVersion: 3 }} }} ] }}) {{
      failed results {{ {_CONFLICTS} }} }} }}"""


def without_times(seen: Observation) -> tuple[str, str]:
    # Errors of fields that read the database are in the order in which their reads end.
    return _TIMES.sub("-", seen.data), _TIMES.sub("-", repr(seen.in_order.errors))


async def test_mutations_of_roster_match_graphql_core(client: Client, twin: Client) -> None:
    known_values, twin_values = await known(client), await known(twin)
    assert known_values.ids == twin_values.ids
    rng = Random(1)  # noqa: S311 - the same callers on every run
    everybody = service(*EVERY_SCOPE)
    before = await count(client.database)
    async with (
        directory_client(client.database) as asks,
        directory_client(twin.database) as twin_asks,
    ):
        accepted = Operation(WRITES, {"a": known_values.ids[0], "b": known_values.ids[1]})
        # Each directory gets its own cursors: a cursor of an event is not valid in the other one.
        drawn_operations = zip(
            [*operations("mutation", known_values), accepted],
            [*operations("mutation", twin_values), accepted],
            strict=True,
        )
        for operation, twin_operation in drawn_operations:
            drawn = rng.choice([everybody, everybody, *CALLERS])
            caller = everybody if operation is accepted else drawn
            expected = await observe(by_graphql_core, case(asks, caller, operation))
            found = await observe(by_compiled, case(twin_asks, caller, twin_operation))
            assert without_times(found) == without_times(expected), operation
        assert "'changedBy': {'type': 'SERVICE'" in found.data  # the accepted operation is the last
        whole = Operation(EVERYTHING)
        expected = await observe(by_graphql_core, case(asks, everybody, whole))
        found = await observe(by_graphql_core, case(twin_asks, everybody, whole))
        assert without_times(found) == without_times(expected)
    assert before != await count(client.database) == await count(twin.database)
