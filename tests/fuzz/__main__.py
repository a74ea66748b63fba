"""Send the server what nobody should: `python -m tests.fuzz --count 10000 --seed 1`."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.fuzz.run import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where to keep what the server logged")
    given = parser.parse_args()
    console = Console(width=120, highlight=False, markup=False)
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run(given.count, given.seed, Path(folder)))
    if given.log:
        given.log.write_text(report.log)
    console.print(report.table())
    console.print("\n".join(report.summary()), soft_wrap=True)
    wrong = "\n".join(report.lines())
    if wrong:
        sys.stdout.write(f"{wrong}\n")
        sys.exit("The server did not stand it.")
    console.print("The server stood it.")


if __name__ == "__main__":
    main()
