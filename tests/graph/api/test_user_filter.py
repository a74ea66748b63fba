"""Filters and search find the same users as a model of them, on both databases."""

import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text, true

from db.filters import NOT_DELETED, contains, ends_with, starts_with
from db.models import User, UserStatus
from db.pagination import Listing, Sort, Window
from db.statements.users import USER_COLUMNS, users_listing
from graph.api.inputs.user_filter import UserFilter, read_filter, read_search
from graph.api.inputs.user_lookup import UserOrder, read_order
from graph.api.types.enums import OrderDirection, UserOrderField
from tests.support.client import Client
from users.key_cache import KeyCache
from users.text import fold

IDS = """query ($filter: UserFilter, $search: String, $first: Int = 100, $after: String) {
  users(filter: $filter, search: $search, orderBy: [{field: CREATED_AT}],
        first: $first, after: $after) {
    nodes { databaseId } totalCount pageInfo { hasNextPage endCursor } } }"""
ALL = """{ users(first: 100, filter: {status: [ACTIVE, DEACTIVATED, DELETED]}) { nodes {
  databaseId username email displayName externalId status isActive createdAt updatedAt
  statusChangedAt deletedAt eraseAfter erasedAt } } }"""

PEOPLE: list[dict[str, Any]] = [
    {"username": "Ada", "displayName": "Ada Lovelace", "externalId": "HR-1"},
    {"username": "Émile", "displayName": "100% Émile", "externalId": "hr_2"},
    {"username": "emil_e", "displayName": "back\\slash"},
    {"username": "BOB", "displayName": 'O\'Neill "Bob"', "externalId": "x/y"},
    {"username": "straße", "email": "weiss@bücher.example"},
    {
        "username": "a.b-c",
        "email": "a.b-c@faß.example",
        "displayName": "ＦＵＬＬ width",
        "isActive": False,
    },
    {"username": "zoë", "displayName": "Zoë 👩‍💻", "isActive": False, "externalId": "%"},
    {"username": "gone", "displayName": "Ada Gone", "externalId": "HR-9"},
]


@pytest.fixture
async def people(client: Client) -> list[dict[str, Any]]:
    for person in PEOPLE:
        user = await client.create(
            person["username"], **{k: v for k, v in person.items() if k != "username"}
        )
        if person["username"] == "gone":
            await client.mutate("deleteUser", user["id"])
    users: list[dict[str, Any]] = (await client.ask(ALL))["nodes"]
    assert len(users) == len(PEOPLE)
    return users


