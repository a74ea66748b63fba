"""The audits of the GraphQL-over-HTTP reference implementation, against a real server."""

import asyncio
import fcntl
import json
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process import serving_process

AUDIT = Path(__file__).parents[1] / "audit"
_LOCK = AUDIT / "package-lock.json"
_INSTALLED = AUDIT / "node_modules" / ".package-lock.json"  # npm writes it last


@contextmanager
def exclusive_installation() -> Iterator[None]:
    """Locks out other test processes: only one at a time may install into the folder."""
    with _LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def install() -> None:
    """Installs the audits unless they are installed."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"The audits need Node 18 or newer, with npm: there is no {program}.")
    if _INSTALLED.exists() and _INSTALLED.stat().st_mtime > _LOCK.stat().st_mtime:
        return
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    npm = await asyncio.create_subprocess_exec(
        "npm", "ci", *flags, cwd=AUDIT, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await asyncio.wait_for(npm.communicate(), 100)
    assert npm.returncode == 0, output.decode()


async def test_server_passes_every_audit_of_graphql_over_http(tmp_path: Path) -> None:
    with exclusive_installation():
        await install()
    async with serving_process(cwd=tmp_path) as (_, url):
        audit = await asyncio.create_subprocess_exec(
            "node", "audit.mjs", f"{url}/graphql", cwd=AUDIT, stdout=PIPE
        )
        output, _ = await asyncio.wait_for(audit.communicate(), 60)
    results = json.loads(output)
    assert len(results) == 61
    failed = [
        "{status}: {id} {name}: {reason}; answered {answer}".format_map(result)
        for result in results
        if result["status"] != "ok"
    ]
    assert not failed, "\n".join(["", *failed])
