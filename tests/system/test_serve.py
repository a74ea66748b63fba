"""`roster serve` as a process on a real port, stopped by a signal."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL, make_url

from db.migrations import newest
from graph.cli.server import uvicorn_config
from graph.settings import Settings
from tests.conftest import postgres
from tests.support.process import MEASURED, free_port, http_client, run, serving_process, start
from tests.support.proxy import proxied
from tests.support.sockets import closed, socket

AWAY = "The database is unavailable right now."
COUNT = {"query": "{ users { totalCount } }"}
ADD = {
    "query": """mutation ($n: String!, $e: String!) {
      createUser(input: {username: $n, email: $e}) { user { username } errors { code } } }"""
}


def add(name: str, number: int = 0) -> dict[str, Any]:
    return ADD | {"variables": {"n": name, "e": f"{name}{number}@example.com"}}


@pytest.mark.usefixtures("installed_program")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_server_starts_in_an_empty_folder_and_a_signal_stops_it_cleanly(
    tmp_path: Path, stop: signal.Signals
) -> None:
    async with serving_process(cwd=tmp_path, **MEASURED) as (process, url), http_client() as http:
        assert (await http.post(f"{url}/graphql", json=add("ada"))).json() == {
            "data": {"createUser": {"user": {"username": "ada"}, "errors": []}}
        }
        process.send_signal(stop)
        rest, _ = await asyncio.wait_for(process.communicate(), 60)
    assert b"Traceback" not in rest
    assert process.returncode == (0 if stop is signal.SIGINT else -signal.SIGTERM)
    assert (tmp_path / "roster.db").exists()


async def test_startup_output_shows_address_database_and_mode(tmp_path: Path) -> None:
    port = free_port()
    process = await start("serve", cwd=tmp_path, ROSTER_PORT=str(port))
    assert process.stdout
    lines = [(await process.stdout.readline()).decode() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    rest, _ = await process.communicate()
    assert [" ".join(line.split()) for line in lines] == [
        "Roster is running. Ctrl-C stops it.",
        f"address http://127.0.0.1:{port}/graphql",
        f"database SQLite {tmp_path}/roster.db",
        "mode development (no sign-in, this machine only)",
    ]
    assert rest == b"Stopped.\n"


async def test_concurrent_creations_on_several_processes_keep_names_unique(
    database_url: str,
) -> None:
    """Two servers with two workers each: of concurrent requests for a name, one succeeds."""
    async with (
        serving_process(ROSTER_DATABASE_URL=database_url, ROSTER_WORKERS="2") as (_, one),
        serving_process(ROSTER_DATABASE_URL=database_url, ROSTER_WORKERS="2") as (_, other),
        http_client() as http,
    ):
        for n in range(25):
            answers = await asyncio.gather(
                *(
                    http.post(f"{url}/graphql", json=add(f"name{n}", i))
                    for i, url in enumerate((one, other, one, other))
                )
            )
            payloads = [answer.json()["data"]["createUser"] for answer in answers]
            assert sum(p["user"] is not None for p in payloads) == 1
            assert [e["code"] for p in payloads for e in p["errors"]] == ["TAKEN"] * 3
        answer = await http.post(f"{other}/graphql", json=COUNT)
        assert answer.json() == {"data": {"users": {"totalCount": 25}}}


async def test_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    async with serving_process(cwd=tmp_path, **MEASURED) as (_, url):
        port = url.rpartition(":")[2]
        code, output = await run("serve", cwd=tmp_path, ROSTER_PORT=port)
    assert code == 1
    assert output == (
        f"roster: cannot listen on 127.0.0.1:{port}: Address already in use. "
        "ROSTER_PORT chooses another port\n"
    )


@pytest.mark.parametrize("command", ["serve", "migrate", "demo"])
async def test_unusable_database_is_reported_in_one_line(command: str, tmp_path: Path) -> None:
    no_database = tmp_path / "text.db"
    no_database.write_text("not a database, but long enough to be read as one" * 100)
    nowhere = f"postgresql://ada:s3cret@127.0.0.1:{free_port()}/roster"
    for url, line in (
        (nowhere, "roster: cannot use PostgreSQL roster on 127.0.0.1:"),
        (f"sqlite:///{tmp_path}/no/such/roster.db", "roster: cannot use SQLite "),
        (f"sqlite:///{no_database}", "file is not a database"),
        (postgres("nowhere"), 'database "nowhere" does not exist'),
    ):
        code, output = await run(command, ROSTER_DATABASE_URL=url, ROSTER_DATABASE_WAIT="0")
        assert code == 1
        assert output.count("\n") == 1, output
        assert line in output
        assert "s3cret" not in output


async def assert_waits(http: httpx.AsyncClient) -> None:
    """Asserts what an orchestrator, a client and a subscriber see."""
    waits = {"status": "waiting", "database": "unreachable"}
    for path, status, body in (
        ("live", 200, {"status": "ok"}),
        ("started", 503, waits),
        ("ready", 503, waits),
    ):
        answer = await http.get(f"/health/{path}")
        assert (answer.status_code, answer.json()) == (status, body)
        assert answer.headers["x-content-type-options"] == "nosniff"
    answer = await http.post("/graphql", json=COUNT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "DATABASE_UNAVAILABLE"}
    async with socket(str(http.base_url).rstrip("/"), init=False) as live:
        assert await closed(live) == (1013, f"{AWAY} Try again in a moment.")


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_server_waits_for_its_database_and_says_so(database_url: str) -> None:
    port = str(free_port())
    async with asyncio.timeout(60), proxied(database_url, started=False) as (proxy, near):
        process = await start(
            "serve", ROSTER_PORT=port, ROSTER_DATABASE_URL=near, ROSTER_DATABASE_WAIT="600"
        )
        assert process.stdout
        line = (await process.stdout.readline()).decode()
        name = f"PostgreSQL {make_url(near).database} on 127.0.0.1:{proxy.port}"
        assert line.startswith(f"Waiting for {name}: ")
        async with http_client(f"http://127.0.0.1:{port}") as http:
            await assert_waits(http)
            await proxy.start()
            line = (await process.stdout.readline()).decode()
            assert line == "Roster is running. Ctrl-C stops it.\n"
            ready = {"status": "ok", "database": "ok"}
            assert (await http.get("/health/ready")).json() == ready
        process.send_signal(signal.SIGINT)
        await process.communicate()


async def test_server_that_may_not_wait_exits_without_its_database() -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/roster"
    settings = {"ROSTER_PORT": str(free_port()), "ROSTER_DATABASE_WAIT": "2"}
    code, output = await run("serve", cwd=None, ROSTER_DATABASE_URL=url, **settings)
    waiting, line = output.splitlines()
    assert waiting.startswith("Waiting for PostgreSQL roster on 127.0.0.1:")
    assert line.startswith("roster: cannot use PostgreSQL roster on 127.0.0.1:")
    assert code == 1


@pytest.mark.usefixtures("installed_program")
@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_postgresql_is_migrated_only_by_the_migrate_command(empty_url: str) -> None:
    for command in ("serve", "demo"):
        code, output = await run(command, ROSTER_DATABASE_URL=empty_url)
        assert (code, output) == (
            1,
            "roster: the database is not set up yet: run `roster migrate`\n",
        )
    code, output = await run("migrate", ROSTER_DATABASE_URL=empty_url)
    assert code == 0
    assert output.endswith(f" is at revision {newest()}.\n")
    async with (
        serving_process(DATABASE_URL=empty_url) as (_, url),
        http_client() as http,
    ):
        answer = await http.post(f"{url}/graphql", json=COUNT)
        assert answer.json() == {"data": {"users": {"totalCount": 0}}}


class Wire:
    """A connection between a server and its database that can be cut and restored."""

    def __init__(self, far: URL) -> None:
        self.far = far
        self.port = free_port()
        self.server: asyncio.Server | None = None
        self.open: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self.server = await asyncio.start_server(self.carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self.server
        self.server.close()
        for writer in list(self.open):
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.far.host or str(self.far.query["host"]), self.far.port or 5432
        if host.startswith("/"):
            far_reader, far_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        self.open |= {writer, far_writer}

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65_536):
                    target.write(data)
                    await target.drain()
            except OSError:
                pass
            finally:
                target.close()
                self.open.discard(target)

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


@asynccontextmanager
async def wired(database_url: str) -> AsyncIterator[tuple[Wire, str]]:
    url = make_url(database_url)
    wire = Wire(url)
    await wire.mend()
    near = url.set(host="127.0.0.1", port=wire.port, query={})
    yield wire, near.render_as_string(hide_password=False)
    await wire.cut()


FAILURES: tuple[tuple[Any, str, str | None], ...] = (
    (COUNT, f"{AWAY} Try again in a moment.", None),
    (add("ada"), f"{AWAY} This write was not done. Try again in a moment.", "NOT_DONE"),
)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_unreachable_database_is_reported_and_reconnected(
    database_url: str,
) -> None:
    async with (
        wired(database_url) as (wire, near),
        serving_process(ROSTER_DATABASE_URL=near) as (process, url),
        http_client() as http,
    ):

        async def ask(body: dict[str, Any], status: int = 200) -> dict[str, Any]:
            answer = await http.post(f"{url}/graphql", json=body)
            assert answer.status_code == status
            assert answer.headers.get("retry-after") == ("2" if status == 503 else None)
            found: dict[str, Any] = answer.json()
            return found

        assert await ask(COUNT) == {"data": {"users": {"totalCount": 0}}}
        await wire.cut()
        for body, message, outcome in FAILURES:
            answer = await ask(body, 503)
            assert set(answer) == {"errors"}
            [error] = answer["errors"]
            assert error["message"] == message
            assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE"
            assert error["extensions"].get("outcome") == outcome
            shown = json.dumps(answer)
            assert not [w for w in ("asyncpg", "127.0.0.1", "refused", "Errno") if w in shown]
        assert (await http.get(f"{url}/health/ready")).status_code == 503
        assert (await http.get(f"{url}/health/live")).status_code == 200

        await wire.mend()
        assert await ask(COUNT) == {"data": {"users": {"totalCount": 0}}}
        assert (await ask(add("ada")))["data"] == {
            "createUser": {"user": {"username": "ada"}, "errors": []}
        }
        assert (await http.get(f"{url}/health/ready")).status_code == 200
        process.send_signal(signal.SIGINT)
        log, _ = await process.communicate()
    assert log.count(b"database unreachable") == 2
    assert b"Traceback" not in log


async def test_idle_connection_is_closed_after_the_keep_alive_timeout(tmp_path: Path) -> None:
    assert (
        uvicorn_config(Settings()).timeout_keep_alive == 75
    )  # longer than balancers keep one: 60 s
    async with serving_process(tmp_path, ROSTER_KEEP_ALIVE_TIMEOUT="1") as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(60):
            answer = await reader.read()  # until the server closes it
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"status":"ok"}')