async def found(client: Client, wanted: Any = None, search: str | None = None) -> str:
    page = await client.ask(IDS, filter=wanted, search=search)
    assert page["totalCount"] == len(page["nodes"])
    return "".join(node["databaseId"] for node in page["nodes"])


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"username": {"neq": "ADA"}}, "234567"),
        ({"username": {"in": ["ada", "e\u0301MILE", "nobody"]}}, "12"),
        ({"username": {"in": []}}, ""),
        ({"username": {"nin": ["ada", "bob"]}}, "23567"),
        ({"username": {"nin": []}}, "1234567"),
        ({"username": {"contains": "MIL"}}, "23"),
        ({"username": {"contains": "_"}}, "3"),
        ({"username": {"contains": "%"}}, ""),
        ({"username": {"contains": ""}}, "1234567"),
        ({"username": {"startsWith": "É"}}, "2"),
        ({"username": {"startsWith": "e"}}, "3"),
        ({"username": {"endsWith": "E"}}, "235"),
        ({"username": {"eq": "STRASSE"}}, "5"),
        ({"username": {"contains": "ss", "startsWith": "str", "neq": "ada"}}, "5"),
        ({"username": {"contains": "a\x00"}}, ""),
        ({"username": {"contains": "\ud800"}}, ""),
        ({"username": {"neq": "\x00"}}, "1234567"),
        ({"email": {"endsWith": "@EXAMPLE.com"}}, "12347"),
        ({"email": {"contains": "BÜCHER"}}, "5"),
        ({"email": {"contains": "faß.EX"}}, "6"),
        ({"email": {"endsWith": "FAß.example"}}, "6"),
        ({"email": {"eq": "weiss@xn--bcher-kva.example"}}, "5"),
        ({"email": {"endsWith": "@xn--bcher-kva.example"}}, "5"),
        ({"email": {"contains": "@XN--BCHER-KVA."}}, "5"),
        ({"email": {"startsWith": "weiss@xn--bcher-kva"}}, "5"),
        ({"externalId": {"eq": "hr-1"}}, "1"),
        ({"externalId": {"contains": "/"}}, "4"),
        ({"externalId": {"contains": "%"}}, "7"),
        ({"externalId": {"startsWith": "hr_"}}, "2"),
        ({"externalId": {"neq": "hr-1"}}, "234567"),
        ({"externalId": {"nin": ["hr-1", "x/Y"]}}, "23567"),
        ({"not": {"externalId": {"eq": "hr-1"}}}, "234567"),
        ({"not": {"externalId": {"contains": "r"}}}, "34567"),
        ({"not": {"externalId": {"neq": "hr-1"}}}, "1"),
        ({"not": {}}, ""),
        ({"and": []}, "1234567"),
        ({"or": []}, ""),
        ({"or": [{}]}, "1234567"),
        ({"or": [{"username": {"eq": "ada"}}, {"isActive": False}]}, "167"),
        ({"and": [{"isActive": True}, {"not": {"username": {"eq": "ada"}}}]}, "2345"),
        ({"status": ["DELETED"]}, "8"),
        ({"not": {"status": ["ACTIVE"]}}, "678"),
        ({"or": [{"status": ["DELETED"]}, {"username": {"eq": "ada"}}]}, "18"),
        ({"and": [{"status": None}]}, "1234567"),
        ({"displayName": {"eq": "ADA LOVELACE"}}, "1"),
        ({"displayName": {"neq": "ada lovelace"}}, "234567"),
        ({"displayName": {"startsWith": "full W"}}, "6"),
        ({"not": {"displayName": {"contains": "a"}}}, "24567"),
        ({"displayName": {"isNull": True}}, "5"),
        ({"displayName": {"isNull": False}}, "123467"),
        ({"displayName": {"isNull": None}}, "1234567"),
        ({"displayName": {"isNull": True, "neq": "x"}}, "5"),
        ({"displayName": {"isNull": True, "eq": "x"}}, ""),
        ({"not": {"displayName": {"isNull": True}}}, "123467"),
        ({"not": {"displayName": {"isNull": False}}}, "5"),
        ({"externalId": {"isNull": True}}, "356"),
        (
            {"or": [{"externalId": {"isNull": True}}, {"not": {"externalId": {"neq": "%"}}}]},
            "3567",
        ),
        ({"username": {"isNull": True}}, ""),
        ({"username": {"isNull": False}}, "1234567"),
        ({"not": {"email": {"isNull": True}}}, "1234567"),
        ({"createdAt": {"isNull": True}}, ""),
        ({"createdAt": {"isNull": False}}, "1234567"),
        ({"deletedAt": {"isNull": True}}, "1234567"),
        ({"deletedAt": {"isNull": False}}, "8"),
        ({"deletedAt": {"isNull": None}}, "1234567"),
        ({"deletedAt": {"gte": None, "lt": None}}, "1234567"),
        ({"eraseAfter": {}}, "1234567"),
        ({"or": [{"erasedAt": {}}]}, "1234567"),
        ({"not": {"deletedAt": {}}}, ""),
        ({"deletedAt": None}, "1234567"),
        ({"deletedAt": {"gte": "2000-01-01T00:00:00Z"}}, "8"),
        ({"not": {"deletedAt": {"gte": "2000-01-01T00:00:00Z"}}}, "1234567"),
        ({"not": {"deletedAt": {"lt": "2000-01-01T00:00:00Z"}}}, "12345678"),
        ({"deletedAt": {"isNull": False}, "status": ["ACTIVE"]}, ""),
        ({"deletedAt": {"isNull": False}, "isActive": True}, ""),
        ({"deletedAt": {"isNull": True}, "status": ["DELETED"]}, ""),
        ({"or": [{"deletedAt": {"isNull": False}}, {"username": {"eq": "ada"}}]}, "18"),
        ({"eraseAfter": {"isNull": True}}, "12345678"),
        ({"eraseAfter": {"isNull": False}}, ""),
        ({"erasedAt": {"isNull": True}, "status": ["DELETED"]}, "8"),
        ({"erasedAt": {"isNull": False}}, ""),
        ({"createdAt": {"gt": "9999-12-31T00:00:00Z"}}, ""),
        ({"createdAt": {"gte": "0001-01-01T00:00:00Z", "lt": "9999-01-01T00:00:00Z"}}, "1234567"),
        ({"updatedAt": {"lte": "2000-01-01T00:00:00+14:00"}}, ""),
        ({"statusChangedAt": {"gt": "2000-01-01T00:00:00-12:00"}}, "1234567"),
    ],
)
async def test_comparison_finds_the_matching_users(
    client: Client, wanted: dict[str, Any], ids: str
) -> None:
    assert await found(client, wanted) == ids


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("search", "ids"),
    [
        ("ADA", "1"),
        ("lovelace", "1"),
        (" e\u0301mile ", "2"),
        ("full", "6"),
        ("ｆｕｌｌ", "6"),
        ("100%", "2"),
        ("0%", ""),
        ("%", ""),
        ("il_e", "3"),
        ("_", ""),
        ("ck\\s", "3"),
        ("\\", ""),
        ("o'n", "4"),
        ("'", ""),
        ("n", "4"),
        ('"b', "4"),
        ('"bob"', "4"),
        ("/", ""),
        ("WEIẞ", "5"),
        ("bücher", "5"),
        ("example.com", "12347"),
        ("faß.ex", "6"),
        ("👩", "7"),
        ("nobody", ""),
        ("", "1234567"),
        ("  ", "1234567"),
        (None, "1234567"),
    ],
)
async def test_search_finds_the_matching_users(
    client: Client, search: str | None, ids: str
) -> None:
    assert await found(client, search=search) == ids


