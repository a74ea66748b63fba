"""Properties of every list and every sequence of mutations, tested with generated cases."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.pagination import REACH
from db.session import Session
from db.statements.users import users_listing
from graph.api.inputs.user_lookup import UserOrder, read_order
from graph.api.pagination import read_page
from graph.api.types.enums import OrderDirection, UserOrderField
from graph.settings import Settings
from tests.graph.api.test_bulk_users import UPSERT, bulk, create
from tests.graph.api.test_erase_user import ERASE
from tests.support.callers import id_of
from tests.support.client import CREATE, USER, Client, serving
from tests.support.examples import examples
from tests.support.pages import collect_ids, conditions

ClientTest = Callable[[Client], Coroutine[Any, Any, None]]

# All examples of a test share one directory.
on_one_directory = settings(
    max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def run_against(url: str, check: ClientTest) -> None:
    async def run() -> None:
        async with serving(Settings(database_url=url)) as client:
            await check(client)

    asyncio.run(run())


FIELDS = ("CREATED_AT", "UPDATED_AT", "USERNAME", "EMAIL", "DISPLAY_NAME", "STATUS")
orders = st.lists(
    st.fixed_dictionaries(
        {"field": st.sampled_from(FIELDS), "direction": st.sampled_from(["ASC", "DESC"])}
    ),
    min_size=1,
    max_size=3,
)
leaves = st.one_of(
    st.builds(
        lambda name, op, text: {name: {op: text}},
        st.sampled_from(["username", "email"]),
        st.sampled_from(["contains", "startsWith", "endsWith", "neq"]),
        st.sampled_from(["1", "a", "user", "user-1", "example", "%", "_", "9@"]),
    ),
    st.builds(
        lambda values: {"status": values},
        st.lists(st.sampled_from(["ACTIVE", "DEACTIVATED", "DELETED"]), max_size=3),
    ),
    st.builds(lambda value: {"isActive": value}, st.booleans()),
    st.builds(
        lambda name, value: {name: {"isNull": value}},
        st.sampled_from(["displayName", "externalId", "deletedAt", "username"]),
        st.booleans(),
    ),
)
filters = st.one_of(
    st.none(),
    leaves,
    st.builds(
        lambda op, parts: {op: parts},
        st.sampled_from(["and", "or"]),
        st.lists(leaves, min_size=1, max_size=3),
    ),
    st.builds(lambda part: {"not": part}, leaves),
)
lists = st.fixed_dictionaries(
    {
        "filter": filters,
        "search": st.sampled_from([None, None, "1", "user-2", "nobody"]),
        "orderBy": orders,
    }
)
PAGE = """query ($filter: UserFilter, $search: String, $orderBy: [UserOrder!],
               $first: Int, $after: String, $last: Int, $before: String) {
  users(filter: $filter, search: $search, orderBy: $orderBy,
        first: $first, after: $after, last: $last, before: $before) {
    nodes { id } totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


PEOPLE = 60
WRITES = ["deactivateUser", "deleteUser", "restoreUser", "updateUser"]
restless = st.sets(st.integers(0, PEOPLE - 1), max_size=10)  # users who change between pages
# The number of writes depends on earlier examples, which hypothesis does not allow for draws.
seeds = st.integers(0, 2**32 - 1)


async def populate(client: Client, people: int = PEOPLE) -> None:
    await bulk(client, *(create(f"user-{n}", isActive=n % 3 > 0) for n in range(people)))
    ids = [node["id"] for node in (await client.ask(PAGE, first=100))["nodes"]]
    await bulk(client, *({"delete": {"id": i}} for i in ids[::5]))
    await bulk(
        client, *({"update": {"id": i, "displayName": "X"}} for i in ids[1::7] if i not in ids[::5])
    )


async def pages(
    client: Client, arguments: dict[str, Any], size: int, *, between: ClientTest | None = None
) -> list[list[str]]:
    visited: list[list[str]] = []
    after = None
    while True:
        page = await client.ask(PAGE, **arguments, first=size, after=after)
        visited.append([node["id"] for node in page["nodes"]])
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            return visited
        after = page["pageInfo"]["endCursor"]
        if between:
            await between(client)


async def pages_backwards(client: Client, arguments: dict[str, Any], size: int) -> list[list[str]]:
    visited: list[list[str]] = []
    before = None
    while True:
        page = await client.ask(PAGE, **arguments, last=size, before=before)
        visited.append([node["id"] for node in page["nodes"]])
        assert page["pageInfo"]["hasNextPage"] is (before is not None)
        if not page["pageInfo"]["hasPreviousPage"]:
            return visited
        before = page["pageInfo"]["startCursor"]


def flatten(visited: list[list[str]]) -> list[str]:
    return [user_id for page in visited for user_id in page]


@pytest.fixture
def populated_url(database_url: str) -> str:
    run_against(database_url, populate)
    return database_url


@on_one_directory
@given(arguments=lists, size=st.integers(1, 25))
def test_pages_cover_the_whole_list_in_both_directions(
    populated_url: str, arguments: dict[str, Any], size: int
) -> None:
    async def check(client: Client) -> None:
        whole = await client.ask(PAGE, **arguments, first=100)
        expected = [node["id"] for node in whole["nodes"]]
        assert whole["totalCount"] == len(expected)
        forwards = await pages(client, arguments, size)
        assert flatten(forwards) == expected
        assert all(len(page) == size for page in forwards[:-1])
        backwards = await pages_backwards(client, arguments, size)
        assert flatten(backwards[::-1]) == expected
        assert all(len(page) == size for page in backwards[:-1])

    run_against(populated_url, check)


@on_one_directory
@given(arguments=lists, size=st.integers(1, 25), restless=restless, seed=seeds)
def test_paging_visits_unchanged_users_once_during_writes(
    populated_url: str, arguments: dict[str, Any], size: int, restless: set[int], seed: int
) -> None:
    rng = Random(seed)  # noqa: S311 - the same writes whenever the example is repeated

    async def check(client: Client) -> None:
        everybody = await client.ask(PAGE, first=100, filter={"status": STATUSES})
        changing = {sorted(node["id"] for node in everybody["nodes"])[n] for n in restless}
        whole = await client.ask(PAGE, **arguments, first=100)
        expected = [node["id"] for node in whole["nodes"] if node["id"] not in changing]

        async def write(client: Client) -> None:
            for user_id in sorted(changing):
                await client.mutate(rng.choice(WRITES), user_id)

        visited = flatten(await pages(client, arguments, size, between=write))
        assert [user_id for user_id in visited if user_id not in changing] == expected

    run_against(populated_url, check)


async def read_ids(
    session: Session,
    arguments: dict[str, Any],
    size: int,
    *,
    forwards: bool = True,
    reach: int,
    between: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    """Reads all pages of a list that scans `reach` rows in order before it sorts."""
    order = read_order(
        [
            UserOrder(
                field=UserOrderField[step["field"]], direction=OrderDirection[step["direction"]]
            )
            for step in arguments["orderBy"]
        ]
    )
    wanted, _ = await conditions(arguments["filter"], arguments["search"])
    listing = replace(users_listing(wanted, order.sorts), reach=reach)
    found = await collect_ids(
        lambda window: read_page(session, listing, window),
        lambda row: order.position(order.cursor(row)),
        size,
        forwards=forwards,
        between=between,
    )
    return [id_of(user_id) for user_id in found]


reaches = st.sampled_from([1, 5, 20, REACH])


@on_one_directory
@given(arguments=lists, size=st.integers(1, 25), reach=reaches)
def test_pages_within_and_beyond_the_reach_cover_the_whole_list_in_both_directions(
    populated_url: str, arguments: dict[str, Any], size: int, reach: int
) -> None:
    async def check(client: Client) -> None:
        whole = await client.ask(PAGE, **arguments, first=100)
        expected = [node["id"] for node in whole["nodes"]]
        async with client.database.session() as session:
            for forwards in (True, False):
                assert expected == await read_ids(
                    session, arguments, size, forwards=forwards, reach=reach
                )

    run_against(populated_url, check)


@on_one_directory
@given(arguments=lists, size=st.integers(1, 25), reach=reaches, restless=restless, seed=seeds)
def test_paging_within_and_beyond_the_reach_visits_unchanged_users_once_during_writes(
    populated_url: str,
    arguments: dict[str, Any],
    size: int,
    reach: int,
    restless: set[int],
    seed: int,
) -> None:
    rng = Random(seed)  # noqa: S311 - as above

    async def check(client: Client) -> None:
        everybody = await client.ask(PAGE, first=100, filter={"status": STATUSES})
        changing = {sorted(node["id"] for node in everybody["nodes"])[n] for n in restless}
        whole = await client.ask(PAGE, **arguments, first=100)
        expected = [node["id"] for node in whole["nodes"] if node["id"] not in changing]

        async def write() -> None:
            for user_id in sorted(changing):
                await client.mutate(rng.choice(WRITES), user_id)

        async with client.database.session() as session:
            visited = await read_ids(session, arguments, size, reach=reach, between=write)
        assert [user_id for user_id in visited if user_id not in changing] == expected

    run_against(populated_url, check)


STATUSES = ["ACTIVE", "DEACTIVATED", "DELETED"]
NAMES = ["ada", "bob", "cleo", "ADA"]
some_fields = st.fixed_dictionaries(
    {},
    optional={
        "username": st.sampled_from(NAMES),
        "email": st.sampled_from([f"{name}@example.com" for name in NAMES]),
        "displayName": st.sampled_from(["A", "B", None]),
        "externalId": st.sampled_from(["1", "2", None]),
    },
)
verbs = st.sampled_from(["deactivate", "reactivate", "delete", "restore", "erase"])
user_indexes = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(NAMES), some_fields),
    st.tuples(st.just("update"), user_indexes, some_fields),
    st.tuples(st.just("upsert"), st.sampled_from(NAMES), some_fields),
    st.tuples(verbs, user_indexes, st.none()),
)


@dataclass
class Person:
    values: dict[str, str | None]
    status: str = "ACTIVE"
    version: int = 1
    erased: bool = False


@dataclass
class Model:
    """A model of the mutations. Values are compared in lower case."""

    people: list[Person] = field(default_factory=list)

    def mutate(self, verb: str, who: Any, fields: Any) -> bool | None:
        """Returns whether anything changed; None if the operation is rejected."""
        match verb:
            case "create":
                return self.create({"username": who, "email": f"{who}@example.com"} | fields)
            case "upsert":
                for person in self.people:
                    if same(person.values["username"], who) and person.status != "DELETED":
                        return self.update(person, fields)
                return self.create({"username": who} | fields)
            case "update":
                return self.update(self.people[who], fields)
            case _:
                return self.move(self.people[who], verb)

    def create(self, values: dict[str, Any]) -> bool | None:
        if not values.get("email") or self.taken(values, None):
            return None
        self.people.append(Person(dict.fromkeys(FORM) | values))
        return True

    def update(self, person: Person, fields: dict[str, Any]) -> bool | None:
        if person.status == "DELETED" or self.taken(fields, person):
            return None
        if person.values | fields == person.values:
            return False
        person.values |= fields
        person.version += 1
        return True

    def move(self, person: Person, verb: str) -> bool | None:
        to = MOVES[verb].get(person.status)
        if verb == "erase":
            if person.status != "DELETED":
                return None
            done, person.erased = not person.erased, True
            person.version += done
            return done
        if to is None or (person.erased and verb != "delete"):
            return None
        if to == person.status:
            return False
        if verb == "restore" and self.taken(person.values, person):
            return None
        person.status = to
        person.version += 1
        return True

    def taken(self, values: dict[str, Any], by: Person | None) -> bool:
        others = [p for p in self.people if p is not by and p.status != "DELETED"]
        unique = {k: v for k, v in values.items() if k != "displayName" and v is not None}
        return any(same(p.values[k], v) for p in others for k, v in unique.items())


FORM = ("username", "email", "displayName", "externalId")
A, I, D = "ACTIVE", "DEACTIVATED", "DELETED"  # noqa: E741
MOVES = {
    "deactivate": {A: I, I: I},
    "reactivate": {A: A, I: A},
    "delete": {A: D, I: D, D: D},
    "restore": {I: I, D: I},
    "erase": {},
}


def same(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one.lower() == other.lower()


async def ask(client: Client, ids: list[str], verb: str, who: Any, fields: Any) -> bool | None:
    """Executes a step and returns the same as `Model.mutate`."""
    match verb:
        case "create":
            given = {"username": who, "email": f"{who}@example.com"} | fields
            payload = await client.ask(CREATE, input=given)
        case "upsert":
            payload = await client.ask(UPSERT, input={"by": {"username": who}} | fields)
        case "erase":
            now = await client.ask(
                "query ($id: ID!) { user(id: $id) { username version } }", id=ids[who]
            )
            given = {"id": ids[who], "confirmUsername": now["username"], "reason": "asked"}
            payload = await client.ask(ERASE, input=given)
            after = await client.ask("query ($id: ID!) { user(id: $id) { version } }", id=ids[who])
            payload["changed"] = after["version"] != now["version"]
        case _:
            payload = await client.mutate(f"{verb}User", ids[who], **(fields or {}))
    if payload.get("created") or verb == "create":
        ids += [payload["user"]["id"]] if payload["user"] else []
    return None if payload["errors"] else payload.get("changed", True)


LIFE = f"""query ($id: ID!) {{ user(id: $id) {{ {USER} erasedAt history(first: 100) {{ nodes {{
  type versionAfter changes {{ field after redacted }} }} }} }} }}"""


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.lists(steps, max_size=20))
def test_mutations_match_the_model_and_record_one_event_per_change(
    database_url: str, lives: list[tuple[str, Any, Any]]
) -> None:
    async def check(client: Client) -> None:
        await delete_all_users(client)
        model, ids = Model(), list[str]()
        for verb, who, fields in lives:
            if isinstance(who, int) and who >= len(ids):
                continue
            assert await ask(client, ids, verb, who, fields) is model.mutate(verb, who, fields)
        assert len(ids) == len(model.people)
        for user_id, person in zip(ids, model.people, strict=True):
            user = await client.ask(LIFE, id=user_id)
            assert (user["status"], user["version"]) == (person.status, person.version)
            assert user["isActive"] is (person.status == "ACTIVE")
            assert (user["erasedAt"] is not None) is person.erased
            events = user["history"]["nodes"]
            assert [e["versionAfter"] for e in events] == list(range(1, person.version + 1))
            final_values = {c["field"]: c["after"] for e in events for c in e["changes"]}
            assert final_values["status"] == user["status"]
            if not person.erased:
                assert {name: user[name] for name in FORM} == person.values
                assert {name: final_values.get(name) for name in FORM} == person.values

    run_against(database_url, check)


async def delete_all_users(client: Client) -> None:
    """Deletes the users of the previous example, so that all names are free again."""
    left = await client.ask(PAGE, first=100)
    await bulk(client, *({"delete": {"id": node["id"]}} for node in left["nodes"]))
