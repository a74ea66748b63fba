"""The peers that run on Node (`peers/`), and their installation."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.contenders import DATABASE, Contender
from benchmarks.dialects import Dialect
from benchmarks.load import CannotMeasure

FOLDER: Final = Path(__file__).with_name("peers")
_LOCK = FOLDER / "package-lock.json"
_INSTALLED = FOLDER / "node_modules" / ".package-lock.json"  # npm writes this file last
_INSTALL_SECONDS = 300
_FLAGS = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


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
    command = ("node", str(FOLDER / f"{name}.mjs"))
    return Contender(name, title, command, dialect, environment, may_be_missing=True)


PEERS: Final = (
    _node("apollo", "Apollo Server 5", Dialect()),
    _node("yoga", "GraphQL Yoga 5", Dialect()),
    _node("mercurius", "Mercurius 16 with JIT", Dialect()),
    _node("postgraphile", "PostGraphile 5", PostGraphile()),
)


def install() -> None:
    """Install the peers if necessary. Raises CannotMeasure if that is not possible."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise CannotMeasure(f"there is no {program}")
    if _INSTALLED.exists() and _INSTALLED.stat().st_mtime > _LOCK.stat().st_mtime:
        return
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["npm", "ci", *_FLAGS],  # noqa: S607 - npm from the PATH
            check=False,
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise CannotMeasure(f"npm took more than {_INSTALL_SECONDS} s") from None
    if done.returncode:
        raise CannotMeasure(f"npm: {done.stderr.strip()[-500:]}")
