"""The search for users: words in any order, ranks, and pages in their order."""

import itertools
import operator
import unicodedata
from functools import partial
from typing import Any

import pytest

from db.pagination import Window
from db.search import RankedListing
from db.statements.users import USER_COLUMNS
from graph.api import cursors
from graph.api.ordering import BY_RANK
from graph.api.pagination import Page, read_ranked_page
from tests.support.client import Client
from tests.support.examples import examples
from tests.support.pages import collect_ids, conditions
from users.text import fold

PAGE = """query ($search: String, $first: Int, $after: String, $last: Int, $before: String,
               $filter: UserFilter, $orderBy: [UserOrder!]) {
  users(search: $search, first: $first, after: $after, last: $last, before: $before,
        filter: $filter, orderBy: $orderBy) {
    edges { cursor node { databaseId } } totalCount countAtMost statusCounts { status count }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""

PEOPLE: list[tuple[str, str | None]] = [
    ("joanna", "Joanna Smith"),
    ("lee.ann", None),
    ("annabel", "Belle"),
    ("maryann", "Mary Ann"),
    ("ann", "Zoe"),
    ("victoria", "Victoria Chartier"),
    ("chartier", "Charlotte Chartier"),
    ("zann", "Ann"),
    ("vic", "Chartier Victoria"),
    ("emile1", "Émile Straße"),
    ("emile2", "100% Chartiers_x"),
    ("hannah", "Ann Annson"),
    ("straße.emile", None),
    ("x-victoria", "Chartier, V."),
    ("taro1", "山田太郎"),
    ("taro2", "Taro 山 田"),
    ("somchai", "สมชาย ใจดี"),
    ("한글.kim", "a山b/c%_"),
    ("zoë", "Zoë 👩‍💻 x👩"),
    ("kim1", "김철수 (Chulsoo)"),
    ("r-and-d", "R & D [x]*?^$|{2}\\"),
    ("_obrien", "O'Brien-Zq"),
]
SEARCHES = [
    *("ann", "ANN", "a", "an", "chartier victoria", "victoria chartier", " VIC   char ", "nobody"),
    *("É", "strasse", "STRASSE e\u0301mile", "%", "_", "100% _x", "smith joanna ann", "ann ann"),
    *("victoria nobody", "example", "example ann", "@", "\U0010ffff", "0%", "'", "/"),
    *(
        "zq",
        "zq o",
        "ri",
        "b",
        "& d",
        "r & d",
        "&",
        "-zq",
        "o'",
        "o'b",
        "_o",
        "_",
        "*",
        "[x]*",
        "?^",
    ),
    *(
        "\\",
        "{2}",
        "$|{2}",
        "太郎",
        "郎",
        "철수",
        "山 太郎",
        "chul (c",
        "e s",
        "ıa",
        "v. c",
        "@e",
        "@ex",
    ),
    *("a b c d e f g h", "m a s", "x *", "* [x", "d [", "2}\\", "a--", "é", "ß", "ße", "ss"),
    *("👩", "👩 x", "💻", "% 👩"),
    *("山田", "田 山", "ชา", "ใจดี ส", "한글", "山b", "a山", "b/", "山b/c%", "글.k", "o山"),
]


def rank(search: str, keys: list[str]) -> int | None:
    """The model of the ranks: 0 to 3, or None if the search does not match."""
    words = [fold(word) for word in search.split()]
    whole = fold(" ".join(search.split()))
    if whole in keys:
        return 0
    if any(key.startswith(whole) for key in keys):
        return 1
    if letters(whole) == 0 and not is_unspaced(whole):
        return None
    starts = [(key, n) for key in keys for n in range(len(key)) if not n or key[n - 1] in BEFORE]
    begins = [any(key[n:].startswith(word) for key, n in starts) for word in words]
    if all(begins):
        return 2
    inside = [
        (letters(word) >= 3 or is_unspaced(word)) and any(word in key for key in keys)
        for word in words
    ]
    return 3 if all(map(operator.or_, begins, inside)) else None


def letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def is_unspaced(word: str) -> bool:
    scripts = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")
    return any(
        unicodedata.name(character, "").startswith(scripts)
        or unicodedata.category(character) == "So"
        for character in word
    )


BEFORE = " .-_@+'("


def expected(search: str) -> list[str]:
    ranked = []
    for number, (username, name) in enumerate(PEOPLE, start=1):
        keys = [fold(username), fold(f"u{number}@example.com"), *([fold(name)] if name else [])]
        if (found := rank(search, keys)) is not None:
            ranked.append((found, number))
    return [str(number) for _, number in sorted(ranked)]


@pytest.fixture
async def people(client: Client) -> Client:
    for number, (username, name) in enumerate(PEOPLE, start=1):
        named = {} if name is None else {"displayName": name}
        await client.create(username, email=f"u{number}@example.com", **named)
    return client


def searches() -> list[str]:
    """Returns the texts, or every nth of them in Hypothesis profiles with fewer examples."""
    return SEARCHES[:: len(SEARCHES) // examples(len(SEARCHES))]


def ids(page: dict[str, Any]) -> list[str]:
    return [edge["node"]["databaseId"] for edge in page["edges"]]


async def test_search_is_ranked_and_paged_in_both_directions(people: Client) -> None:
    for search, size in itertools.product(searches(), (1, 3, 20)):
        whole = expected(search)
        forwards: list[str] = []
        page: dict[str, Any] = {"pageInfo": {"endCursor": None, "hasNextPage": True}}
        while page["pageInfo"]["hasNextPage"]:
            after = page["pageInfo"]["endCursor"]
            page = await people.ask(PAGE, search=search, first=size, after=after)
            forwards += ids(page)
            assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
            assert page["totalCount"] == page["countAtMost"] == len(whole)
            assert sum(count["count"] for count in page["statusCounts"]) == len(whole)
        assert forwards == whole, search
        backwards: list[str] = []
        page = {"pageInfo": {"startCursor": None, "hasPreviousPage": True}}
        while page["pageInfo"]["hasPreviousPage"]:
            before = page["pageInfo"]["startCursor"]
            page = await people.ask(PAGE, search=search, last=size, before=before)
            backwards = ids(page) + backwards
        assert backwards == whole, search


async def test_explicit_order_wins_over_the_rank(people: Client) -> None:
    order = [{"field": "USERNAME"}]
    page = await people.ask(PAGE, search="victoria chartier", orderBy=order)
    assert ids(page) == ["9", "6", "14"]
    assert ids(await people.ask(PAGE, search="victoria chartier")) == ["6", "9", "14"]
    none: list[Any] | None
    for none in (None, []):
        assert ids(await people.ask(PAGE, search="ann", orderBy=none)) == expected("ann")


async def test_pages_of_a_search_are_stable_under_writes(people: Client) -> None:
    first = await people.ask(PAGE, search="ann", first=3)
    assert ids(first) == ["5", "8", "3"]
    await people.create("ann2")
    gone = await people.ask('{ userBy(by: {username: "zann"}) { id } }')
    await people.mutate("deleteUser", gone["id"])
    rest = await people.ask(PAGE, search="ann", after=first["pageInfo"]["endCursor"])
    assert ids(rest) == ["12", str(len(PEOPLE) + 1), "2", "4", "1"]
    back = await people.ask(PAGE, search="ann", last=9, before=rest["pageInfo"]["startCursor"])
    assert ids(back) == ["5", "3"]


async def test_search_combines_with_a_filter(people: Client) -> None:
    wanted: dict[str, Any] = {"displayName": {"isNull": True}}
    assert ids(await people.ask(PAGE, search="ann", filter=wanted)) == ["2"]
    wanted = {"status": ["DELETED"]}
    assert ids(await people.ask(PAGE, search="ann", filter=wanted)) == []


class Reader:
    """Reads pages of a search directly. `reach` users are scanned in order before a sort."""

    def __init__(self, client: Client, reach: int) -> None:
        self._client = client
        self._reach = reach

    async def page(
        self, search: str, window: Window, filter: dict[str, Any] | None = None
    ) -> Page[Any]:
        wanted, searched = await conditions(filter, search)
        assert searched is not None
        listing = RankedListing(
            USER_COLUMNS, searched, wanted.within(), wanted.conditions, self._reach
        )
        async with self._client.database.session() as session:
            return await read_ranked_page(session, listing, window)

    async def ids(self, search: str, filter: dict[str, Any] | None = None) -> list[str]:
        return row_ids(await self.page(search, Window(100), filter))


def row_ids(page: Page[Any]) -> list[str]:
    return [str(row.id) for row in page.rows]


def position(row: Any) -> tuple[Any, ...]:
    return BY_RANK.position(BY_RANK.cursor(row))


@pytest.fixture(params=[7, 2])
def reader(people: Client, request: pytest.FixtureRequest) -> Reader:
    return Reader(people, request.param)


async def test_search_is_ranked_and_paged_within_and_beyond_the_reach(reader: Reader) -> None:
    for search, size in itertools.product(searches(), (1, 3, 20)):
        for forwards in (True, False):
            found = await collect_ids(
                partial(reader.page, search), position, size, forwards=forwards
            )
            assert list(map(str, found)) == expected(search), search


async def test_pages_within_and_beyond_the_reach_are_stable_under_writes(
    people: Client, reader: Reader
) -> None:
    first = await reader.page("ann", Window(3))
    assert row_ids(first) == ["5", "8", "3"]
    await people.create("ann2")
    gone = await people.ask('{ userBy(by: {username: "zann"}) { id } }')
    await people.mutate("deleteUser", gone["id"])
    rest = await reader.page("ann", Window(20, after=position(first.rows[-1])))
    assert row_ids(rest) == ["12", str(len(PEOPLE) + 1), "2", "4", "1"]
    start = position(rest.rows[0])
    back = await reader.page("ann", Window(9, before=start, from_end=True))
    assert row_ids(back) == ["5", "3"]


async def test_search_within_and_beyond_the_reach_combines_with_a_filter(reader: Reader) -> None:
    assert await reader.ids("ann", {"displayName": {"isNull": True}}) == ["2"]
    assert await reader.ids("ann", {"status": ["DELETED"]}) == []


@pytest.mark.parametrize("search", [" ".join("abcdefghi"), "a " * 9])
async def test_search_with_too_many_words_is_rejected(client: Client, search: str) -> None:
    answer = await client.send(PAGE, search=search)
    assert answer["data"] == {"users": None}
    assert [(e["message"], e["extensions"]) for e in answer["errors"]] == [
        ("`search` has 9 words; it can have 8.", {"code": "INVALID_ARGUMENT"})
    ]
    assert (await client.ask(PAGE, search=" ".join("abcdefgh")))["edges"] == []


@pytest.mark.parametrize("values", [[], [0], [4, 1], [-1, 1], [True, 1], [0.0, 1], [0, 0], [None]])
async def test_invalid_cursor_of_a_search_is_rejected(client: Client, values: list[Any]) -> None:
    answer = await client.send(PAGE, search="ann", after=cursors.encode("RANK", values))
    assert answer["data"] == {"users": None}
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "INVALID_CURSOR"}]


async def test_cursor_of_another_order_is_rejected(people: Client) -> None:
    ranked = (await people.ask(PAGE, search="ann", first=1))["pageInfo"]["endCursor"]
    newest = (await people.ask(PAGE, first=1))["pageInfo"]["endCursor"]
    for search, after in (("ann", newest), (None, ranked)):
        answer = await people.send(PAGE, search=search, after=after)
        assert [e["extensions"] for e in answer["errors"]] == [{"code": "INVALID_CURSOR"}]
