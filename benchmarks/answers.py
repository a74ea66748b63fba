"""Checks a server's answers against the database before it is measured.

wrk counts responses other than 2xx. A run also fails if the answers under load have another size
than the checked ones, or if writes leave fewer rows than there were answers. So no error can
improve a rate.
"""

import base64
import re
import secrets
import statistics
from collections.abc import Sequence
from datetime import datetime
from itertools import cycle, islice
from typing import Any

import httpx

from benchmarks.contenders import Running
from benchmarks.dialects import MARK, Request, creation
from benchmarks.load import CONNECTIONS, CannotMeasure, Load
from benchmarks.operations import Operation
from benchmarks.truth import Answer, Truth, milliseconds, rows_of

LOOKED_AT = 5
_ALIKE = 0.95  # names and numbers vary in length
_OK = 200


async def check(http: httpx.AsyncClient, server: Running, asked: Operation, truth: Truth) -> float:
    """Return the mean size of an answer in bytes. Raises CannotMeasure if an answer is wrong."""
    sizes = []
    for keys in islice(cycle(asked.keys()), LOOKED_AT):
        request, username = _named(asked.ask(server.contender.dialect, keys))
        data, size = await _ask(http, server, request)
        found: Any = content(data)
        wanted: Any
        if asked.expect:
            wanted = await asked.expect(truth, keys)
        else:
            rows = await truth.written(username)
            told = {"id": rows[0]["id"], "username": username, "version": 1}
            found = found, rows
            wanted = {"createUser": {"user": told}}, rows_of(creation(username), *rows)
        if found != wanted:
            title = f"{server.contender.title}, {asked.title}"
            raise CannotMeasure(f"{title}: the answer is\n{found}\nand has to be\n{wanted}")
        sizes.append(size)
    return statistics.mean(sizes)


def check_sizes(server: Running, asked: Operation, load: Load, size: float) -> None:
    """Raise CannotMeasure if the answers under load differ in size from the checked ones."""
    cut_short = CONNECTIONS * size / load.requests  # answers in transit at the end
    if not size * _ALIKE < load.bytes_each < (size + cut_short) / _ALIKE:
        raise CannotMeasure(
            f"{server.contender.title}, {asked.title}: answers have {load.bytes_each:.0f} bytes "
            f"under load, and {size:.0f} otherwise."
        )


def _named(request: Request) -> tuple[Request, str]:
    """Replace the mark by a new random number. Returns the request and the resulting username."""
    number = secrets.token_hex(len(MARK) // 2)
    body = request.body.replace(MARK.encode(), number.encode())
    return Request(request.method, request.path, body), f"new{number}"


async def _ask(http: httpx.AsyncClient, server: Running, request: Request) -> tuple[Answer, int]:
    """Return the data of an answer, and its size in bytes including the head."""
    response = await http.request(
        request.method,
        f"{server.address}{request.path}",
        content=request.body,
        headers={"content-type": "application/json", **server.headers},
    )
    answer: Answer = {}
    if response.status_code == _OK:
        answer = response.json()
    if "data" not in answer or "errors" in answer:
        raise CannotMeasure(
            f"{server.contender.title} answers {response.status_code}: {response.text}"
        )
    lines = [b"HTTP/1.1 200 OK", *map(b": ".join, response.headers.raw), b""]
    return answer["data"], sum(len(line) + 2 for line in lines) + len(response.content)


def content(value: Any, key: str = "") -> Any:
    """Remove what servers may format differently: ids, cursors and times."""
    match value:
        case {"edges": [*edges], "pageInfo": page_info}:
            return [content(edge["node"]) for edge in edges], _place(edges, page_info)
        case dict():
            return {name: content(part, name) for name, part in value.items()}
        case str() if key == "id":
            return _key(value)
        case str() if key == "createdAt":
            return milliseconds(datetime.fromisoformat(value))
        case _:
            return value


def _place(edges: Sequence[Any], page_info: Any) -> tuple[bool, bool]:
    """Return (has next page, has previous page), after checking the cursors."""
    cursors = [edge["cursor"] for edge in edges]
    assert len(set(cursors)) == len(cursors)
    assert (page_info["startCursor"], page_info["endCursor"]) == (cursors[0], cursors[-1])
    return page_info["hasNextPage"], page_info["hasPreviousPage"]


def _key(text: str) -> int:
    if not text.isdigit():  # a global id: base64 of a text that ends with the key
        text = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    return int(re.findall(r"\d+", text)[-1])
