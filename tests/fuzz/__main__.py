"""Sends unusual requests to a server: `python -m tests.fuzz --count 10000 --postgres`."""

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tests.fuzz.run import run
from tests.support import process
from tests.support.postgres import server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where to keep what the server logged")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own")
    parser.add_argument("--database-url", help="on this database, which it fills and migrates")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    console = Console(width=120, highlight=False, markup=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"ROSTER_WORKERS": str(arguments.workers)}
        url = stack.enter_context(server()) if arguments.postgres else arguments.database_url
        if url:
            settings["ROSTER_DATABASE_URL"] = url
            code, output = asyncio.run(process.run("migrate", cwd=folder, **settings))
            assert code == 0, output
        report = asyncio.run(run(arguments.count, arguments.seed, folder, **settings))
    if arguments.log:
        arguments.log.write_text(report.log)
    console.print(report.table())
    console.print("\n".join(report.summary()), soft_wrap=True)
    wrong = "\n".join(report.lines())
    if wrong:
        sys.stdout.write(f"{wrong}\n")
        sys.exit("The server did not stand it.")
    console.print("The server stood it.")


if __name__ == "__main__":
    main()
