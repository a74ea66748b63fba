import asyncio
import json
import signal
import socket
import sqlite3
import subprocess
import sys
from asyncio.subprocess import PIPE
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

import pytest
from graphql import build_schema
from sqlalchemy import select, text

from db.models import UserEvent
from graph.cli.cache_types import cache_types
from tests.conftest import opened
from tests.support.client import count
from tests.support.process import (
    free_port,
    http_client,
    run,
    serving_process,
    start,
    start_writing,
)

ROOT = Path(__file__).parents[2]
MIGRATION_LOCK = 5_077_837  # the same as in db/migration_session.py


async def test_demo_adds_users_with_a_history(database_url: str) -> None:
    for total in (200, 400):
        code, output = await run("demo", "--users", "200", ROSTER_DATABASE_URL=database_url)
        assert code == 0, output
        assert "Adding users" in output
        assert "Added 200 users to " in output
        async with opened(database_url) as database:
            users, events = await count(database)
            assert users == total
            assert events > users
            async with database.engine.connect() as connection:
                types = set((await connection.execute(select(UserEvent.type))).scalars())
            assert len(types) >= 4


async def test_demo_rejects_an_invalid_number_of_users(tmp_path: Path) -> None:
    for users in ("0", "-1", "many"):
        code, output = await run("demo", "--users", users, cwd=tmp_path)
        assert code != 0
        assert "--users" in output
        assert "Traceback" not in output
    assert not (tmp_path / "roster.db").exists()


