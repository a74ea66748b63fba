"""Debian's Prometheus and its promtool."""

import asyncio
import shutil
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Returns the path of a program of the package `prometheus`."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: apt-get install prometheus")
    return found


async def promtool(*arguments: str, cwd: Path | None = None, text: str = "") -> tuple[int, str]:
    """Returns the exit code and the output."""
    process = await asyncio.create_subprocess_exec(
        program("promtool"), *arguments, cwd=cwd, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(text.encode()), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def check_metrics(text: str) -> list[str]:
    """Returns what promtool finds wrong with a scrape."""
    _, output = await promtool("check", "metrics", text=text)
    return output.splitlines()
