"""The peers that run on Node (`peers/`), and their installation."""

import subprocess
from pathlib import Path
from typing import Final

from benchmarks.contenders import DATABASE, Contender
from benchmarks.dialects import Dialect
from benchmarks.load import CannotMeasure
from tests.support.node import NODE, install_packages

FOLDER: Final = Path(__file__).with_name("peers")


class PostGraphile(Dialect):
    """PostGraphile derives its schema from tables and views. Aliases map its names to Roster's."""

    fields = "id: rowId username email status createdAt"
    one = "user: userByRowId(rowId: {}) {{ {} }}"
    users = "users: allListeds(first: $first, orderBy: [CREATED_AT_DESC, ROW_ID_DESC])"
    key_type = "BigInt!"
    creation = """mutation ($input: AddUserInput!) {
      createUser: addUser(input: $input) { user: result { id: rowId username version } } }"""


def _node(name: str, title: str, dialect: Dialect) -> Contender:
    environment = DATABASE | {
        "BENCH_PORT": "{port}",
        "NODE_ENV": "production",
        "GRAPHILE_ENV": "production",
    }
    command = (NODE, str(FOLDER / f"{name}.mjs"))
    return Contender(name, title, command, dialect, environment, may_be_missing=True)


PEERS: Final = (
    _node("apollo", "Apollo Server 5", Dialect()),
    _node("yoga", "GraphQL Yoga 5", Dialect()),
    _node("mercurius", "Mercurius 16 with JIT", Dialect()),
    _node("postgraphile", "PostGraphile 5", PostGraphile()),
)


def install() -> None:
    """Install the peers if necessary. Raises CannotMeasure if that is not possible."""
    try:
        install_packages(FOLDER)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise CannotMeasure(f"npm: {str(error).strip()[-500:]}") from None