@pytest.mark.usefixtures("people")
async def test_search_combines_with_filters_and_counts(client: Client) -> None:
    assert await found(client, {"status": ["DELETED", "ACTIVE"]}, "ada") == "18"
    page = await client.ask(
        """{ users(search: "ada") { totalCount countAtMost statusCounts { status count } } }"""
    )
    assert page == {
        "totalCount": 1,
        "countAtMost": 1,
        "statusCounts": [
            {"status": "ACTIVE", "count": 1},
            {"status": "DEACTIVATED", "count": 0},
            {"status": "DELETED", "count": 1},
        ],
    }


def nested(depth: int) -> dict[str, Any]:
    return {} if depth == 1 else {"not": nested(depth - 1)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filter": nested(5)}, "The filter is more than 4 levels deep."),
        ({"filter": nested(40)}, "The filter is more than 4 levels deep."),
        (
            {"filter": {"or": [{"username": {"eq": "a", "neq": "b"}}] * 26}},
            "The filter has more than 50 comparisons.",
        ),
        ({"filter": {"or": [{}] * 101}}, "`or` has 101 values; a list can have 100."),
        ({"filter": {"and": [{}] * 101}}, "`and` has 101 values; a list can have 100."),
        (
            {"filter": {"not": {"username": {"in": ["a"] * 101}}}},
            "`username.in` has 101 values; a list can have 100.",
        ),
        (
            {"filter": {"email": {"nin": ["a"] * 101}}},
            "`email.nin` has 101 values; a list can have 100.",
        ),
        (
            {"filter": {"status": ["ACTIVE"] * 101}},
            "`status` has 101 values; a list can have 100.",
        ),
        (
            {"filter": {"and": [{"and": [{}] * 50}] * 2}},
            "The filter combines more than 100 filters.",
        ),
        (
            {"filter": {"and": [{"and": [{"and": [{}] * 15}] * 15}] * 15}},
            "The filter combines more than 100 filters.",
        ),
        *(
            (
                {"filter": {"externalId": {name: "a\u0301\u0316" * 50_000}}},
                f"`externalId.{name}` has 150000 characters; it can have 300.",
            )
            for name in ("eq", "neq", "contains", "startsWith", "endsWith")
        ),
        (
            {"filter": {"email": {"in": ["a", "x" * 301]}}},
            "`email.in` has 301 characters; it can have 300.",
        ),
        ({"search": "x" * 201}, "`search` has 201 characters; it can have 200."),
        ({"search": "a\x00"}, "`search` has a character that no text can have."),
        ({"search": "\ud800"}, "`search` has a character that no text can have."),
    ],
)
async def test_filters_and_search_beyond_their_limits_are_rejected(
    client: Client, arguments: dict[str, Any], message: str
) -> None:
    answer = await client.send(IDS, **arguments)
    assert answer["data"] == {"users": None}
    assert [(e["message"], e["extensions"]) for e in answer["errors"]] == [
        (message, {"code": "INVALID_ARGUMENT"})
    ]
    assert await client.ask(IDS, filter=nested(4)) == await client.ask(IDS, filter={"or": []})


