"""Every panel is asked: a real Prometheus scrapes the real daemon, which a simulated cluster feeds."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowwatch.alerts_text import SUMMARIES
from flowwatch.assemble import running
from flowwatch.config import HubbleSettings
from flowwatch.demo import homelab_allowlist, simulated_hubble
from flowwatch.metric_table import TABLE, Type
from tests.support.dashboards import FOLDER, dashboards, filled, targets
from tests.support.feed import settings
from tests.support.patience import until
from tests.support.servers import prometheus

pytestmark = pytest.mark.prometheus

EMPTY_PANELS: dict[str, str] = {}
"""Panels that may have nothing to show in this run, with the reason."""
EMPTY_VARIABLES = {"cluster": "only Prometheus' own configuration gives this label"}
UNSEEN_METRICS: dict[str, str] = {}
"""Metrics that have no series in this run, with the reason."""


def allowlist() -> str:
    """The allowlist of the simulated cluster, with a rule that ends and one that a condition depends on."""
    written = yaml.safe_load(homelab_allowlist().read_text(encoding="utf-8"))
    written["rules"][0]["expires"] = date.today() + timedelta(days=3)
    written["rules"][1]["condition"] = "PathsWork"
    return str(yaml.safe_dump(written, sort_keys=False))


def get(address: str, path: str, accept: str = "", **params: Any) -> tuple[str, str]:
    """Body and content type of an answer."""
    query = "?" + urllib.parse.urlencode(params, doseq=True) if params else ""
    request = urllib.request.Request(f"{address}{path}{query}", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def asked(address: str, path: str, **params: Any) -> Any:
    """The data of an answer in the form that Prometheus and Loki share."""
    body = json.loads(get(address, path, **params)[0])
    assert body["status"] == "success", (params, body)
    return body["data"]


async def test_every_panel_has_something_to_show(tmp_path: Path) -> None:
    """Every expression returns data with the labels of its legend, every variable has values, every rule
    evaluates, every metric has series, and the drift is told with the uuid of a flow, and by one way only."""
    with simulated_hubble(tmp_path, ["--rate", "300"]) as server:
        # An Alertmanager that is not there: its series are.
        config = settings(tmp_path, allowlist(), ("http://127.0.0.1:9",))
        object.__setattr__(config, "hubble", HubbleSettings(server=server))
        with running(config) as (daemon, service):
            scrape = {
                "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
                "rule_files": [str(FOLDER / "alerts.yaml")],
                "scrape_configs": [
                    {
                        "job_name": "flowwatch",
                        "static_configs": [{"targets": [service.address.removeprefix("http://")]}],
                    }
                ],
            }
            async with prometheus(tmp_path, yaml.safe_dump(scrape)) as where:
                await asyncio.to_thread(until, lambda: len(daemon.snapshot.findings) >= 12, "findings")
                await asyncio.to_thread(_all_of_it, f"http://{where}", service.address)


def _all_of_it(prometheus_: str, daemon: str) -> None:
    _eventually("panels of Prometheus", lambda: _empty_panels(prometheus_))
    _eventually("panels of flows", lambda: _empty_flow_panels(daemon))
    _eventually("variables", lambda: _empty_variables(prometheus_, daemon))
    _eventually("metrics", lambda: _unseen_metrics(prometheus_))
    _eventually("rules", lambda: _unwell_rules(prometheus_))
    # It pushes alerts about edges, so no rule begins to say the same, although there is what it would tell.
    told = {series["metric"]["alertname"] for series in asked(prometheus_, "/api/v1/query", query="ALERTS")["result"]}
    assert not told & set(SUMMARIES)
    denied = 'increase(flowwatch_square_flows_total{square="denied"}[1m]) > 0'
    assert asked(prometheus_, "/api/v1/query", query=denied)["result"]
    body, kind = get(daemon, "/metrics", "application/openmetrics-text")
    assert kind.startswith("application/openmetrics-text")
    uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    for metric in ("square_flows_total{.*unexpected", "policy_drops_total{.*POLICY_DENIED"):
        assert re.search(rf'flowwatch_{metric}.* # {{flow_uuid="{uuid}"}}', body), metric


def _eventually(what: str, missing: Callable[[], list[str]], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while found := missing():
        assert time.monotonic() < end, f"{what}: {found}"
        time.sleep(0.5)


def _empty_panels(address: str) -> list[str]:
    wrong = []
    for title, _, target in targets("prometheus"):
        result = asked(address, "/api/v1/query", query=filled(target["expr"]))["result"]
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        if not result and title not in EMPTY_PANELS:
            wrong.append(f"{title}: nothing for {target['expr']}")
        if any(not legend <= set(series["metric"]) for series in result):
            wrong.append(f"{title}: not all of {sorted(legend)}")
    return wrong


def _empty_flow_panels(address: str) -> list[str]:
    wrong = []
    end = time.time_ns()
    for title, panel, target in targets("loki"):
        query = filled(target["expr"])
        if target["queryType"] == "instant":
            found = asked(address, "/loki/api/v1/query", query=query, time=end, direction="backward", limit=100)
            labels = [series["metric"] for series in found["result"]]
        else:
            start = end - 60 * 10**9
            found = asked(
                address, "/loki/api/v1/query_range", query=query, start=start, end=end, step="5000ms", limit=500
            )
            logs = panel["type"] == "logs"
            assert found["resultType"] == ("streams" if logs else "matrix"), title
            labels = [series["stream" if logs else "metric"] for series in found["result"]]
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        if not labels or any(not legend <= set(one) for one in labels):
            wrong.append(f"{title}: {query}")
    return wrong


def _empty_variables(prometheus_: str, daemon: str) -> list[str]:
    wrong = []
    for dashboard in dashboards():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query" or variable["name"] in EMPTY_VARIABLES:
                continue
            if variable["datasource"]["type"] == "loki":
                (label,) = re.findall(r"label_values\((\w+)\)", variable["query"])
                values = asked(daemon, f"/loki/api/v1/label/{label}/values")
            else:
                ((series, label),) = re.findall(r"label_values\((.*), (\w+)\)", filled(variable["query"]))
                values = asked(prometheus_, f"/api/v1/label/{label}/values", **{"match[]": series})
            if not values:
                wrong.append(f"{dashboard['uid']}: {variable['name']}")
    return wrong


def _unseen_metrics(address: str) -> list[str]:
    seen = set(asked(address, "/api/v1/label/__name__/values"))
    samples = {spec.name: f"{spec.name}_bucket" if spec.type is Type.HISTOGRAM else spec.name for spec in TABLE}
    return [name for name, sample in samples.items() if sample not in seen and name not in UNSEEN_METRICS]


def _unwell_rules(address: str) -> list[str]:
    groups = asked(address, "/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    written = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    assert len(rules) == sum(len(group["rules"]) for group in written)
    return [f"{rule['name']}: {rule.get('lastError', rule['health'])}" for rule in rules if rule["health"] != "ok"]
