"""The command-line options of `make bench` (BENCH="..."), and what they select."""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.contenders import BEFORE, DEVELOPMENT, PRODUCTION, PYTHON, Contender, of_tree
from benchmarks.operations import OPERATIONS, Operation
from benchmarks.peers import PEERS

SERVERS: Final = (*PYTHON, *PEERS)
START: Final = "start"
MEMORY: Final = "memory"
_NAMES = (*(named.name for named in (*SERVERS, *OPERATIONS)), *BEFORE, START, MEMORY)

Named = TypeVar("Named", Contender, Operation)


@dataclass(frozen=True, slots=True)
class Options:
    seconds: int
    rounds: int
    only: Collection[str]
    json: Path | None
    against: Path | None = None

    @property
    def servers(self) -> Sequence[Contender]:
        # With two trees, the servers of this tree and the older one alternate.
        if self.against is None:
            return self._named(SERVERS)
        before, before_production = of_tree(self.against)
        return self._named((DEVELOPMENT, before, PRODUCTION, before_production, *PEERS))

    @property
    def operations(self) -> Sequence[Operation]:
        return self._named(OPERATIONS)

    @property
    def tables(self) -> bool:
        return not self.only or not {START, MEMORY}.issuperset(self.only)

    def wants(self, figure: str) -> bool:
        return figure in self.only or not (self.only or self.against)

    def _named(self, of: Sequence[Named]) -> Sequence[Named]:
        return [named for named in of if named.name in self.only] or of


def read(about: str | None) -> Options:
    parser = argparse.ArgumentParser(prog="make bench", description=about)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--only", default="", help=f"what to measure: some of {','.join(_NAMES)}")
    parser.add_argument("--json", type=Path, help="a file to write the results to")
    parser.add_argument(
        "--against", type=Path, help="another tree of Roster, with its .venv, to compare with"
    )
    given = parser.parse_args()
    only = [name for name in given.only.split(",") if name]
    if unknown := set(only).difference(_NAMES):
        parser.error(f"--only: not known: {', '.join(sorted(unknown))}")
    return Options(given.seconds, given.rounds, only, given.json, given.against)
