"""Documents that take long to validate delay other requests only briefly."""

import asyncio
import sys
from contextlib import suppress
from typing import Any

import pytest

from graph.documents.cache import DocumentCache
from graph.documents.limits import Limits
from graph.documents.parsing import InvalidDocument
from graph.execution.schema import Schema
from graph.protocol.errors import RequestError
from graph.protocol.request import Request
from tests.support.schema import CORE

# All within the limits: up to 300 fields and 1,000 tokens. Those of one kind differ by an alias, so
# that each is a new document.
KINDS = {
    "many fields": "{ users { a%d: nodes { " + "id " * 291 + "} } }",
    "many arguments": "{ users { a%d: totalCount " + "countAtMost(limit: 1) " * 160 + "} }",
    "conflicting arguments": "{ users { a%d: totalCount "
    + " ".join(f"countAtMost(limit: {n})" for n in range(160))
    + "} }",
    "objects with arguments": "{ users { a%d: totalCount nodes { "
    + "history(first: 1) { pageInfo { hasNextPage } } " * 75
    + "} } }",
    "many fragments": "{ users { a%d: totalCount nodes { "
    + " ".join(f"...F{n}" for n in range(24))
    + " } } } "
    + " ".join(f"fragment F{n} on User {{ {'id ' * 12} }}" for n in range(24)),
    "inline fragments": "{ users { a%d: totalCount nodes { "
    + "... { id username } " * 140
    + "} } }",
}
# No other request waits longer than 0.5 s: at most for so many documents, of so many calls each,
# which take 10 to 15 ms. Seconds would depend on other processes.
MOST_DOCUMENTS = 6
MOST_CALLS = 250_000
KNOWN = "{ __typename }"
TURNS = 10  # of the event loop, from a request to its response


async def test_request_waits_for_at_most_six_hostile_documents() -> None:
    """Counts the documents processed while another request takes its turns of the event loop."""
    schema = Schema()
    await schema.execute(KNOWN)
    done: list[int] = []

    async def prepare(number: int, kind: str) -> None:
        with suppress(RequestError):
            await schema.prepare(Request(KINDS[kind] % number), None)
        done.append(number)

    hostile = [
        asyncio.create_task(prepare(n, kind)) for kind in KINDS for n in range(30 // len(KINDS))
    ]
    most = 0
    while len(done) < len(hostile):
        before = len(done)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await schema.execute(KNOWN)
        most = max(most, len(done) - before)
    assert most <= MOST_DOCUMENTS


@pytest.mark.parametrize("kind", KINDS)
def test_validation_of_a_hostile_document_makes_a_bounded_number_of_calls(kind: str) -> None:
    documents, calls = DocumentCache(CORE, Limits()), 0

    def count(_frame: object, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        with suppress(InvalidDocument):
            documents.prepare(KINDS[kind] % 1, None, None)
    finally:
        sys.setprofile(None)
    assert calls < MOST_CALLS
