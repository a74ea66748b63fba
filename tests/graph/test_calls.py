"""The number of Python calls of frequent requests. A feature that is not used costs none."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import fastapi
import pytest
import starlette

from graph.settings import Settings
from tests.support.client import serving

ROOT = Path(__file__).parents[2]
COUNTED = (
    *(f"{ROOT / package}/" for package in ("graph", "users", "feed", "db")),
    *(f"{library.__path__[0]}/" for library in (fastapi, starlette)),
)
FIELDS = "id username email status createdAt"
LOOKUP = f"query ($id: ID!) {{ user(id: $id) {{ {FIELDS} }} }}"
LIST = f"""query ($first: Int!) {{ users(first: $first) {{ edges {{ cursor node {{ {FIELDS} }} }}
  pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"""
CREATE = """mutation ($input: CreateUserInput!) {
  createUser(input: $input) { user { id username version } } }"""
APP = "https://app.example"


@contextmanager
def counted() -> Iterator[list[int]]:
    """Counts the calls of functions of Roster and the frameworks. A resumed coroutine counts."""
    calls = [0]

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(COUNTED):
            calls[0] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


# Each maximum is about 4 % above the number when it was set. A higher one needs a reason: ten calls
# take about 1 % of the CPU time of a lookup.
@pytest.mark.parametrize("cors_origins", [[], [APP]], ids=["", "cors"])
@pytest.mark.parametrize(("operation", "most"), [("lookup", 240), ("list", 378), ("create", 316)])
async def test_request_needs_few_calls(
    database_url: str, operation: str, most: int, cors_origins: list[str]
) -> None:
    settings = Settings(database_url=database_url, cors_origins=cors_origins)
    async with serving(settings) as client:
        ids = [(await client.create(f"user{n}"))["id"] for n in range(20)]
        requests: dict[str, tuple[str, list[dict[str, Any]]]] = {
            "lookup": (LOOKUP, [{"id": id_} for id_ in ids]),
            "list": (LIST, [{"first": 20} for _ in ids]),
            "create": (
                CREATE,
                [{"input": {"username": f"new{n}", "email": f"n{n}@b.example"}} for n in range(20)],
            ),
        }
        query, variables = requests[operation]
        found = []
        for given in variables:
            with counted() as calls:
                await client.ask(query, **given)
            found.append(calls[0])
    assert min(found) <= most  # the first requests are compiled