TIMES = ("createdAt", "updatedAt", "statusChangedAt", "deletedAt", "eraseAfter", "erasedAt")
# The model: each comparator in Python, applied to the API's fields of a user.
Person = dict[str, Any]
TEXTS = ["ada", "E\u0301", "mil", "_", "%", "hr", "1", "O'", "ß", "example", ".", "x/y", "ZOË"]
TESTS: dict[str, Callable[[str | None, Any], bool]] = {
    "isNull": lambda value, given: (value is None) is given,
    "eq": lambda value, given: value == fold(given),
    "neq": lambda value, given: value != fold(given),
    "in": lambda value, given: value in [fold(g) for g in given],
    "nin": lambda value, given: value not in [fold(g) for g in given],
    "contains": lambda value, given: value is not None and fold(given) in value,
    "startsWith": lambda value, given: value is not None and value.startswith(fold(given)),
    "endsWith": lambda value, given: value is not None and value.endswith(fold(given)),
}
MOMENTS: dict[str, Callable[[datetime, datetime], bool]] = {
    "gt": lambda value, given: value > given,
    "gte": lambda value, given: value >= given,
    "lt": lambda value, given: value < given,
    "lte": lambda value, given: value <= given,
}


def matches(wanted: dict[str, Any], person: Person) -> bool:
    for name, given in wanted.items():
        match name:
            case "and":
                matched = all(matches(part, person) for part in given)
            case "or":
                matched = any(matches(part, person) for part in given)
            case "not":
                matched = not matches(given, person)
            case "status":
                matched = person["status"] in given
            case "isActive":
                matched = person["isActive"] is given
            case "databaseId":
                matched = person["databaseId"] in given
            case _ if name in TIMES:
                value = person[name] and datetime.fromisoformat(person[name])
                matched = all(
                    (value is None) is at
                    if op == "isNull"
                    else value is not None and MOMENTS[op](value, datetime.fromisoformat(at))
                    for op, at in given.items()
                )
            case _:
                folded = None if person[name] is None else fold(person[name])
                matched = all(TESTS[op](folded, text) for op, text in given.items())
        if not matched:
            return False
    return True


def random_filter(rng: random.Random, people: list[Person], depth: int = 1) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for _ in range(rng.randint(0, 2)):
        match rng.choice(["text", "text", "status", "isActive", "databaseId", "moment"]):
            case "text":
                field = rng.choice(["username", "email", "displayName", "externalId"])
                value = rng.choice([p[field] for p in people if p[field]] + TEXTS)
                op = rng.choice(list(TESTS))
                wanted[field] = {op: [value] if op in {"in", "nin"} else value}
                if op == "isNull":
                    wanted[field] = {op: rng.random() < 0.5}
            case "status":
                statuses = ["ACTIVE", "DEACTIVATED", "DELETED"]
                wanted["status"] = rng.sample(statuses, rng.randint(0, 2))
            case "isActive":
                wanted["isActive"] = rng.random() < 0.5
            case "databaseId":
                wanted["databaseId"] = [p["databaseId"] for p in rng.sample(people, 3)]
            case "moment":
                field = rng.choice(TIMES)
                at = rng.choice(people)[field]
                null = {"isNull": rng.random() < 0.5}
                wanted[field] = {rng.choice(list(MOMENTS)): at} if at else null
    if depth < 4 and rng.random() < 0.7:
        op = rng.choice(["and", "or", "not"])
        parts = [random_filter(rng, people, depth + 1) for _ in range(rng.randint(0, 3))]
        wanted[op] = parts if op != "not" else random_filter(rng, people, depth + 1)
    return wanted


def names_status(wanted: dict[str, Any]) -> bool:
    below = [*wanted.get("and", ()), *wanted.get("or", ())]
    below += [wanted["not"]] if "not" in wanted else []
    named = {"status", "deletedAt", "eraseAfter", "erasedAt"} & wanted.keys()
    return bool(named) or any(names_status(part) for part in below)


