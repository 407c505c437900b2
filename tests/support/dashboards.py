"""The dashboards as files, and their questions as Grafana would send them when everything is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[2] / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
VALUES = (
    ("${search:doublequote}", '""'),
    ("$__rate_interval", "30s"),
    ("$__range", "30s"),
    ("$__auto", "5s"),
    ("$job", ".+"),
    ("$instance", ".+"),
    ("$cluster", ".*"),
    ("$namespace", ".*"),
    ("$verdict", ".*"),
    ("$direction", ".*"),
)


def dashboards() -> list[Json]:
    """Every dashboard."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in FILES]


def panels(dashboard: Json) -> Iterator[Json]:
    """All panels but rows, including those of collapsed rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def targets(source: str) -> Iterator[tuple[str, Json, Json]]:
    """(dashboard and panel, panel, target) of everything asked of one sort of data source."""
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                if target["datasource"]["type"] == source:
                    yield f"{dashboard['uid']}: {panel['title']}", panel, target


def filled(expression: str) -> str:
    """An expression as Grafana sends it when everything is chosen."""
    for variable, value in VALUES:
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression
