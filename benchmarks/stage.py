"""Prepares a measurement: the directory, an API key and the servers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from benchmarks.contenders import Contender, Running, running
from benchmarks.load import CannotMeasure
from benchmarks.operations import PEOPLE
from benchmarks.peers import PEERS, install
from benchmarks.people import populate
from db import migrations
from db.engine import Database
from tests.support.process import run


async def fill(url: str) -> None:
    database = Database(url, pool_size=1)
    try:
        await migrations.upgrade(database)
        await populate(database, PEOPLE)
    finally:
        await database.close()


async def key(url: str) -> Mapping[str, str]:
    """Return the header that authenticates with Roster in production mode."""
    scopes = ("--scope", "users:read", "--scope", "users:write")
    code, output = await run("key", "create", "benchmark", *scopes, ROSTER_DATABASE_URL=url)
    assert code == 0, output
    return {"authorization": f"Bearer {output.split()[-1]}"}


def start(
    stack: ExitStack,
    servers: Sequence[Contender],
    url: str,
    signed_in: Mapping[str, str],
    say: Callable[[str], None],
) -> tuple[list[Running], dict[str, str]]:
    """Start the servers. Returns the running ones, and why an optional one is missing."""
    up, missing = [], {}
    for server in servers:
        try:
            if server in PEERS:
                install()
            headers = signed_in if server.signs_in else {}
            up.append(stack.enter_context(running(server, url, headers)))
        except CannotMeasure as error:
            if not server.may_be_missing:
                raise
            missing[server.name] = str(error)
            say(f"Without {server.title}: {error}")
    return up, missing
