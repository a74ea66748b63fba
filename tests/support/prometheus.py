"""Debian's Prometheus and its promtool."""

import asyncio
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.background import begin, end
from tests.support.process import free_port, http_client


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


@dataclass(frozen=True)
class Prometheus:
    """A server that scrapes once a second."""

    url: str

    async def query(self, expression: str) -> list[Any]:
        """Returns the series of an instant query."""
        async with http_client(self.url) as http:
            answer = await http.get("/api/v1/query", params={"query": expression})
        found = answer.json()
        assert found["status"] == "success", (expression, found)
        series: list[Any] = found["data"]["result"]
        return series

    async def value(self, expression: str) -> float | None:
        """Returns the value of the first series."""
        series = await self.query(expression)
        return float(series[0]["value"][1]) if series else None

    async def firing(self) -> set[str]:
        """Returns the names of the alerts that fire."""
        found = await self.query('ALERTS{alertstate="firing"}')
        return {series["metric"]["alertname"] for series in found}

    async def until(self, holds: Callable[[set[str]], bool]) -> set[str]:
        """Waits until this holds of the alerts that fire."""
        async with asyncio.timeout(60):
            while True:
                if holds(firing := await self.firing()):
                    return firing
                await asyncio.sleep(0.2)


@asynccontextmanager
async def prometheus(folder: Path, target: int, rules: str) -> AsyncIterator[Prometheus]:
    """Runs Prometheus, which scrapes this port and evaluates these rules."""
    port = free_port()
    (folder / "rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [rules.yml]\n"
        "scrape_configs:\n"
        f"  - {{job_name: roster, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n"
    )
    process = await begin(
        folder / "prometheus.log",
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    running = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await _ready(running)
        yield running
    finally:
        await end(process)


async def _ready(running: Prometheus) -> None:
    async with asyncio.timeout(60), http_client(running.url) as http:
        while True:
            with suppress(httpx.HTTPError):
                if (await http.get("/-/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
