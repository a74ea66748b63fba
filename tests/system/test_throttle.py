"""How often a caller may ask, and how many operations run at once."""

import json
from typing import Any

from tests.support.process import serving_process
from tests.support.sockets import hear, socket, stream, subscribe

USERS = "{ users { totalCount } }"


def code(answer: Any) -> str:
    [error] = answer["errors"]
    return str(error["extensions"]["code"])


async def test_a_socket_is_told_that_it_asks_too_often(database_url: str) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url, "ROSTER_RATE_LIMIT": "1/hour"}
    async with serving_process(None, **settings) as (_, url), socket(url) as live:
        await subscribe(live, "1", USERS)
        assert [(await hear(live))["type"] for _ in range(2)] == ["next", "complete"]
        await subscribe(live, "2", USERS)
        refused = await hear(live)
        assert (refused["id"], refused["type"]) == ("2", "error")
        assert refused["payload"][0]["extensions"] == {"code": "RATE_LIMITED"}


async def test_streams_are_counted_as_sockets_are(database_url: str) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url, "ROSTER_MAX_CONNECTIONS_PER_CALLER": "2"}
    async with serving_process(None, **settings) as (_, url), socket(url), stream(url):
        async with stream(url) as second:
            lines = [line async for line in second]
        assert json.loads(lines[1].removeprefix("data: "))["errors"] == [
            {
                "message": "Too many sockets are open",
                "extensions": {"code": "TOO_MANY_CONNECTIONS"},
            }
        ]
        assert lines[2:] == ["event: complete", "data:"]
        # A query is no stream that is held open.
        async with stream(url, USERS) as answered:
            assert [line async for line in answered][2:] == ["event: complete", "data:"]
