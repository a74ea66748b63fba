"""The pages that GraphiQL's address shows before it is built."""

from pathlib import Path

from fastapi import FastAPI
from starlette.testclient import TestClient

from graph.http.graphiql import add_graphiql, graphiql


def test_page_that_is_not_built_says_so_and_reloads_itself(tmp_path: Path) -> None:
    response = graphiql({}, tmp_path / "missing")
    assert response.status_code == 200
    assert b"GraphiQL is not built yet" in response.body
    assert b'<meta http-equiv="refresh" content="2">' in response.body
    assert "script-src" not in response.headers["content-security-policy"]
    assert response.headers["vary"] == "Accept"


def test_page_whose_build_failed_shows_the_reason_as_text(tmp_path: Path) -> None:
    (tmp_path / "failure.txt").write_text("vite failed: <script>")
    body = bytes(graphiql({}, tmp_path).body)
    assert b"vite failed: &lt;script&gt;" in body
    assert b"<script" not in body
    assert b'<meta http-equiv="refresh" content="2">' in body
    (tmp_path / "index.html").write_text('<script src="./assets/a.js"></script>')
    built = bytes(graphiql({"root_path": "/directory"}, tmp_path).body)
    assert built == b'<script src="/directory/graphiql/assets/a.js"></script>'


def test_files_are_not_found_until_they_are_built(tmp_path: Path) -> None:
    app, folder = FastAPI(), tmp_path / "dist"
    add_graphiql(app, "/graphql", folder)
    with TestClient(app) as client:
        assert client.get("/graphiql/assets/a.js").status_code == 404
        (folder / "assets").mkdir(parents=True)
        (folder / "assets" / "a.js").write_text("1")
        (folder / "LICENSES.md").write_text("MIT")
        found = client.get("/graphiql/assets/a.js")
        assert (found.status_code, found.text) == (200, "1")
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "cache-control" not in client.get("/graphiql/LICENSES.md").headers
