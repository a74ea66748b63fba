"""Figures of Roster's process: time to the first answer, and memory."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import Final

import httpx
import orjson

from benchmarks.contenders import PRODUCTION, Running, running
from benchmarks.dialects import ROSTER, Request
from benchmarks.load import load
from benchmarks.sizes import share
from tests.support.process import resident, serving_process

STARTS: Final = 3
REQUESTS: Final = share(100_000, 1_000)
DOCUMENTS: Final = share(5_000)
_OFTEN = 100  # these most frequent documents are nine tenths of the requests
_WARM_UP = 20_000
_LOOKED_AT = 20
_SECONDS = 5  # of load, after which the number of requests is checked
_FIELDS = (
    "id databaseId username email displayName isActive status statusReason statusChangedAt "
    "externalId version createdAt updatedAt deletedAt eraseAfter erasedAt isViewer viewerCan"
)

Figures = dict[str, float]


async def first_requests(url: str) -> Figures:
    """Return the median times of the first and second request after a start, in milliseconds."""
    times = [await _first_two(url) for _ in range(STARTS)]
    first, second = (statistics.median(taken) for taken in zip(*times, strict=True))
    return {"first request, ms": first, "second request, ms": second}


async def _first_two(url: str) -> tuple[float, float]:
    async with serving_process(ROSTER_DATABASE_URL=url) as (_, address):
        host, _, port = address.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            first = await _milliseconds(reader, writer, ROSTER.look_up(1))
            return first, await _milliseconds(reader, writer, ROSTER.look_up(2))
        finally:
            writer.close()


async def _milliseconds(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
) -> float:
    head = (
        f"POST {request.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(request.body)}\r\n\r\n"
    )
    began = time.perf_counter()
    writer.write(head.encode() + request.body)
    answer = await reader.readuntil(b"}}}")
    took = (time.perf_counter() - began) * 1_000
    assert b'{"data":{"user":{' in answer, answer
    return took


def memory(url: str, headers: Mapping[str, str]) -> Figures:
    """Return the process's memory in MiB: after its start, a warm-up, and many distinct documents.

    The number of requests is a minimum, because wrk can only be limited by time.
    """
    requests = list(_requests())
    with running(PRODUCTION, url, headers) as server:
        _check(server, requests)
        figures = {"memory after the start, MiB": mebibytes(server.pid)}
        done = 0
        for end in (_WARM_UP, REQUESTS):
            while done < end:
                at = done % len(requests)
                turned = requests[at:] + requests[:at]
                done += load(server.address, turned, _SECONDS, headers).requests
            figures[f"memory after {end:,} requests, MiB"] = mebibytes(server.pid)
    return figures


def _check(server: Running, requests: Sequence[Request]) -> None:
    with httpx.Client(base_url=server.address, headers=dict(server.headers)) as http:
        for request in requests[:_LOOKED_AT]:
            answer = http.post(
                request.path, content=request.body, headers={"content-type": "application/json"}
            )
            assert set(answer.json()) == {"data"}, answer.text


def _requests() -> Iterator[Request]:
    # Some documents are used often, each of the others once.
    documents = [_document(*numbered) for numbered in enumerate(_selections())]
    for number, seldom in enumerate(documents[_OFTEN:]):
        yield seldom
        yield from (documents[(number * 9 + n) % _OFTEN] for n in range(9))


def _selections() -> Iterator[tuple[str, ...]]:
    return islice(combinations(_FIELDS.split(), 5), DOCUMENTS)


def _document(number: int, fields: tuple[str, ...]) -> Request:
    asked = "user(id: $id)" if number % 2 else "users(first: 10) { nodes"
    end = "" if number % 2 else "}"
    declared = "($id: ID!)" if number % 2 else ""
    query = f"query D{number} {declared} {{ {asked} {{ {' '.join(fields)} }} {end} }}"
    given = {"id": ROSTER.encode(number + 1)} if number % 2 else {}
    return Request("POST", "/graphql", orjson.dumps({"query": query, "variables": given}))


def mebibytes(pid: int) -> float:
    return resident(pid) / 1024 / 1024
