"""`roster token`, and a server that accepts its output."""

import asyncio
import re
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from graph.api.global_ids import encode_user
from tests.conftest import opened
from tests.db.test_models import DELETED, OTHER, add, user
from tests.support.process import http_client, run, serving_process, start_writing

VIEWER = {"query": "{ viewer { username viewerCan } }"}


async def add_users(url: str, *users: Any) -> None:
    async with opened(url) as database:
        await add(database, *users)


async def token(database_url: str, *arguments: str) -> str:
    code, output = await run("token", *arguments, ROSTER_DATABASE_URL=database_url)
    assert code == 0, output
    note, text = output.splitlines()
    assert note.startswith("Valid for ")
    return text


async def viewer(url: str, text: str) -> Any:
    async with http_client() as http:
        headers = {"authorization": f"Bearer {text}"}
        return (await http.post(f"{url}/graphql", json=VIEWER, headers=headers)).json()


async def test_token_is_accepted_by_each_worker_and_never_logged(database_url: str) -> None:
    await add_users(database_url, user())
    names = ("ada", "ADA", "ada@example.com", "1", encode_user(1))
    tokens = [await token(database_url, "--as", name) for name in names]
    tokens.append(await token(database_url, "--as", "ada", "--scope", "users:write"))
    async with serving_process(ROSTER_DATABASE_URL=database_url, ROSTER_WORKERS="2") as (
        process,
        url,
    ):
        for text in (tokens * 3)[:-1]:
            wanted = ["UPDATE"] if text != tokens[-1] else ["UPDATE", "DEACTIVATE", "DELETE"]
            assert await viewer(url, text) == {
                "data": {"viewer": {"username": "Ada", "viewerCan": wanted}}
            }
        refused = await viewer(url, tokens[0] + "x")
        assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert process.stdout
        process.terminate()
        log = (await asyncio.wait_for(process.stdout.read(), 60)).decode()
    assert "refused a token" in log
    assert not any(text.split(".")[1] in log for text in tokens)


async def test_token_alone_is_on_standard_output(database_url: str, tmp_path: Path) -> None:
    await add_users(database_url, user())
    process = await start_writing(
        PIPE, PIPE, "token", "--as", "ada", cwd=tmp_path, ROSTER_DATABASE_URL=database_url
    )
    output, _ = await process.communicate()
    assert re.fullmatch(rb"[\w-]+\.[\w-]+\.[\w-]+\n", output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "nobody"], "--as: there is no user with this username, e-mail address or id"),
        (["--as", ""], "--as: there is no user with this username, e-mail address or id"),
        (["--as", "9" * 19], "--as: there is no user with this username, e-mail address or id"),
        (["--as", "2"], "--as: only active users can sign in, and this one is DELETED"),
    ],
)
async def test_token_for_no_active_user_is_refused(
    database_url: str, arguments: list[str], message: str
) -> None:
    await add_users(database_url, user(), user(**OTHER, **DELETED))
    assert await run("token", *arguments, ROSTER_DATABASE_URL=database_url) == (
        1,
        f"roster: {message}\n",
    )


async def test_ambiguous_name_is_refused(database_url: str) -> None:
    await add_users(database_url, user(), user(**OTHER | {"username_key": "ada@example.com"}))
    code, output = await run("token", "--as", "ADA@example.com", ROSTER_DATABASE_URL=database_url)
    ids = f"{encode_user(1)}, {encode_user(2)}"
    assert (code, output) == (
        1,
        f"roster: --as: several users have this username, address or id: {ids}\n",
    )


async def test_production_refuses_to_sign_with_one_line(tmp_path: Path) -> None:
    settings = {"ROSTER_MODE": "production", "ROSTER_AUTH_API_KEYS": "true"}
    code, output = await run("token", "--as", "ada", cwd=tmp_path, **settings)
    assert code == 1
    assert output == (
        "roster: `roster token` is for development only, and ROSTER_MODE is production: tokens "
        "come from your issuer, and `roster key create` creates API keys\n"
    )
    assert not (tmp_path / "roster.db").exists()


async def test_help_has_an_example() -> None:
    code, output = await run("token", "--help", COLUMNS="120")
    assert code == 0
    assert "roster token --as ada --scope users:read" in output
    assert "60" in output
