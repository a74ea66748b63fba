"""Persisted documents: by id over every transport, and exclusively in the mode `on`."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from graph.documents.persisted import PersistedMode
from graph.settings import Settings
from tests.support.client import Client, serving

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
KNOWN, OTHER = "{ __typename }", "{ users { totalCount } }"
ANSWER = {"data": {"__typename": "Query"}}
GRAPHQL = {"accept": "application/graphql-response+json"}


def manifest(folder: Path) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({"known": KNOWN}))
    return path


async def post(client: Client, **body: Any) -> tuple[int, Any]:
    response = await client.http.post("/graphql", json=body, headers=GRAPHQL)
    answer = response.json()
    if "errors" not in answer:
        return response.status_code, answer
    [error] = answer["errors"]
    assert set(answer) == {"errors"}
    return response.status_code, error["extensions"]["code"]


@sqlite
@pytest.mark.parametrize("mode", PersistedMode)
async def test_persisted_documents_mode_decides_which_documents_are_accepted(
    database_url: str, tmp_path: Path, mode: PersistedMode
) -> None:
    settings = Settings(
        database_url=database_url,
        persisted_documents=mode,
        persisted_documents_file=manifest(tmp_path),
    )
    async with serving(settings) as client:
        with capture_logs() as logs:
            assert await post(client, documentId="known") == (200, ANSWER)
            assert await post(client, documentId="known", query=KNOWN) == (200, ANSWER)
            assert await post(client, documentId="known", query=OTHER) == (400, "BAD_REQUEST")
            assert await post(client, documentId="other") == (400, "UNKNOWN_DOCUMENT")
            assert await post(client, documentId="other", query=KNOWN) == (400, "UNKNOWN_DOCUMENT")
            assert logs == []
            untrusted = (403, "DOCUMENT_NOT_TRUSTED")
            on = mode is PersistedMode.ON
            total = (200, {"data": {"users": {"totalCount": 0}}})
            assert await post(client, query=KNOWN) == (untrusted if on else (200, ANSWER))
            assert await post(client, query=OTHER) == (untrusted if on else total)
        digest = sha256(OTHER.encode()).hexdigest()
        logged = [(log["event"], log["sha256"], log["size"]) for log in logs]
        assert logged == ([("unknown document", digest, 24)] if mode is PersistedMode.LOG else [])
        got = await client.http.get("/graphql", params={"documentId": "known"})
        assert got.json() == ANSWER
        streamed = await client.http.post(
            "/graphql", json={"documentId": "known"}, headers={"accept": "text/event-stream"}
        )
        assert 'data: {"data":{"__typename":"Query"}}\n\nevent: complete' in streamed.text
