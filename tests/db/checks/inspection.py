"""Runs the checks of a database for the tests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from db.checks.check import Finding, Status, run_checks
from db.checks.inspected import Expected, File, Server
from db.checks.lists import FILE_CHECKS, SERVER_CHECKS
from db.poolers import Pooler
from db.url import parse_url

EXPECTED = Expected(
    production=False,
    processes=1,
    pool_size=10,
    idle_transaction_timeout=30.0,
    identity_secret=None,
)


async def inspect(url: str, direct_url: str | None = None, **expected: Any) -> dict[str, Finding]:
    """Returns the findings by name."""
    parsed, wanted = parse_url(url), replace(EXPECTED, **expected)
    if parsed.get_backend_name() == "sqlite":
        found = await run_checks(FILE_CHECKS, File(Path(parsed.database or ""), wanted))
    else:
        direct = parse_url(direct_url) if direct_url else parsed
        server = Server(parsed, direct, Pooler.NONE, wanted)
        try:
            found = await run_checks(SERVER_CHECKS, server)
        finally:
            await server.close()
    return {finding.name: finding for finding in found}


def with_status(found: dict[str, Finding], *statuses: Status) -> set[str]:
    return {name for name, finding in found.items() if finding.status in statuses}
