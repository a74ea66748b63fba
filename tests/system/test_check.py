"""`roster check`: its exit code, its output for people and its output for programs."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.process import free_port, run, serving_process


async def check(cwd: Path | None = None, **settings: str) -> tuple[int, dict[str, Any]]:
    code, output = await run("check", "--json", cwd=cwd, **settings)
    document: dict[str, Any] = json.loads(output)
    return code, document


async def test_check_succeeds_while_a_server_runs(database_url: str, dialect: str) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url}
    if dialect == "postgresql":
        settings["ROSTER_READ_DATABASE_URL"] = database_url
    async with serving_process(ROSTER_DATABASE_URL=database_url):
        code, document = await check(None, **settings)
    assert code == 0, document
    assert ("replicas" in {found["name"] for found in document["checks"]}) is (len(settings) == 2)
    assert set(document) == {"status", "version", "database", "checks"}
    assert document["version"] == version("roster")
    assert {frozenset(found) for found in document["checks"]} == {
        frozenset({"name", "status", "detail", "fix"})
    }
    assert document["status"] in {"ok", "warning"}
    assert {found["status"] for found in document["checks"]} <= {"ok", "warning"}


async def test_check_of_an_unreachable_server_fails_and_says_how_to_fix_it(dialect: str) -> None:
    port = free_port()
    url = {
        "postgresql": f"postgresql://ada:s3cret@127.0.0.1:{port}/roster",
        "sqlite": "sqlite:////nowhere/roster.db",
    }[dialect]
    code, document = await check(ROSTER_DATABASE_URL=url)
    found = {entry["name"]: entry for entry in document["checks"]}
    assert (code, document["status"], found["connection"]["status"]) == (1, "failed", "failed")
    assert "ROSTER_DATABASE_URL" in found["connection"]["fix"]
    assert found["revision"] == {
        "name": "revision",
        "status": "not checked",
        "detail": "needs: connection",
        "fix": None,
    }
    code, output = await run("check", ROSTER_DATABASE_URL=url)
    assert code == 1
    lines = output.splitlines()
    [line] = [line for line in lines if line.startswith("failed ")]
    assert line.split()[1] == "connection"
    assert lines[lines.index(line) + 1].split()[0] == "fix:"
    assert "1 failed" in lines[-1]
    assert "s3cret" not in output
    assert "Traceback" not in output


async def test_wrong_setting_is_a_failed_check() -> None:
    code, document = await check(ROSTER_PORT="http", ROSTER_MODE="production")
    assert (code, document["status"], document["database"]) == (1, "failed", None)
    assert document["checks"] == [
        {
            "name": "settings",
            "status": "failed",
            "detail": "ROSTER_PORT: Input should be a valid integer, unable to parse string as an "
            "integer",
            "fix": None,
        }
    ]
