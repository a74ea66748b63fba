"""Requests of browsers: pages of other sites are rejected unless their origin is allowed."""

from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.process import serving_process
from tests.support.sockets import PROTOCOL, address

APP = "https://app.example"
VITE = "http://localhost:5173"


async def test_websocket_is_accepted_only_from_allowed_origins(tmp_path: Path) -> None:
    async with serving_process(tmp_path, ROSTER_CORS_ORIGINS=APP) as (_, url):
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": url.replace("127.0.0.1", "localhost")},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            with pytest.raises(InvalidStatus) as rejected:
                async with connect(
                    address(url),
                    additional_headers=headers,
                    subprotocols=[PROTOCOL],  # type: ignore[list-item]
                ):
                    pass
            assert rejected.value.response.status_code == 403
        for origin in (url, APP):
            async with connect(
                address(url),
                origin=origin,  # type: ignore[arg-type]
                subprotocols=[PROTOCOL],  # type: ignore[list-item]
            ) as live:
                assert live.subprotocol == PROTOCOL


async def test_websocket_of_vites_proxy_needs_a_matching_host(tmp_path: Path) -> None:
    """With `changeOrigin: false`, with `true`, and with `rewriteWsOrigin` as well."""
    async with serving_process(tmp_path) as (process, url):
        port = int(url.rpartition(":")[2])
        for named, origin in (("ws://localhost:5173/graphql", VITE), (address(url), url)):
            async with connect(
                named,
                host="127.0.0.1",
                port=port,
                origin=origin,  # type: ignore[arg-type]
                subprotocols=[PROTOCOL],  # type: ignore[list-item]
            ) as live:
                assert live.subprotocol == PROTOCOL
        with pytest.raises(InvalidStatus) as rejected:
            async with connect(address(url), origin=VITE, subprotocols=[PROTOCOL]):  # type: ignore[arg-type, list-item]
                pass
        assert rejected.value.response.status_code == 403
        assert process.stdout
        line = (await process.stdout.readline()).decode()
    assert f"Start Roster with ROSTER_CORS_ORIGINS={VITE} to allow it." in line
