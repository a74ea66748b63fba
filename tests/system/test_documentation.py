"""Executes each query, command and setting of the documentation."""

import asyncio
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import OperationDefinitionNode, build_schema, parse, validate

from graph.auth.tokens import TokenVerifier
from graph.cli.cache_types import cache_types
from graph.cli.settings_table import settings_table
from graph.settings import load
from tests.support.client import CREATE, Client
from tests.support.process import http_client, run, serving_process
from tests.support.schema import CORE
from tests.support.signing import RSA, pem, token
from users.policy import Scope

ROOT = Path(__file__).parents[2]
README, CLIENTS, OPERATIONS, CONTRIBUTING = (
    ROOT / name
    for name in ("README.md", "docs/clients.md", "docs/operations.md", "CONTRIBUTING.md")
)
ROSTER = ".venv/bin/roster "
# These need an account, a container engine, or a server elsewhere.
ELSEWHERE = ("docker ", "git clone", "export ", "--publish", "make ", "pre-commit")
VARIABLES = ("ROSTER_", "OTEL_")
# tests/support/nginx.py, tests/system/test_proxy.py; tests/system/test_recovery_instructions.py;
# tests/system/test_migration_scripts.py, tests/stage/test_litestream.py;
# tests/system/test_shared_limits.py; tests/system/test_dashboards.py
BY_OTHERS = (
    *("openssl ", "curl ", "pg_", "cp ", "touch ", "psql ", "litestream ", "redis-cli "),
    "promtool ",
)


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def documents() -> Iterator[Any]:
    for page in (README, CLIENTS, OPERATIONS):
        for number, text in enumerate(blocks(page, "graphql"), 1):
            yield pytest.param(text, id=f"{page.stem}-{number}")
    [react] = blocks(CLIENTS, "tsx")
    yield pytest.param(re.findall(r"`(query [^`]+)`", react)[0], id="react")


def commands(page: Path) -> list[str]:
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := line.partition("  #")[0].strip())]


@pytest.mark.parametrize("document", list(documents()))
async def test_each_query_of_the_documentation_is_answered_without_an_error(
    client: Client, document: str
) -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text())
    parsed = parse(document)
    assert validate(schema, parsed) == []
    [operation] = parsed.definitions
    assert isinstance(operation, OperationDefinitionNode)
    if operation.operation.value == "subscription":
        return  # tests/graph/streaming covers subscriptions
    if "updateUser" in document:
        assert (await client.create("ada"))["id"] in document
    answer = await client.send(document)
    assert set(answer) == {"data"}
    assert all(field.get("errors", []) == [] for field in answer["data"].values())


async def test_curl_request_of_the_documentation_is_answered(tmp_path: Path) -> None:
    line, *_ = [command for command in commands(CLIENTS) if command.startswith("curl")]
    _, url, option, body = shlex.split(line)
    assert option == "--json"
    async with serving_process(tmp_path) as (_, address), http_client() as http:
        answer = await http.post(
            address + httpx.URL(url).path,
            content=body,
            headers={"content-type": "application/json", "accept": "application/json"},
        )
    assert (answer.status_code, answer.json()) == (200, {"data": {"users": {"nodes": []}}})


async def test_subscription_of_the_documentation_is_streamed(tmp_path: Path) -> None:
    [line] = [c for c in commands(CLIENTS) if c.startswith("curl") and "--no-buffer" in c]
    _, url, _, _, accept, option, body = shlex.split(line)
    assert option == "--json"
    headers = {"content-type": "application/json"} | dict([accept.split(": ")])
    async with serving_process(tmp_path) as (_, address), http_client(address) as http:
        path = httpx.URL(url).path

        async def first_event() -> str:
            async with http.stream("POST", path, content=body, headers=headers) as answer:
                events = (text async for text in answer.aiter_lines() if text.startswith("data:"))
                return await anext(events)

        event = asyncio.create_task(first_event())
        for number in itertools.count():  # a change before the subscription begins is no event
            user = {"username": f"user-{number}", "email": f"{number}@example.com"}
            await http.post(path, json={"query": CREATE, "variables": {"input": user}})
            if event.done():
                break
    data = json.loads((await event).removeprefix("data:"))["data"]["userEvents"]
    assert (set(data), data["type"]) == ({"cursor", "type"}, "CREATED")


async def test_commands_of_the_clients_page_print_the_schema_and_possible_types() -> None:
    [to_schema, to_types] = [c for c in commands(CLIENTS) if c.startswith(ROSTER)]
    for command, expected in (
        (to_schema, (ROOT / "schema.graphql").read_text()),
        (to_types, json.dumps(cache_types(CORE), indent=2) + "\n"),
    ):
        arguments, _, _ = command.removeprefix(ROSTER).partition(" > ")
        assert await run(*shlex.split(arguments)) == (0, expected)


