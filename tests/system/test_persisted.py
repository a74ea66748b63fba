"""Trusted documents: by their id over every transport, and nothing else where they are on."""

import json
from pathlib import Path

import pytest

from tests.support.process import run, serving_process
from tests.support.sockets import hear, say, socket

KNOWN, OTHER = "{ __typename }", "{ users { totalCount } }"
ANSWER = {"data": {"__typename": "Query"}}


def manifest(folder: Path) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({"known": KNOWN}))
    return path


async def test_a_socket_takes_ids_alone(tmp_path: Path) -> None:
    settings = {
        "ROSTER_PERSISTED_DOCUMENTS": "on",
        "ROSTER_PERSISTED_DOCUMENTS_FILE": str(manifest(tmp_path)),
    }
    async with serving_process(tmp_path, **settings) as (_, url), socket(url) as live:
        await say(live, {"id": "1", "type": "subscribe", "payload": {"documentId": "known"}})
        assert await hear(live) == {"id": "1", "type": "next", "payload": ANSWER}
        assert await hear(live) == {"id": "1", "type": "complete"}
        for payload, code in (
            ({"query": KNOWN}, "DOCUMENT_NOT_TRUSTED"),
            ({"documentId": "other"}, "UNKNOWN_DOCUMENT"),
        ):
            await say(live, {"id": "1", "type": "subscribe", "payload": payload})
            refused = await hear(live)
            assert (refused["id"], refused["type"]) == ("1", "error")
            assert [error["extensions"] for error in refused["payload"]] == [{"code": code}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "has to be an object of document ids and texts"),
        (b'{"a": 1}', "has to be an object of document ids and texts"),
    ],
)
async def test_a_wrong_manifest_stops_the_start_with_a_line(
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
