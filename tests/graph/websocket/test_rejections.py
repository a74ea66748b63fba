"""Observers see each socket that is closed for an error, and each operation that ends with it."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from graph.app import create_app
from graph.settings import Settings
from tests.support.observers import Recorder
from tests.support.signing import RSA, TRUSTED, pem, token

PROTOCOL = "graphql-transport-ws"
INIT = {"type": "connection_init"}
FEED = {"query": "subscription Feed { userEvents { cursor } }"}
FOLLOWED = {"transport": "websocket", "type": "subscription", "name": "Feed"}


def subscribing(payload: Any) -> dict[str, Any]:
    return {"type": "subscribe", "id": "1", "payload": payload}


def rejection(code: str) -> dict[str, Any]:
    return {"transport": "websocket", "rejection": code, "errors": {code: 1}}


def until_closed(
    settings: Settings, messages: Iterable[Any], protocol: str, recorder: Recorder | None = None
) -> tuple[int, Any]:
    """Returns the close code, and what was observed."""
    recorder = recorder or Recorder()
    with TestClient(create_app(settings, [recorder])) as http:
        with http.websocket_connect("/graphql", subprotocols=[protocol]) as socket:
            for message in messages:
                socket.send_json(message)
            while (received := socket.receive())["type"] != "websocket.close":
                pass
        return received["code"], list(recorder.take())


@pytest.mark.parametrize(
    ("messages", "close_code", "code"),
    [
        ([{"type": "what"}], 4400, "BAD_REQUEST"),
        ([INIT, subscribing({"query": 3})], 4400, "BAD_REQUEST"),
        ([subscribing(FEED)], 4401, "UNAUTHENTICATED"),
        ([INIT | {"payload": {"authorization": "Bearer x"}}], 4403, "UNAUTHENTICATED"),
        ([], 4408, "INIT_TIMEOUT"),
        ([INIT, INIT], 4429, "BAD_REQUEST"),
    ],
)
def test_socket_that_is_closed_for_an_error_is_a_rejection(
    sqlite_template: Path, messages: list[Any], close_code: int, code: str
) -> None:
    settings = Settings(
        database_url=f"sqlite:///{sqlite_template}",
        allowed_hosts=["testserver"],
        ws_init_timeout=60 if messages else 0.01,
    )
    found = until_closed(settings, messages, PROTOCOL)
    assert found == (close_code, [rejection(code)])


def test_second_subscription_with_an_id_is_a_rejection(sqlite_template: Path) -> None:
    recorder = Recorder()

    def messages() -> Iterator[Any]:
        yield INIT
        yield subscribing(FEED)
        while not recorder.identified:  # in the application's thread
            time.sleep(0.001)
        yield subscribing(FEED)

    settings = Settings(database_url=f"sqlite:///{sqlite_template}", allowed_hosts=["testserver"])
    found = until_closed(settings, messages(), PROTOCOL, recorder)
    assert found == (4409, [rejection("BAD_REQUEST"), FOLLOWED])


def test_socket_of_another_protocol_is_a_rejection(sqlite_template: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{sqlite_template}", allowed_hosts=["testserver"])
    found = until_closed(settings, [], "graphql-ws")
    assert found == (4406, [rejection("BAD_REQUEST")])


def following_briefly() -> Iterator[Any]:
    # Accepted for up to three more seconds, because the clock of the issuer may differ by 30.
    bearer = token(exp=int(time.time()) - 27, scope="users:read users:history")
    yield INIT | {"payload": {"authorization": f"Bearer {bearer}"}}
    yield subscribing(FEED)


def test_subscription_whose_token_expires_ends_with_an_error(sqlite_template: Path) -> None:
    settings = Settings(
        database_url=f"sqlite:///{sqlite_template}",
        allowed_hosts=["testserver"],
        **TRUSTED,
        auth_public_key=pem(RSA),
    )
    found = until_closed(settings, following_briefly(), PROTOCOL)
    assert found == (4401, [FOLLOWED | rejection("UNAUTHENTICATED")])