async def test_each_roster_command_of_the_documentation_succeeds(tmp_path: Path) -> None:
    typed = [command for page in (README, OPERATIONS) for command in commands(page)]
    ours = [command for command in typed if command.startswith(ROSTER)]
    others = [command for command in typed if command not in ours]
    assert [c for c in others if not c.startswith((*ELSEWHERE, *BY_OTHERS, *VARIABLES))] == []
    await run("migrate", cwd=tmp_path)
    for command in ours:
        _, *arguments = shlex.split(command)
        # The first two do not end, and the last is for PostgreSQL.
        if arguments == ["serve"] or {"--follow", "--sql"} & set(arguments):
            continue
        if arguments[0] == "after-restore" or arguments[:2] == ["feed", "renew-epoch"]:
            arguments.append("--yes")  # it asks for confirmation
        code, output = await run(*arguments, cwd=tmp_path)
        is_rejected = arguments[:2] == ["external-id", "release"]  # no user has had this one
        assert code == is_rejected, (command, output)
        assert "Traceback" not in output


async def test_role_of_the_clients_page_can_be_tried(tmp_path: Path) -> None:
    [assigned] = [c for c in commands(CLIENTS) if c.startswith(f"TOKEN=$({ROSTER}")]
    asking = [c for c in commands(CLIENTS) if c.startswith("curl") and "$TOKEN" in c]
    [line] = [c for c in asking if "/graphql" in c]
    _, url, header, authorization, option, body = shlex.split(line)
    assert (header, option) == ("--header", "--json")
    create = 'mutation { createUser(input: {username: "ada", email: "a@b.example"}) { replayed } }'
    async with serving_process(tmp_path) as (_, address), http_client() as http:
        graphql = address + httpx.URL(url).path
        await http.post(graphql, json={"query": create})
        arguments = assigned.removeprefix(f"TOKEN=$({ROSTER}").removesuffix(")")
        code, output = await run(*shlex.split(arguments), cwd=tmp_path)
        token_text = output.splitlines()[-1]
        name, _, value = authorization.replace("$TOKEN", token_text).partition(": ")
        headers = {name: value, "content-type": "application/json", "accept": "application/json"}
        answer = await http.post(graphql, content=body, headers=headers)
    assert code == 0
    assert answer.json() == {"data": {"viewer": {"username": "ada", "viewerCan": ["UPDATE"]}}}


async def test_page_on_another_port_is_allowed_as_documented(tmp_path: Path) -> None:
    [line] = {c for c in commands(CLIENTS) if c.startswith("ROSTER_CORS_ORIGINS=")}
    setting, _, arguments = line.partition(" ")
    assert arguments == f"{ROSTER}serve"
    name, _, origin = setting.partition("=")
    [shown] = blocks(CLIENTS, "text")
    for settings, accepted in (({}, False), ({name: origin}, True)):
        async with (
            serving_process(tmp_path, **settings) as (_, address),
            http_client() as http,
        ):
            answer = await http.post(
                f"{address}/graphql", json={"query": "{ __typename }"}, headers={"origin": origin}
            )
        assert (answer.status_code == 200) is accepted
        assert accepted or answer.json()["errors"][0]["message"] == shown.strip()


def test_each_setting_of_the_documentation_exists() -> None:
    pages = [README, CONTRIBUTING, *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.conf")]
    pages = [page for page in pages if "node_modules" not in page.parts and "adr" not in page.parts]
    text = "".join(page.read_text() for page in pages)
    named = set(re.findall(r"\bROSTER_[A-Z_]*[A-Z]\b(?!_)", text))
    benches = {"ROSTER_TEST_POSTGRES_URL", "ROSTER_BENCH_POSTGRES_URL"}
    assert named - benches - set(re.findall(r"ROSTER_[A-Z_]+", settings_table())) == set()


def test_each_make_target_of_the_documentation_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = [c for page in (README, CONTRIBUTING) for c in commands(page) if c.startswith("make ")]
    named = {name for command in typed for name in command.split()[1:]}
    assert named
    assert named <= targets


@pytest.mark.parametrize(
    ("title", "scopes"),
    [
        ("Keycloak", {Scope.READ, Scope.HISTORY, Scope.WRITE}),
        ("Auth0", {Scope.READ, Scope.HISTORY, Scope.WRITE}),
    ],
)
async def test_documented_settings_of_a_provider_accept_its_tokens(
    title: str,
    scopes: set[Scope],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = OPERATIONS.read_text().split(f"### {title}\n")[1].split("\n### ")[0]
    settings = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    recorded = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert settings
    assert recorded
    monkeypatch.chdir(tmp_path)  # has no .env
    for line in settings[1].splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ROSTER_AUTH_JWKS_URL")
    monkeypatch.setenv("ROSTER_AUTH_PUBLIC_KEY", pem(RSA))
    claims = json.loads(recorded[1])
    verified = await TokenVerifier(load().issuers()).verify(token(**claims))
    assert verified.subject == claims["sub"]
    assert verified.scopes == frozenset(scopes)


def test_links_between_pages_have_existing_targets() -> None:
    pages = [README, CONTRIBUTING, ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            name, _, anchor = target.partition("#")
            found = page.parent / name if name else page
            if not found.exists() or (anchor and anchor not in anchors(found)):
                broken.append((page.name, target))
    assert broken == []


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