@pytest.mark.parametrize("seed", range(4))
async def test_random_filters_find_the_same_users_as_the_model(
    client: Client, people: list[Person], seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - the same filters on every run
    everybody = sorted(people, key=lambda p: int(p["databaseId"]))
    for _ in range(40):
        wanted = random_filter(rng, people)
        expected = [
            p["databaseId"]
            for p in everybody
            if matches(wanted, p) and (names_status(wanted) or p["status"] != "DELETED")
        ]
        visited: list[str] = []
        after = None
        while True:
            page = await client.ask(IDS, filter=wanted, first=3, after=after)
            visited += [node["databaseId"] for node in page["nodes"]]
            assert page["totalCount"] == len(expected), wanted
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert visited == expected, wanted


on_postgres = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
ORDERED_COLUMNS = (
    *("created_at", "updated_at", "username_key", "email_key", "display_name_key"),
    "status",
)


async def fill(client: Client) -> None:
    """Adds 20,000 users, so that PostgreSQL's planner prefers indexes."""
    async with client.database.engine.begin() as connection:
        await connection.execute(
            text("""INSERT INTO users (username, username_key, email, email_key, display_name,
              display_name_key, is_active, status, status_changed_at, version, created_at,
              updated_at) SELECT md5(n::text), md5(n::text), md5(n::text) || '@example.com',
              md5(n::text) || '@example.com', 'Name ' || n, 'name ' || n, n % 5 > 0,
              CASE WHEN n % 5 > 0 THEN 'ACTIVE' ELSE 'DEACTIVATED' END, now(), 1,
              now() - n * interval '1 minute', now() - n * interval '1 second'
              FROM generate_series(1, 20000) n""")
        )
    async with client.database.session() as session:
        await session.execute(text("VACUUM ANALYZE users"))


async def plan(client: Client, statement: Any) -> str:
    dialect = client.database.engine.dialect
    compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    async with client.database.engine.connect() as connection:
        lines = await connection.execute(text(f"EXPLAIN {compiled}".replace(":", "\\:")))
    return "\n".join(line for (line,) in lines)


def listed(where: Any, order: Sequence[Sort]) -> Any:
    return Listing(USER_COLUMNS, order, within=where).page(Window(limit=20))


@on_postgres
async def test_every_order_uses_an_index(client: Client) -> None:
    await fill(client)
    keys = KeyCache()
    for field, column in zip(UserOrderField, ORDERED_COLUMNS, strict=True):
        for direction in OrderDirection:
            order = read_order([UserOrder(field=field, direction=direction)])
            where = (await read_filter(None, None, keys, true())).where()
            found = await plan(client, listed(where, order.sorts))
            assert f"ix_users_{column}_id" in found, found
            assert "Sort" not in found, found


@on_postgres
async def test_every_order_within_one_status_uses_an_index(client: Client) -> None:
    await fill(client)
    keys = KeyCache()
    for field, column in zip(UserOrderField, ORDERED_COLUMNS[:5], strict=False):
        sorts = read_order([UserOrder(field=field, direction=OrderDirection.DESC)]).sorts
        tab = await read_filter(UserFilter(status=[UserStatus.DEACTIVATED]), None, keys, true())
        found = await plan(client, users_listing(tab, sorts).page(Window(limit=20)))
        assert f"ix_users_status_{column}_id" in found, found
        assert "Sort" not in found, found


@on_postgres
async def test_order_by_status_skips_deleted_users_by_an_index(client: Client) -> None:
    await fill(client)
    by_status = read_order(
        [UserOrder(field=UserOrderField.STATUS, direction=OrderDirection.DESC)]
    ).sorts
    everybody = await read_filter(None, None, KeyCache(), true())
    found = await plan(client, users_listing(everybody, by_status).page(Window(limit=20)))
    assert "Index Cond: ((status)::text < 'DELETED'::text)" in found, found


@on_postgres
async def test_every_search_uses_an_index(client: Client) -> None:
    await fill(client)
    keys = KeyCache()
    search = await read_search("c4ca4238", keys)
    # `far_page` uses the search index even if the planner estimates an early match.
    by_name = read_order([UserOrder(field=UserOrderField.USERNAME)]).sorts
    far = users_listing((await read_filter(None, search, keys, true())), by_name).far_page(
        Window(limit=20)
    )
    found = await plan(client, far)
    assert "ix_users_keys_trgm" in found, found
    assert "ix_users_username_key_id" not in found, found

    by_id = [Sort(User.id)]
    found = await plan(
        client, listed((await read_filter(None, search, keys, true())).where(), by_id)
    )
    assert found.count("Bitmap Index Scan on ix_users_keys_trgm") == 1, found
    for condition, index in (
        (contains(User.username_key, "c4ca4238"), "ix_users_keys_trgm"),
        (ends_with(User.email_key, "c4ca4238"), "ix_users_keys_trgm"),
        (starts_with(User.display_name_key, "c4ca4238"), "ix_users_display_name_key_id"),
        (starts_with(User.external_id_key, "c4ca4238"), "ix_users_external_id_key"),
    ):
        found = await plan(client, listed(condition & NOT_DELETED, by_id))
        assert index in found, found


@on_postgres
@pytest.mark.parametrize("word", ["王芳", "王"])
async def test_search_for_few_chinese_characters_uses_an_index(client: Client, word: str) -> None:
    await fill(client)
    search = await read_search(word, KeyCache())
    assert search
    conditions = await read_filter(None, search, KeyCache(), true())
    found = await plan(client, listed(conditions.where(), [Sort(User.id)]))
    assert "Bitmap Index Scan on ix_users_unspaced_keys_trgm" in found, found
