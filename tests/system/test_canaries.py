"""No value of a request or of a user is in logs, metrics or traces, whatever path it takes.

Canaries are sent through every path to a server with everything enabled. Afterwards all of its
output is searched for them.
"""

import asyncio
import json
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from graph.execution.schema import Schema
from graph.strawberry_adapter import core_schema
from tests.conftest import opened, run_in
from tests.graph.api.test_former_users import ADMIN
from tests.support.canaries import EMAIL, WORD, found_in, operations
from tests.support.canary_requests import (
    ANY,
    BODIES,
    CANARY,
    COUNT,
    CREATE,
    HEADERS,
    MESSAGES,
    PATHS,
    REJECTED,
    SSE,
)
from tests.support.process import start_writing
from tests.support.sockets import PROTOCOL, address, receive_message, send_message
from tests.support.watched import Watched, watching
from tests.system.test_production import EVERYTHING, bearer
from users.commands import Retention, Transition
from users.lifecycle import UserAction
from users.service import UserService

# A fault that names the row, in each kind of trigger that the databases have.
_SQLITE_FAULT = f"""CREATE TRIGGER fault BEFORE UPDATE ON users WHEN new.display_name = 'fault'
  BEGIN SELECT RAISE(ABORT, 'row of {EMAIL}'); END"""
_POSTGRES_FAULT = """
CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF new.display_name = 'fault' THEN
    RAISE EXCEPTION 'row of %', new.email USING ERRCODE = '22012', DETAIL = new.email;
  ELSIF new.display_name = 'slow' THEN PERFORM pg_sleep(60);
  ELSIF new.display_name = 'check' THEN
    RAISE EXCEPTION 'row of %', new.email USING ERRCODE = '23514', CONSTRAINT = 'some_check';
  ELSIF new.display_name = 'cut' THEN
    PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60);
  END IF; RETURN new; END $$;
CREATE TRIGGER fault BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fault()"""


_UNKNOWN_STATUS = f"UPDATE users SET status = '{WORD}'"  # noqa: S608 - our own value
_UNCHECKED = """DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype = 'c'
  LOOP EXECUTE format('ALTER TABLE users DROP CONSTRAINT %I', name); END LOOP; END $$"""


async def test_values_of_requests_are_published_nowhere(
    database_url: str, dialect: str, tmp_path: Path
) -> None:
    async with watching(database_url, tmp_path) as watched:
        created = await watched.post({"query": CREATE, "variables": {"input": CANARY}})
        assert created["data"]["createUser"]["errors"] == [], created
        user = created["data"]["createUser"]["user"]
        assert user["email"] == EMAIL  # the canaries are received
        assert EMAIL in (await watched.http.get("/users.ndjson", headers=ANY)).text
        number = await _send_operations(watched)
        await _send_rejected(watched)
        await _use_sockets(watched)
        await _cause_faults(watched, database_url, dialect, user["id"])
        await _write(watched, user["id"])
        await _crash(watched, database_url, dialect)
        published = await watched.published()
    assert {name: found_in(text)[:3] for name, text in published.items() if found_in(text)} == {}
    # What was searched has been written by what the requests have done.
    for event in ("unknown document", "refused a token", "refused a malformed request"):
        assert f'"event": "{event}"' in published["log"]
    assert '"event": "operation crashed"' in published["log"]
    assert '"exception": [' in published["log"]
    assert '"LookupError"' in published["log"]
    assert published["metrics"].count("graphql_server_request_duration_seconds_count") > 5
    assert published["traces"].count("graphql.operation.type") > number
    assert published["traces"].count("WS /graphql") > len(MESSAGES)
    # In quotation marks, as an attribute: times contain any digits.
    assert ('"22012"' in published["traces"]) is (dialect == "postgresql")


async def _send_operations(watched: Watched) -> int:
    requests = list(operations(core_schema(Schema())))
    for request in requests:
        await watched.post(request)
        await watched.http.get("/graphql", params=_parameters(request))
    for start in range(0, len(requests), 10):
        await watched.post(requests[start : start + 10])
    for request in requests[::5]:
        if "subscription" not in request["query"]:
            await watched.http.post("/graphql", json=request, headers=SSE)
    await watched.post({"documentId": "create", "variables": {"input": CANARY}})
    await watched.post({"documentId": WORD})
    return len(requests)


