"""Values of a scrape of `/metrics`."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.process import http_client

OPERATIONS = "graphql_server_request_duration_seconds_count"
REQUESTS = "http_server_request_duration_seconds_count"
STATEMENTS = "db_client_operation_duration_seconds_count"


@dataclass(frozen=True)
class Scrape:
    text: str

    @property
    def samples(self) -> Iterator[Sample]:
        for family in text_string_to_metric_families(self.text):
            yield from family.samples

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def total(self, name: str, **labels: str) -> float:
        """Returns the sum of all series with these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        """Returns the values of a label, in series that are not 0."""
        return {s.labels[label] for s in self.samples if s.name == name and s.value}


async def scrape(port: int) -> Scrape:
    async with http_client(f"http://127.0.0.1:{port}") as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return Scrape(answer.text)


async def scraped_until(port: int, holds: Callable[[Scrape], bool]) -> Scrape:
    """Scrapes until this holds."""
    async with asyncio.timeout(60):
        while True:
            found = await scrape(port)
            if holds(found):
                return found
            await asyncio.sleep(0.05)
