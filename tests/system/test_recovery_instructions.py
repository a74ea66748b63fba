"""The commands and settings of docs/operations.md for base backups and point-in-time recovery."""

import re
import shlex
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.postgres import Server
from tests.support.process import run, serving_process
from tests.system.test_documentation import OPERATIONS
from tests.system.test_erase_replay import create, delete, erase, ids_by_name
from tests.system.test_restores import (
    SETTINGS,
    Cluster,
    Ledger,
    assert_rejected,
    cluster,
    query,
    retry,
)

__all__ = ["cluster"]  # a fixture

TITLE: Final = "### PostgreSQL: base backups and point-in-time recovery\n"
TIME: Final = "2026-05-12 09:30:00+00"


def blocks(language: str, replaced: dict[str, Path]) -> list[list[str]]:
    """Returns the lines of each fenced block of the section, with other paths."""
    section = OPERATIONS.read_text().split(TITLE)[1].split("\n### ")[0]
    for path, other in replaced.items():
        assert path in section
        section = section.replace(path, str(other))
    found = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return [block.splitlines() for block in found]


class Documented:
    """The instructions, for a server whose backups and recovered data are in its own folder."""

    def __init__(self, server: Server, recovered: Server) -> None:
        self._server = server
        self._recovered = recovered
        self.backups = server.folder("backups")
        server.folder("backups/wal")
        replaced = {"/var/backups": self.backups, "/var/lib/postgresql/data": recovered.data}
        [self.archiving, self.recovery] = blocks("ini", replaced)
        [self.backing_up, self.copying] = blocks("sh", replaced)

    def back_up(self) -> None:
        for line in self.backing_up:
            program, *arguments = shlex.split(line)
            known = ["-h", str(self._server.home), "-U", "postgres"]
            self._server.program(program, *arguments, *(known if "base" in program else []))

    def recover(self, moment: str) -> None:
        self._recovered.folder("data").chmod(0o700)
        for line in self.copying:
            subprocess.run(shlex.split(line), check=True, user=self._recovered.user)  # noqa: S603 - our own
        with (self._recovered.data / "postgresql.conf").open("a") as settings:
            assert TIME in "".join(self.recovery)
            settings.writelines(f"{line}\n".replace(TIME, moment) for line in self.recovery)


async def archived(server: Server) -> None:
    """Waits until the log that was written so far is in the archive."""
    last = await query(server, "SELECT pg_walfile_name(pg_switch_wal())")
    statement = f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"  # noqa: S608
    await retry(partial(query, server, statement))


@pytest.mark.parametrize("erasure_ledger", ["file-ledger"], indirect=True)
async def test_documented_recovery_restores_a_moment_without_users_who_were_erased(
    cluster: Cluster, erasure_ledger: str
) -> None:
    primary, recovered = await cluster.begin(), cluster.add("recovered")
    documented, cursors = Documented(primary, recovered), Ledger(cluster.url)
    primary.stop()
    with (primary.data / "postgresql.conf").open("a") as settings:
        settings.writelines(f"{line}\n" for line in documented.archiving)
    primary.start(SETTINGS)
    given: dict[str, Any] = {
        "ROSTER_DATABASE_URL": cluster.url,
        "ROSTER_ERASURE_LEDGER": erasure_ledger,
    }
    async with serving_process(**given) as (_, url):
        await create(url, "early", 10)
        documented.back_up()
        await create(url, "late", 10)
        moment = str(await query(primary, "SELECT clock_timestamp()::text"))
        await create(url, "mistake", 10)
        await delete(url, {"early1", "late1"})
        await erase(url, {"early1", "late1"})
        await cursors.keep()
        await archived(primary)
    primary.stop()
    documented.recover(moment)
    recovered.start(SETTINGS)
    cluster.point_to(recovered)
    await retry(partial(query, recovered, "SELECT NOT pg_is_in_recovery()"))
    code, output = await run("after-restore", "--yes", **given)
    assert (code, output.splitlines()[0]) == (0, "Started epoch 2 of the feed.")
    assert output.splitlines()[1].startswith("Erased 2 users again in PostgreSQL postgres on ")
    async with serving_process(**given) as (_, url):
        assert set(await ids_by_name(url)) == {
            *(f"{name}{n}" for name in ("early", "late") for n in range(10) if n != 1),
            "erased-2",
            "erased-12",
        }
        for id_ in (cursors.before[0], cursors.before[-1]):
            await assert_rejected(url, cursors.cursors[id_])