def _parameters(request: dict[str, Any]) -> dict[str, str]:
    return {n: v if isinstance(v, str) else json.dumps(v) for n, v in request.items()}


async def _write(watched: Watched, id_: str) -> None:
    """Changes, deletes and erases the user, and is refused for each reason of the database."""
    reason = {"id": id_, "reason": EMAIL}
    for name, given in (
        ("updateUser", {"id": id_, "displayName": WORD * 2, "expectedVersion": 99}),
        ("createUser", CANARY | {"idempotencyKey": "other"}),
        ("createUser", CANARY | {"displayName": "other"}),
        ("deactivateUser", reason),
        ("reactivateUser", reason),
        ("deleteUser", reason),
        ("eraseUser", reason | {"confirmUsername": f"{WORD}2"}),
        ("eraseUser", reason | {"confirmUsername": WORD}),
    ):
        kind = name[0].upper() + name[1:]
        if name in {"deactivateUser", "reactivateUser"}:
            kind = "UserTransition"
        field = f"{name}(input: $input) {{ errors {{ code }} }}"
        query = f"mutation ($input: {kind}Input!) {{ {field} }}"
        answer = await watched.post({"query": query, "variables": {"input": given}})
        assert answer.get("errors") is None, (name, answer)


async def _send_rejected(watched: Watched) -> None:
    json_body = {"content-type": "application/json"}
    for body in BODIES:
        answer = await watched.http.post("/graphql", content=body, headers=json_body)
        assert "errors" in answer.text or b'qzcanary":' in body, (body, answer.text)
    for path in PATHS:
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            await watched.http.request(method, path, headers={"accept": "*/*"})
    statuses = [
        (await watched.http.post("/graphql", json=COUNT, headers=headers)).status_code
        for headers in REJECTED
    ]
    assert statuses.count(401) >= 7
    for head in (
        b"QZCANARY /qzcanary HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET /qzcanary HTTP/9.qzcanary\r\n\r\n",
        b"GET / HTTP/1.1\r\nqzcanary\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: qzcanary qzcanary\r\n\r\n",
    ):
        await _send_raw(watched.url, head)


