"""Sources of settings: the environment, `.env`, and variables that Kubernetes sets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.graph.test_environment import service
from tests.support.process import free_port, run, start


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [("serve",), ("migrate",), ("demo",), ("erase-due",)])
async def test_every_command_reports_an_invalid_env_file_in_one_line(
    folder: Path, command: tuple[str, ...]
) -> None:
    (folder / ".env").write_bytes("ROSTER_PORT=1 # \xfc\n".encode("latin-1"))
    output = "roster: .env: line 1 must be saved in UTF-8\n"
    assert await run(*command, cwd=folder) == (1, output)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_logs_its_notices_once(folder: Path, workers: str) -> None:
    (folder / ".env").write_text("ROSTER_AUTH_API_KEYS=true\n")
    (folder / ".env").chmod(0o644)
    variables = {**service("ROSTER"), "ROSTER_MODE": "production", "ROSTER_LOG_FORMAT": "json"}
    variables |= {"ROSTER_PORT": str(free_port()), "ROSTER_WORKERS": workers}
    process = await start("serve", cwd=folder, **variables)
    assert process.stdout
    output = b""
    while b"mode" not in output:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, output.decode()
        output += line
    process.terminate()
    output += (await process.communicate())[0]
    assert output.count(b"variables of a Kubernetes Service are ignored") == 1
    assert output.count(b"other users can read the file .env") == 1


async def test_key_is_printed_on_its_own_line_after_notices(folder: Path) -> None:
    variables: dict[str, Any] = service("ROSTER")
    code, output = await run("key", "create", "x", "--scope", "users:read", cwd=folder, **variables)
    assert code == 0
    notice, _, key = output.splitlines()
    assert "variables of a Kubernetes Service are ignored" in notice
    assert key.startswith("roster_")
