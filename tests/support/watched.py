"""A server with logs, metrics and traces, whose whole output is kept."""

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.canaries import WORD
from tests.support.canary_requests import CREATE, HEADERS
from tests.support.collector import Collector, collecting
from tests.support.process import free_port, http_client, serving_process
from tests.system.test_production import EVERYTHING, SETTINGS, bearer


@dataclass
class Watched:
    """A server, and everything that it publishes."""

    process: Process
    url: str
    http: httpx.AsyncClient
    collector: Collector
    management: str

    async def post(self, body: Any, **headers: str) -> Any:
        response = await self.http.post("/graphql", json=body, headers=headers)
        return response.json()

    async def published(self) -> dict[str, str]:
        """Ends the server; returns its log, its metrics and its traces."""
        async with http_client(self.management) as http:
            metrics = (await http.get("/metrics")).text
        self.process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(self.process.communicate(), 60)
        traces = "".join(map(str, self.collector.parsed()))
        raw = "".join(body.decode("latin-1") for body in self.collector.requests)
        return {"log": output.decode(), "metrics": metrics, "traces": traces, "raw traces": raw}


@asynccontextmanager
async def watching(database_url: str, tmp_path: Path) -> AsyncIterator[Watched]:
    (tmp_path / "documents.json").write_text(json.dumps({"create": CREATE}))
    port = str(free_port())
    with collecting() as collector:
        settings = SETTINGS | {
            "ROSTER_DATABASE_URL": database_url,
            "ROSTER_ALLOWED_HOSTS": "127.0.0.1",
            "ROSTER_LOG_FORMAT": "json",
            "ROSTER_MANAGEMENT_PORT": port,
            "ROSTER_MAX_BATCH_SIZE": "10",
            "ROSTER_PERSISTED_DOCUMENTS": "log",
            "ROSTER_PERSISTED_DOCUMENTS_FILE": str(tmp_path / "documents.json"),
            "ROSTER_RATE_LIMIT": "off",
            "ROSTER_STATEMENT_TIMEOUT": "1",
            "ROSTER_TRACES": "true",
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        async with (
            serving_process(tmp_path, **settings) as (process, url),
            http_client(url) as http,
        ):
            http.headers.update(HEADERS)
            http.headers["authorization"] = bearer(EVERYTHING, sub=f"{WORD}-caller", name=WORD)
            yield Watched(process, url, http, collector, f"http://127.0.0.1:{port}")
