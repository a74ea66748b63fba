"""Litestream replicates SQLite while Roster writes, and restores it after the loss of a machine."""

import asyncio
import shlex
import sqlite3
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import make_url

from tests.stage.figures import record
from tests.support.process import run, serving_process
from tests.system.test_documentation import OPERATIONS, ROOT, blocks
from tests.system.test_erase_replay import create, delete, erase, ids_by_name
from tests.system.test_restores import Ledger, assert_rejected, retry

LITESTREAM: Final = ROOT / ".venv-stage/bin/litestream"
ROUNDS: Final = 5
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
file_ledger = pytest.mark.parametrize("erasure_ledger", ["file-ledger"], indirect=True)


class Replicated:
    """A database file, its replica, and the documented commands for them."""

    def __init__(self, database_url: str, folder: Path, ledger: str) -> None:
        self.file = Path(make_url(database_url).database or "")
        self.replica = folder / "replica"
        self.settings: dict[str, Any] = {
            "ROSTER_DATABASE_URL": database_url,
            "ROSTER_ERASURE_LEDGER": ledger,
            "ROSTER_SQLITE_CHECKPOINTS": "false",
        }
        lines = "\n".join(blocks(OPERATIONS, "sh")).splitlines()
        [self._replicate, self._restore] = [
            shlex.split(
                line.replace("/var/lib/roster/roster.db", str(self.file)).replace(
                    "/var/backups/litestream", str(self.replica)
                )
            )[1:]
            for line in lines
            if line.startswith("litestream ")
        ]

    @asynccontextmanager
    async def replicating(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            LITESTREAM, *self._replicate, stdout=PIPE, stderr=STDOUT
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            output, _ = await process.communicate()
            assert b"level=ERROR" not in output, output.decode()

    async def restore(self, output: Path | None = None) -> None:
        arguments = [str(output) if output and a == str(self.file) else a for a in self._restore]
        process = await asyncio.create_subprocess_exec(
            LITESTREAM, *arguments, stdout=PIPE, stderr=STDOUT
        )
        text, _ = await process.communicate()
        assert process.returncode == 0, text.decode()

    def lose_machine(self) -> None:
        """Removes the file with all that belongs to it, except the replica."""
        for path in self.file.parent.iterdir():
            if path.name.lstrip(".").startswith(self.file.name) and path.is_file():
                path.unlink()
        for path in sorted(self.file.parent.glob(f".{self.file.name}-litestream/**/*"))[::-1]:
            path.rmdir() if path.is_dir() else path.unlink()

    async def replicated(self, folder: Path, name: str) -> None:
        """Waits until a restore contains a user."""
        copies = 0

        async def has_user() -> bool:
            nonlocal copies
            copies += 1
            copy = folder / f"copy{copies}.db"
            try:
                await self.restore(copy)
            except AssertionError:
                return False
            return name in usernames(copy)

        await retry(has_user)


def usernames(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        [found] = connection.execute("PRAGMA integrity_check").fetchone()
        assert found == "ok"
        return {name for (name,) in connection.execute("SELECT username FROM users")}


@file_ledger
async def test_restored_replica_has_no_erased_user_and_rejects_cursors(
    database_url: str, erasure_ledger: str, tmp_path: Path
) -> None:
    replicated = Replicated(database_url, tmp_path, erasure_ledger)
    cursors = Ledger(database_url)
    async with serving_process(**replicated.settings) as (server, url):
        async with replicated.replicating():
            await create(url, "user", 200)
            await replicated.replicated(tmp_path, "user199")
        await delete(url, {f"user{n}" for n in range(10)})  # not replicated any more
        await erase(url, {f"user{n}" for n in range(10)})
        await create(url, "lost", 5)
        await cursors.keep()
        server.kill()
        await server.wait()
    replicated.lose_machine()
    await replicated.restore()
    code, output = await run("after-restore", "--yes", **replicated.settings)
    assert code == 0
    assert output == (
        "Started epoch 2 of the feed.\n"
        f"Erased 10 users again in SQLite {replicated.file}. Of the others in the ledger, 0 were "
        "erased already and 0 are not in this database.\n"
    )
    async with serving_process(**replicated.settings) as (_, url):
        assert set(await ids_by_name(url)) == {
            *(f"user{n}" for n in range(10, 200)),
            *(f"erased-{n}" for n in range(1, 11)),
        }
        for id_ in (1, cursors.before[-1]):
            await assert_rejected(url, cursors.cursors[id_])


@file_ledger
async def test_machine_lost_under_load_loses_at_most_the_last_writes(
    database_url: str, erasure_ledger: str, tmp_path: Path
) -> None:
    for number in range(ROUNDS):
        replicated = Replicated(database_url, tmp_path / str(number), erasure_ledger)
        replicated.replica.parent.mkdir()
        acknowledged: list[str] = []
        before = 0
        async with serving_process(**replicated.settings) as (server, url):
            async with replicated.replicating() as litestream:
                await create(url, f"first{number}x", 10)
                await replicated.replicated(replicated.replica.parent, f"first{number}x9")
                writing = asyncio.create_task(write(url, f"round{number}x", acknowledged))
                await retry(partial(enough, acknowledged))
                before = len(acknowledged)
                litestream.kill()
                server.kill()
                await asyncio.gather(litestream.wait(), server.wait())
            await asyncio.gather(writing, return_exceptions=True)
        replicated.lose_machine()
        await replicated.restore()
        found = usernames(replicated.file)
        kept = [name in found for name in acknowledged]
        assert kept == sorted(kept, reverse=True)  # a prefix of the writes
        record(
            "Machine lost while Litestream replicates",
            round=number + 1,
            acknowledged=before,
            lost=kept.count(False),
            duplicated=0,
        )
        assert (await run("after-restore", "--yes", **replicated.settings))[0] == 0


async def enough(acknowledged: list[str]) -> bool:
    return len(acknowledged) >= 300


async def write(url: str, name: str, acknowledged: list[str]) -> None:
    number = 0
    with suppress(httpx.HTTPError):
        while True:
            await create(url, f"{name}{number}y", 1)
            acknowledged.append(f"{name}{number}y0")
            number += 1


@file_ledger
async def test_litestream_does_the_checkpoints_and_the_log_stays_small(
    database_url: str, erasure_ledger: str, tmp_path: Path
) -> None:
    replicated = Replicated(database_url, tmp_path, erasure_ledger)
    log = replicated.file.with_name(f"{replicated.file.name}-wal")
    async with serving_process(**replicated.settings) as (server, url):
        async with replicated.replicating():
            for number in range(10):
                await create(url, f"user{number}x", 500)
            await delete(url, {"user0x0"})
            await erase(url, {"user0x0"})
            assert log.stat().st_size < 2**26
            await replicated.replicated(tmp_path, "erased-1")
        server.terminate()
        output, _ = await server.communicate()
        assert b"erased data is still in SQLite's log" not in output
