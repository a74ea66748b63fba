"""The expressions of the dashboard and of the alert rules in docs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = DOCS / "grafana/roster.json"
ALERTS = DOCS / "prometheus/alerts.yml"
_METRIC = re.compile(r"\b(?:roster|graphql|http|db|process)_[a-z_]+\b")
_LABELS = re.compile(r"by \([^)]*\)|\{[^}]*\}")
_RULE = re.compile(r"alert: (\w+)\n +expr: (.*?)(?=\n +(?:for|labels):)", re.DOTALL)


def panels() -> Iterator[Any]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def dashboard_expressions() -> list[tuple[str, str]]:
    """Returns the title of the panel and each of its expressions."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def alert_expressions() -> dict[str, str]:
    return dict(_RULE.findall(ALERTS.read_text()))


def metrics_in(expression: str) -> set[str]:
    return set(_METRIC.findall(_LABELS.sub("", expression)))


def shortened_alerts() -> str:
    """Returns the rules with waits, ranges and ages of seconds instead of minutes."""
    text = re.sub(r"for: \d+m", "for: 2s", ALERTS.read_text())
    text = re.sub(r"> \d+ \* 60", "> 5", text)
    return re.sub(r"\[\d+m\]", "[10s]", text)
