"""What the feed sends about erased users."""

import json
import re
from typing import Any

import pytest

from tests.support.client import CREATE
from tests.support.process import serving_process
from tests.support.sockets import ask, event, socket, stream, subscribe

WHOLE = """subscription ($after: String) { userEvents(after: $after) {
  cursor type reason changes { before after } user { username email displayName } } }"""
DELETE = "mutation ($input: DeleteUserInput!) { deleteUser(input: $input) { errors { code } } }"
ERASE = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
CURSORS = "{ userEvents(first: 100) { nodes { cursor } } }"
PERSONAL = ("mia", "Mia Meier", "left us")


def disclosed(text: str) -> list[str]:
    return [value for value in PERSONAL if re.search(rf"\b{value}\b", text)]


@pytest.mark.parametrize("transport", ["WebSocket", "SSE"])
async def test_no_server_replays_values_that_another_server_erased(
    database_url: str, transport: str
) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url}
    values = {"username": "mia", "email": "mia@example.com", "displayName": "Mia Meier"}
    async with (
        serving_process(None, **settings) as (_, one),
        serving_process(None, **settings) as (_, two),
    ):
        await ask(one, CREATE, input=values | {"username": "first", "email": "first@example.com"})
        first = (await ask(one, CURSORS))["nodes"][0]["cursor"]
        async with socket(one) as live, socket(two) as other:
            for following in (live, other):
                await subscribe(following, query=WHOLE, after=first)
            mia = (await ask(one, CREATE, input=values))["user"]["id"]
            for following in (live, other):
                assert "Mia Meier" in json.dumps(await event(following))
            assert await ask(one, DELETE, input={"id": mia, "reason": "left us"}) == {"errors": []}
            confirmed = {"id": mia, "confirmUsername": "mia", "reason": "asked"}
            assert await ask(one, ERASE, input=confirmed) == {"errors": []}
            for url in (one, two):
                replayed = await _replay(url, transport, first)
                assert [found["type"] for found in replayed] == ["CREATED", "DELETED", "ERASED"]
                assert disclosed(json.dumps(replayed)) == []


async def _replay(url: str, transport: str, after: str) -> list[dict[str, Any]]:
    """Follow from a cursor until the next erasure."""
    found: list[dict[str, Any]] = []
    if transport == "WebSocket":
        async with socket(url) as again:
            await subscribe(again, query=WHOLE, after=after)
            while not found or found[-1]["type"] != "ERASED":
                found.append(await event(again))
        return found
    async with stream(url, WHOLE, after=after) as lines:
        async for line in lines:
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: "))["data"]["userEvents"])
            if found and found[-1]["type"] == "ERASED":
                break
    return found