@pytest.mark.parametrize(
    "command", [("settings",), ("--version",), ("events", "--schema"), ("key", "list")]
)
async def test_output_that_cannot_be_written_is_an_error_in_one_line(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    url = f"sqlite:///{tmp_path}/roster.db"
    if command == ("key", "list"):
        assert (await run("migrate", ROSTER_DATABASE_URL=url))[0] == 0
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230, PTH123 - a device
        process = await start_writing(full, PIPE, *command, ROSTER_DATABASE_URL=url)
    _, message = await asyncio.wait_for(process.communicate(), 60)
    expected = b"roster: cannot write the output: No space left on device\n"
    assert (process.returncode, message) == (1, expected)


def test_commands_do_not_import_the_libraries_of_the_server() -> None:
    server_only = "{'fastapi', 'prometheus_client', 'redis', 'strawberry', 'uvicorn'}"
    program = f"import sys, graph.cli.main; print({server_only} & sys.modules.keys())"
    found = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


async def test_schema_command_prints_the_committed_schema() -> None:
    assert await run("schema") == (0, (ROOT / "schema.graphql").read_text())


async def test_schema_command_prints_possible_types_and_keys_of_types() -> None:
    code, output = await run("schema", "--possible-types")
    assert code == 0
    printed = json.loads(output)
    assert printed == cache_types(build_schema((ROOT / "schema.graphql").read_text()))
    assert printed["possibleTypes"]["Node"] == ["User", "UserEvent"]
    assert [name for name, key in printed["keys"].items() if key] == ["User", "UserEvent"]


@pytest.mark.usefixtures("installed_program")
async def test_help_lists_the_commands_and_an_unknown_command_fails() -> None:
    code, output = await run("--help")
    assert code == 0
    assert all(name in output for name in ("serve", "migrate", "demo", "schema"))
    code, output = await run("fly")
    assert code == 2
    assert "Traceback" not in output


@pytest.mark.parametrize("command", [("erase-due",), ("key", "list"), ("key", "revoke", "1")])
async def test_command_on_existing_data_creates_no_database(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    line = f"roster: there is no directory in SQLite {tmp_path}/roster.db: "
    assert await run(*command, cwd=tmp_path) == (1, f"{line}ROSTER_DATABASE_URL names it\n")
    path = tmp_path / "roster.db"
    assert not path.exists()
    path.touch()  # as another program may have left it
    assert (await run(*command, cwd=tmp_path))[0] == 1
    assert path.read_bytes() == b""


@pytest.mark.usefixtures("installed_program")
async def test_output_names_the_database_by_its_absolute_path(tmp_path: Path) -> None:
    code, output = await run("migrate", cwd=tmp_path)
    assert (code, output.split(" is at ")[0]) == (0, f"SQLite {tmp_path}/roster.db")
    code, output = await run("erase-due", cwd=tmp_path)
    assert (code, output) == (0, f"Erased 0 users in SQLite {tmp_path}/roster.db.\n")


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_migration_waits_for_another_longer_than_the_statement_timeout(
    empty_url: str,
) -> None:
    settings = {"ROSTER_DATABASE_URL": empty_url, "ROSTER_STATEMENT_TIMEOUT": "0.01"}
    async with opened(empty_url) as database, database.engine.connect() as other:
        await other.execute(text(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
        waiting = await start("migrate", cwd=None, **settings)
        assert waiting.stdout
        async with asyncio.timeout(60):
            line = await waiting.stdout.readline()
        assert line.startswith(b"Waiting for another migration: ")
        await other.execute(text("SELECT pg_sleep(0.1)"))  # ten times the statement timeout
        await other.execute(text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
        output, _ = await waiting.communicate()
    assert waiting.returncode == 0, output.decode()
    assert b"is at revision" in output


async def test_interrupted_demo_reports_how_many_users_it_added(tmp_path: Path) -> None:
    process = await start("demo", "--users", "10000000", cwd=tmp_path)
    path = tmp_path / "roster.db"
    async with asyncio.timeout(60):
        while not (path.exists() and users_in(path)):
            assert process.returncode is None
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in output
    said = f"Stopped. Added {users_in(path)} of 10000000 users to SQLite {path}."
    assert output.decode().splitlines()[-1] == said


def users_in(path: Path) -> int:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path)) as connection:
        [count] = connection.execute("SELECT count(*) FROM users").fetchone()
        return int(count)
    return 0


async def test_version_and_help_options_print_version_and_usage() -> None:
    expected = f"roster {version('roster')}\n"
    assert await run("--version") == (0, expected)
    module = subprocess.run(  # noqa: ASYNC221 - short, and ours
        [sys.executable, "-m", "graph", "--version"], check=False, capture_output=True, text=True
    )
    assert (module.returncode, module.stdout) == (0, expected)
    for command in ((), ("serve",), ("key",), ("key", "create")):
        code, output = await run(*command, "-h")
        assert (code, "Usage: roster" in output) == (0, True)


@pytest.mark.parametrize(
    ("host", "urls"),
    [
        ("::1", ["[::1]"]),
        ("[::1]", ["[::1]"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("::", ["[::1]", "127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),  # noqa: S104 - what is tried
    ],
)
async def test_server_listens_on_ipv4_and_ipv6(tmp_path: Path, host: str, urls: list[str]) -> None:
    production = {"ROSTER_MODE": "production", "ROSTER_AUTH_API_KEYS": "true"}
    settings = production if host in {"::", "0.0.0.0"} else {}  # noqa: S104 - what is tried
    async with serving_process(tmp_path, ROSTER_HOST=host, **settings) as (_, url):
        port = url.rpartition(":")[2]
        async with http_client() as http:
            for own in urls:
                live = await http.get(f"http://{own}:{port}/health/live")
                assert live.json() == {"status": "ok"}, own
                if not settings:
                    response = await http.post(
                        f"http://{own}:{port}/graphql", json={"query": "{ __typename }"}
                    )
                    assert response.json() == {"data": {"__typename": "Query"}}


async def test_serve_reports_an_unusable_address_in_one_line(tmp_path: Path) -> None:
    production = {"ROSTER_MODE": "production", "ROSTER_AUTH_API_KEYS": "true"}
    for host, line in (
        ("nowhere.invalid", "ROSTER_HOST: nowhere.invalid is neither an address nor a name"),
        (
            "192.0.2.1",
            "ROSTER_HOST chooses another address",
        ),  # RFC 5737: reserved for documentation
    ):
        code, output = await run("serve", cwd=tmp_path, ROSTER_HOST=host, **production)
        assert (code, line in output, len(output.splitlines())) == (1, True, 1), output
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        code, output = await run("serve", "--port", port, cwd=tmp_path)
    assert (code, "ROSTER_PORT chooses another port" in output) == (1, True)


async def test_serve_options_take_precedence_over_settings(tmp_path: Path) -> None:
    port = free_port()
    process = await start("serve", "--host", "127.0.0.2", "--port", str(port), cwd=tmp_path)
    try:
        assert process.stdout
        async with asyncio.timeout(60):
            while f"http://127.0.0.2:{port}/graphql".encode() not in (
                line := await process.stdout.readline()
            ):
                assert line
        async with http_client() as http:
            response = await http.post(
                f"http://127.0.0.2:{port}/graphql", json={"query": "{ __typename }"}
            )
            assert response.json() == {"data": {"__typename": "Query"}}
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60)
