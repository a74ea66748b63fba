"""The rate limit of a caller, and the limit of open connections."""

import json
from typing import Any

from tests.support.process import serving_process
from tests.support.sockets import receive_message, socket, stream, subscribe

USERS = "{ users { totalCount } }"


def code(answer: Any) -> str:
    [error] = answer["errors"]
    return str(error["extensions"]["code"])


async def test_websocket_operation_over_the_rate_limit_gets_an_error(database_url: str) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url, "ROSTER_RATE_LIMIT": "1/hour"}
    async with serving_process(None, **settings) as (_, url), socket(url) as live:
        await subscribe(live, "1", USERS)
        assert [(await receive_message(live))["type"] for _ in range(2)] == ["next", "complete"]
        await subscribe(live, "2", USERS)
        message = await receive_message(live)
        assert (message["id"], message["type"]) == ("2", "error")
        assert message["payload"][0]["extensions"] == {"code": "RATE_LIMITED"}


async def test_event_streams_count_towards_the_connection_limit(database_url: str) -> None:
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
        # A query does not count as an open stream.
        async with stream(url, USERS) as answered:
            assert [line async for line in answered][2:] == ["event: complete", "data:"]
