"""The dashboard and the alert rules in docs fit the metrics of a server."""

import re

import pytest

from tests.support.dashboards import (
    ALERTS,
    DASHBOARD,
    DOCS,
    alert_expressions,
    dashboard_expressions,
    metrics_in,
    panels,
    shortened_alerts,
)
from tests.support.metrics import scrape
from tests.support.process import free_port, serving_process
from tests.support.prometheus import promtool

SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}


async def test_rules_are_valid_and_behave_as_their_tests_say() -> None:
    assert (await promtool("check", "rules", str(ALERTS)))[0] == 0
    code, output = await promtool("test", "rules", str(DOCS / "prometheus/alerts.test.yml"))
    assert code == 0, output


async def test_shortened_rules_differ_in_durations_only() -> None:
    short, original = shortened_alerts(), ALERTS.read_text().replace("> 20 * 60", "> 5")
    assert re.sub(r"\d+[ms]\b", "", short) == re.sub(r"\d+[ms]\b", "", original)
    assert len(alert_expressions()) == original.count("- alert:")
    assert re.findall(r"for: \d+m|\[\d+m\]", short) == []


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_every_metric_of_dashboard_and_rules_is_exported(database_url: str) -> None:
    port = free_port()
    async with serving_process(ROSTER_DATABASE_URL=database_url, ROSTER_MANAGEMENT_PORT=str(port)):
        text = (await scrape(port)).text
    exported = {
        name + suffix
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
        for suffix in SUFFIXES[kind]
    }
    expressions = [expression for _, expression in dashboard_expressions()]
    expressions += alert_expressions().values()
    named = {metric for expression in expressions for metric in metrics_in(expression)}
    assert len(named) > 20
    assert named - exported == set()
    described = re.findall(r"`((?:roster|graphql|http|db|process)_[a-z_]+)`", metrics_section())
    families = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert families <= set(described)


def metrics_section() -> str:
    text = (DOCS / "operations.md").read_text()
    return text[text.index("\n## Metrics\n") : text.index("\n## Upgrades\n")]


def test_panels_do_not_overlap_and_have_titles() -> None:
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert all(panel["title"] for panel in panels())
    assert "http://" not in DASHBOARD.read_text()
