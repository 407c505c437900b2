"""How the dashboards are put together: panels, rows and variables as Grafana's classic JSON wants them.

In an expression `{*}` stands for the matchers of every panel, and `{*n}` for these and the chosen namespaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

PROMETHEUS: Json = {"type": "prometheus", "uid": "${datasource}"}
LOKI: Json = {"type": "loki", "uid": "${loki_datasource}"}
SCHEMA_VERSION = 39
EVERY = 'job=~"$job",instance=~"$instance",cluster=~"$cluster"'
FLOWS_LINK = "/d/flowwatch-flows?${datasource:queryparam}&${namespace:queryparam}&${__url_time_range}"

GREEN, RED, ORANGE, YELLOW, BLUE, GRAY = "green", "red", "orange", "yellow", "blue", "gray"
GOOD_IS_NONE = ((None, GREEN), (1, RED))
WARN_IF_ANY = ((None, GREEN), (1, ORANGE))
NEUTRAL = ((None, GREEN),)
COLOURS = {
    "expected": GREEN,
    "unexpected": RED,
    "blocked": "dark-red",
    "denied": ORANGE,
    "unknown": GRAY,
    "forwarded": GREEN,
    "dropped": RED,
    "error": "dark-red",
    "audit": YELLOW,
    "redirected": BLUE,
    "FORWARDED": GREEN,
    "DROPPED": RED,
    "AUDIT": YELLOW,
    "REDIRECTED": BLUE,
}


@dataclass(frozen=True)
class Panel:
    """One panel: what is asked as (expression, legend), and how it is drawn."""

    title: str
    description: str
    asks: Sequence[tuple[str, str]]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Sequence[tuple[float | None, str]] = NEUTRAL
    stacked: bool = False
    source: Json = field(default_factory=lambda: PROMETHEUS)
    decimals: int | None = None
    mappings: Sequence[Json] = ()
    units: Sequence[tuple[str, str]] = ()
    """Other units, by the legend of what has them."""
    hidden: Sequence[str] = ()
    """Columns of a table that are left out."""
    to_flows: bool = False
    """Its series lead to the flow explorer."""
    nothing: str = ""
    """What stands where there is no value."""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard: rows of panels under titles."""

    uid: str
    title: str
    description: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: Sequence[Json] = ()


