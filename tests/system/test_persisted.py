"""Persisted documents: by id on every transport, and nothing else if they are enforced."""

import json
from pathlib import Path

import pytest

from tests.support.process import run, serving_process
from tests.support.sockets import receive_message, send_message, socket

KNOWN, OTHER = "{ __typename }", "{ users { totalCount } }"
ANSWER = {"data": {"__typename": "Query"}}


def manifest(folder: Path) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({"known": KNOWN}))
    return path


async def test_websocket_accepts_only_ids_of_persisted_documents(tmp_path: Path) -> None:
    settings = {
        "ROSTER_PERSISTED_DOCUMENTS": "on",
        "ROSTER_PERSISTED_DOCUMENTS_FILE": str(manifest(tmp_path)),
    }
    async with serving_process(tmp_path, **settings) as (_, url), socket(url) as live:
        await send_message(
            live, {"id": "1", "type": "subscribe", "payload": {"documentId": "known"}}
        )
        assert await receive_message(live) == {"id": "1", "type": "next", "payload": ANSWER}
        assert await receive_message(live) == {"id": "1", "type": "complete"}
        for payload, code in (
            ({"query": KNOWN}, "DOCUMENT_NOT_TRUSTED"),
            ({"documentId": "other"}, "UNKNOWN_DOCUMENT"),
        ):
            await send_message(live, {"id": "1", "type": "subscribe", "payload": payload})
            message = await receive_message(live)
            assert (message["id"], message["type"]) == ("1", "error")
            assert [error["extensions"] for error in message["payload"]] == [{"code": code}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "must be an object of document ids and texts"),
        (b'{"a": 1}', "must be an object of document ids and texts"),
    ],
)
async def test_invalid_manifest_stops_serve_with_one_line(
    tmp_path: Path, content: bytes | None, line: str
) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)
    settings = {
        "ROSTER_PERSISTED_DOCUMENTS": "on",
        "ROSTER_PERSISTED_DOCUMENTS_FILE": str(path),
    }
    code, output = await run("serve", cwd=tmp_path, **settings)
    assert code != 0
    assert line in output
    assert len(output.strip().splitlines()) == 1, output
