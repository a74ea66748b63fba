"""Files of users, and the commands that import and export them."""

import asyncio
from asyncio.subprocess import Process
from pathlib import Path

import orjson

from tests.support.process import run, start

KEPT = ("externalId", "username", "email", "displayName", "status")


def row(number: int) -> dict[str, object]:
    name = f"user{number}"
    return {
        "externalId": f"X{number}",
        "username": name,
        "email": f"{name}@example.com",
        "displayName": f"User {number}" if number % 3 else None,
        "status": "DEACTIVATED" if number % 5 == 0 else "ACTIVE",
    }


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in rows))


async def migrate(url: str) -> None:
    assert (await run("migrate", ROSTER_DATABASE_URL=url))[0] == 0


def progress_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.progress")


async def kill_after(line: int, file: Path, url: str, *options: str) -> None:
    """Start an import and kill it as soon as it has recorded this line, if it gets there first."""
    process = await start("import", str(file), *options, ROSTER_DATABASE_URL=url)
    try:
        async with asyncio.timeout(60):
            while process.returncode is None:
                if recorded_line(file) >= line:
                    break
                await asyncio.sleep(0.001)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stopped_at(line: int, file: Path, url: str, *options: str) -> Process:
    """Start an import, and return it when it has recorded this line and is stopped (SIGSTOP)."""
    process = await start(
        *("import", str(file), *options), ROSTER_DATABASE_URL=url, PYTEST_STOP_AT_LINE=str(line)
    )
    async with asyncio.timeout(60):
        while not _is_stopped(process.pid):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
    return process


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def kill_at(line: int, file: Path, url: str, *options: str) -> None:
    """Start an import and kill it when it has recorded this line."""
    process = await stopped_at(line, file, url, *options)
    process.kill()
    await process.communicate()


def recorded_line(file: Path) -> int:
    state = progress_of(file)
    line: int = orjson.loads(state.read_bytes())["line"] if state.exists() else 0
    return line


async def exported(url: str, folder: Path) -> list[dict[str, object]]:
    file = folder / "exported.ndjson"
    code, _ = await run("export", str(file), ROSTER_DATABASE_URL=url)
    assert code == 0
    users = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    file.unlink()
    return users


async def run_import(file: Path, url: str, *options: str) -> tuple[int, str]:
    """Returns the exit code and the last line without the name of the database."""
    code, output = await run("import", str(file), *options, ROSTER_DATABASE_URL=url)
    return code, output.splitlines()[-1].rpartition(": ")[2]
