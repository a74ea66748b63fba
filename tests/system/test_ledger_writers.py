"""Several processes append to one ledger."""

import asyncio
import sys
from pathlib import Path

from db.erasure_ledger.file import FileLedger

_WRITER = """
import asyncio, sys
from pathlib import Path
from db.erasure_ledger.entries import State
from db.erasure_ledger.file import FileLedger
from tests.support.ledgers import entry
async def main():
    ledger = FileLedger(Path(sys.argv[1]), 60)
    for number in range(50):
        first = int(sys.argv[2]) * 1000 + number * 3
        await ledger.append([entry(State.ERASED, first + n) for n in range(3)])
asyncio.run(main())
"""


async def test_processes_append_to_one_file_without_mixing_entries(tmp_path: Path) -> None:
    path = tmp_path / "erasures.ledger"
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITER, str(path), str(n))
        for n in range(1, 5)
    ]
    assert [await writer.wait() for writer in writers] == [0] * 4
    found = [row.user_id for row in (await FileLedger(path).read()).erased]
    assert sorted(found) == [n * 1000 + i for n in range(1, 5) for i in range(150)]
    batches = [found[start : start + 3] for start in range(0, len(found), 3)]
    assert all(batch == [batch[0], batch[0] + 1, batch[0] + 2] for batch in batches)