async def _send_raw(url: str, content: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(content)
    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 4")
    writer.close()


async def _use_sockets(watched: Watched) -> None:
    valid = {"authorization": bearer(EVERYTHING, sub=WORD), WORD: WORD}
    for payload in ({"authorization": f"Bearer {WORD}"}, WORD, {WORD: WORD}):
        assert await _talk(watched.url, payload, {"type": "ping"}) is None
    for message in MESSAGES:
        await _talk(watched.url, valid, message)
    with pytest.raises(Exception):  # noqa: B017, PT011 - the handshake fails
        async with connect(address(watched.url), origin=f"https://{WORD}.example"):  # type: ignore[arg-type]
            pass


async def _talk(url: str, payload: Any, message: Any) -> dict[str, Any] | None:
    """Returns the answer to a message; None if the server closed the socket."""
    async with connect(
        address(url),
        subprotocols=[PROTOCOL],  # type: ignore[list-item] # a NewType of str
        additional_headers=HEADERS,
    ) as socket:
        await send_message(socket, {"type": "connection_init", "payload": payload})
        try:
            assert await receive_message(socket) == {"type": "connection_ack"}
            await send_message(socket, message)
            return await receive_message(socket)
        except ConnectionClosed:
            return None


async def _cause_faults(watched: Watched, database_url: str, dialect: str, id_: str) -> None:
    if dialect == "sqlite":
        async with opened(database_url) as database, database.engine.begin() as connection:
            await connection.exec_driver_sql(_SQLITE_FAULT)
    else:
        await run_in(database_url, _POSTGRES_FAULT)
    codes = []
    for fault in ["fault"] if dialect == "sqlite" else ["fault", "check", "cut", "slow"]:
        given = f'{{id: "{id_}", displayName: "{fault}"}}'
        field = f"updateUser(input: {given}) {{ errors {{ code }} }}"
        answer = await watched.post({"query": f"mutation {{ {WORD}: {field} }}"})
        codes += [error["extensions"]["code"] for error in answer["errors"]]
    expected = ["INTERNAL_ERROR"] * (1 if dialect == "sqlite" else 2)
    assert codes[: len(expected)] == expected, codes


async def _crash(watched: Watched, database_url: str, dialect: str) -> None:
    """Makes resolvers and exports fail by a value that the code does not know."""
    if dialect == "sqlite":
        async with opened(database_url) as database, database.engine.begin() as connection:
            await connection.exec_driver_sql("PRAGMA ignore_check_constraints = on")
            await connection.exec_driver_sql(_UNKNOWN_STATUS)
    else:
        await run_in(database_url, _UNCHECKED, _UNKNOWN_STATUS)
    answer = await watched.post({"query": '{ node(id: "VXNlcjox") { ... on User { status } } }'})
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["INTERNAL_ERROR"]
    exported = await watched.http.get("/users.ndjson", headers=ANY)
    assert (exported.status_code, found_in(exported.text)) == (500, [])


IMPORTED = f"""externalId,username,email,displayName
{WORD},{WORD},{EMAIL},{WORD}
{WORD}2,{WORD},{EMAIL},{WORD}
{WORD}3,{WORD} {WORD},{WORD},{WORD}
""".splitlines(keepends=True)


async def test_values_of_commands_are_not_in_their_log(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "invalid.csv").write_text("".join(IMPORTED))
    (tmp_path / "valid.csv").write_text("".join(IMPORTED[:2]))
    (tmp_path / "taken.csv").write_text(IMPORTED[0] + IMPORTED[2])
    logs = [
        (await _run(["import", file, "--report", "report.ndjson"], tmp_path, database_url))[1]
        for file in ("invalid.csv", "valid.csv", "taken.csv")
    ]
    commands = [
        ["export", "out.ndjson"],
        ["external-id", "show", WORD],
        ["external-id", "release", WORD, "--reason", WORD],
        ["key", "create", WORD, "--scope", "users:read"],
        ["events", "--personal-data"],
    ]
    outputs = await asyncio.gather(*(_run(command, tmp_path, database_url) for command in commands))
    assert [found_in(log) for log in [*logs, *(log for _, log in outputs)]] == [[]] * 8
    assert (tmp_path / "out.ndjson").read_text().count(EMAIL) == 1
    assert "cannot be imported" in logs[0]
    assert EMAIL in outputs[-1][0]


async def test_values_of_erased_users_are_in_no_output(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "valid.csv").write_text("".join(IMPORTED[:2]))
    await _run(["import", "valid.csv"], tmp_path, database_url)
    due = Retention(datetime(2000, 1, 1, tzinfo=UTC))
    deletion = Transition(action=UserAction.DELETE, user_id=1, reason=EMAIL, retention=due)
    async with (
        opened(database_url) as database,
        database.session() as session,
        session.transaction(),
    ):
        await UserService(session, ADMIN).execute([deletion])
    outputs = [
        await _run(command, tmp_path, database_url, ROSTER_ERASURE_LEDGER="ledger")
        for command in (
            ["events"],
            ["erase-due"],
            ["erase-replay"],
            ["after-restore", "--yes", "--reason", WORD],
            ["events", "--personal-data"],
            ["events", "--format", "cloudevents"],
        )
    ]
    assert [(found_in(output), found_in(log)) for output, log in outputs] == [([], [])] * 6
    assert outputs[1][0].startswith("Erased 1 users")
    assert outputs[4][0].splitlines()[-1].count('"type":"ERASED"') == 1


async def _run(
    command: list[str], folder: Path, database_url: str, **settings: str
) -> tuple[str, str]:
    """Returns what a command writes to its standard output and its standard error."""
    process = await start_writing(
        PIPE, PIPE, *command, cwd=folder, ROSTER_DATABASE_URL=database_url, **settings
    )
    output, log = await asyncio.wait_for(process.communicate(), 60)
    return output.decode(), log.decode()