def dashboard(page: Dashboard) -> Json:
    """The dashboard as Grafana loads it."""
    return {
        "uid": page.uid,
        "title": page.title,
        "description": page.description,
        "tags": ["flowwatch", "cilium", "hubble"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "id": None,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "",
        "refresh": "1m",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "weekStart": "",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "annotations": {"list": [_annotation(), _blind_times()]},
        "links": [_link()],
        "templating": {"list": [*_variables(), *page.variables]},
        "panels": list(_placed(page.rows)),
    }


def _placed(rows: Sequence[tuple[str, Sequence[Panel]]]) -> list[Json]:
    """Panels side by side until 24 columns are full, under the title of their row."""
    found: list[Json] = []
    y = 0
    for title, panels in rows:
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        row = {"type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        found.append({"id": len(found) + 1, **row})
        x, y, tallest = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > 24:
                x, y, tallest = 0, y + tallest, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            found.append(_panel(len(found) + 1, panel, place))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return found


def _panel(number: int, panel: Panel, place: Json) -> Json:
    drawn: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": panel.source,
        "gridPos": place,
        "targets": [_target(panel, chr(ord("A") + at), *ask) for at, ask in enumerate(panel.asks)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
    }
    if panel.kind == "table":
        left_out = dict.fromkeys(("Time", *panel.hidden), True)
        legend = panel.asks[0][1]
        organize = {"excludeByName": left_out, "indexByName": {}, "renameByName": {"Value": legend, "Value #A": legend}}
        # Loki gives a frame for each series, Prometheus one for all.
        alike = [{"id": "labelsToFields", "options": {"mode": "columns"}}, {"id": "merge", "options": {}}]
        drawn["transformations"] = [*(alike if panel.source == LOKI else ()), {"id": "organize", "options": organize}]
    return drawn


def _target(panel: Panel, reference: str, ask: str, legend: str) -> Json:
    target: Json = {"refId": reference, "datasource": panel.source, "editorMode": "code", "expr": expression(ask)}
    once = panel.kind in ("stat", "table")
    if panel.source == LOKI:
        target["queryType"] = "instant" if once else "range"
        return target | {"legendFormat": legend} | ({"maxLines": 500} if panel.kind == "logs" else {})
    target |= {"legendFormat": "" if panel.kind == "table" else legend}
    if panel.kind == "table":
        return target | {"format": "table", "instant": True, "range": False}
    if panel.kind == "stat":
        return target | {"instant": True, "range": False}
    return target | {"range": True} | ({"exemplar": True} if "_drops_total" in ask or "square_flows" in ask else {})


def expression(ask: str) -> str:
    """An expression with its matchers."""
    return ask.replace("{*n", f'{{{EVERY},namespace=~"$namespace"').replace("{*", f"{{{EVERY}")


def _defaults(panel: Panel) -> Json:
    steps = [{"color": colour, "value": value} for value, colour in panel.steps]
    found: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    found["color"] = {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        line = {"drawStyle": "line", "lineWidth": 1, "showPoints": "never", "spanNulls": False}
        found |= {"min": 0, "custom": {**line, "fillOpacity": 60 if panel.stacked else 10, "stacking": stacking}}
    if panel.kind == "table":
        found["custom"] = {"align": "auto", "filterable": True}
    if panel.decimals is not None:
        found["decimals"] = panel.decimals
    if panel.mappings or panel.kind == "stat":
        found["mappings"] = list(panel.mappings)
    if panel.nothing:
        found["noValue"] = panel.nothing
    if panel.to_flows:
        found["links"] = [{"title": "The flows", "url": FLOWS_LINK, "targetBlank": False}]
    return found


def _overrides(panel: Panel) -> list[Json]:
    drawn = panel.kind == "timeseries"
    labels = ("{{square}}", "{{verdict}}")
    colours = COLOURS if drawn and any(legend in labels for _, legend in panel.asks) else {}
    found: list[Json] = [
        _override(name, "color", {"mode": "fixed", "fixedColor": colour}) for name, colour in colours.items()
    ]
    return found + [_override(legend, "unit", unit) for legend, unit in panel.units]


def _override(name: str, what: str, value: Any) -> Json:
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": what, "value": value}]}


def _options(panel: Panel) -> Json:
    match panel.kind:
        case "stat":
            return {
                "colorMode": "background",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "textMode": "value",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
        case "table":
            # What is counted, most of it first; what runs out, next first.
            sort = [{"displayName": panel.asks[0][1], "desc": panel.unit != "s"}]
            return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}, "sortBy": sort}
        case "logs":
            return {
                "showTime": True,
                "showLabels": False,
                "showCommonLabels": False,
                "wrapLogMessage": True,
                "prettifyLogMessage": False,
                "enableLogDetails": True,
                "dedupStrategy": "none",
                "sortOrder": "Descending",
            }
        case _:
            return {
                "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


# ── what every dashboard has ─────────────────────────────────────────────────────────────────────


def _annotation() -> Json:
    return {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }


def _blind_times() -> Json:
    """Shades, on every panel over time, the times in which too little was seen: there, nothing means `unknown`."""
    return {
        "datasource": PROMETHEUS,
        "enable": True,
        "hide": False,
        "iconColor": RED,
        "name": "Unknown: too little was seen",
        "expr": expression("min(flowwatch_coverage_ratio{*}) < on () max(flowwatch_coverage_required_ratio{*})"),
        "titleFormat": "Unknown: less was seen than judge.min_coverage asks",
        "textFormat": "What is not shown here may have happened.",
        "step": "60s",
    }


def _link() -> Json:
    return {
        "type": "dashboards",
        "title": "flowwatch",
        "tags": ["flowwatch"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "icon": "external link",
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


def _variables() -> list[Json]:
    chosen = 'job=~"$job"'
    with_cluster = f'{chosen},cluster=~"$cluster"'
    return [
        source_variable("datasource", "Data source", "prometheus"),
        query_variable("job", "label_values(flowwatch_build_info, job)", ".+"),
        # A label that may be absent is matched only by something that also matches the empty text.
        query_variable("cluster", f"label_values(flowwatch_build_info{{{chosen}}}, cluster)", ".*"),
        query_variable("instance", f"label_values(flowwatch_build_info{{{with_cluster}}}, instance)", ".+"),
        query_variable("namespace", f"label_values(flowwatch_namespace_edges{{{EVERY}}}, namespace)", ".*"),
    ]


def source_variable(name: str, label: str, kind: str) -> Json:
    """A choice of data source."""
    return {
        "name": name,
        "label": label,
        "type": "datasource",
        "query": kind,
        "current": {"selected": False, "text": "default", "value": "default"},
        "options": [],
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "skipUrlSync": False,
    }


def query_variable(name: str, query: str, everything: str, source: Json = PROMETHEUS) -> Json:
    """A choice among values that the data source knows."""
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": source,
        "query": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": everything,
        "current": {"selected": True, "text": "All", "value": "$__all"},
        "options": [],
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }


def text_variable(name: str, label: str) -> Json:
    """A text that people write."""
    nothing = {"selected": False, "text": "", "value": ""}
    return {
        "name": name,
        "label": label,
        "type": "textbox",
        "query": "",
        "current": nothing,
        "options": [nothing],
        "hide": 0,
        "skipUrlSync": False,
    }
