"""The dashboard and the rules: conventions of Grafana's dashboard linter, and names that exist.

The linter's seventeen rules are told again here. Whether expressions are PromQL at all is for promtool to say, and
whether panels show anything for a Prometheus: see test_prometheus.py and test_panels.py.

Three of the linter's rules have an exception (dashboards/.lint): `template-datasource-rule` wants one data source, and
the flow explorer has a second, because flows come from another than metrics; its panels therefore have no `$job` and
`$instance` (`target-job-rule`, `target-instance-rule`), which flows do not have.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowwatch.alerts_table import NAMES
from flowwatch.alerts_text import SUMMARIES
from flowwatch.logql.fields import LABELS
from flowwatch.logql.parse import parse
from flowwatch.logql.syntax import Selection
from flowwatch.metric_table import TABLE, Type
from tests.support.dashboards import FILES, FOLDER, Json, dashboards, filled, panels

ROOT = Path(__file__).resolve().parents[1]
RULES = yaml.safe_load((ROOT / "dashboards" / "alerts.yaml").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RUNBOOK = (ROOT / "dashboards" / "README.md").read_text(encoding="utf-8")

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
FLOWS = {"type": "loki", "uid": "${loki_datasource}"}
WITH_FLOWS = {"flowwatch-flows"}
"""The dashboards that ask for flows."""
UNITS = {"none", "short", "percentunit", "cps", "s", "bytes", "Bps"}
"""The units in use, all of them among Grafana's own."""
NOT_DRAWN = {
    "flowwatch_build_info": "names the values of the variables",
    "flowwatch_pushes_alerts": "holds back the rules of those who push",
    "flowwatch_stream_connects_total": "a stream that connects often is one that fails often",
    "flowwatch_store_commits_total": "the count of the commit latency",
    "flowwatch_coverage_window_seconds": "says of how much time the coverage speaks, for those who look it up",
    "flowwatch_store_up": "an alert tells of it, and the rows that wait are drawn",
    "flowwatch_store_set_aside_total": "an alert tells of it",
    "flowwatch_leads": "says of replicas which one pushes, for those who look it up",
    "flowwatch_cluster_proven_timestamp_seconds": "an alert tells of a stale watch",
}

SELECTOR = re.compile(r"(?P<name>flowwatch_\w+)(?P<matchers>\{[^}]*\})?(?P<range>\[[^]]*\])?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
PARENT = re.compile(r"(\w+)\($")


def each() -> list[Any]:
    return [pytest.param(json.loads(path.read_text(encoding="utf-8")), id=path.stem) for path in FILES]


def expressions(dashboard: Json) -> Iterator[tuple[str, str]]:
    """(panel title, PromQL) of every target."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            if target["datasource"] == DATASOURCE:
                yield panel["title"], target["expr"]


def variables(dashboard: Json) -> dict[str, Json]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def known() -> dict[str, set[str]]:
    """Every sample name that can be scraped, with its labels."""
    found: dict[str, set[str]] = {}
    for spec in TABLE:
        labels = set(spec.labels)
        if spec.type is Type.HISTOGRAM:
            found |= {f"{spec.name}_bucket": labels | {"le"}, f"{spec.name}_sum": labels, f"{spec.name}_count": labels}
        else:
            found[spec.name] = labels
    return found


def misnamed(expression: str, extra: set[str]) -> list[str]:
    """Metrics, labels and values of an expression that flowwatch does not expose."""
    wrong = []
    names = known()
    values = {(spec.name, label): known for spec in TABLE for label, known in spec.labels.items() if known}
    for found in SELECTOR.finditer(expression):
        name = found["name"]
        if name not in names:
            wrong.append(name)
            continue
        for label, operator, value in MATCHER.findall(found["matchers"] or ""):
            if label not in names[name] | extra:
                wrong.append(f"{name}{{{label}}}")
            if operator == "=" and value not in values.get((name, label), (value,)):
                wrong.append(f'{name}{{{label}="{value}"}}')
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(", ")}
    used = set().union(*(names.get(found["name"], set()) for found in SELECTOR.finditer(expression)), extra)
    return wrong + sorted(grouped - used)


def test_there_is_a_dashboard() -> None:
    """The six that are described."""
    names = ("allowlist", "drops", "egress", "flows", "overview", "self")
    assert [path.stem for path in FILES] == [f"flowwatch-{name}" for name in names]


def test_files_are_current() -> None:
    """What is generated is what dashboards/generate.py writes."""
    writer = [sys.executable, "-c", "import generate, json; print(json.dumps(generate.files()))"]
    done = subprocess.run(writer, cwd=FOLDER, capture_output=True, text=True, check=True)
    for name, text in json.loads(done.stdout).items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"{name}: run dashboards/generate.py"


def test_the_prometheus_rule_holds_the_rules() -> None:
    """The object for the Prometheus operator says what the rule file says."""
    manifest = yaml.safe_load((FOLDER / "prometheusrule.yaml").read_text(encoding="utf-8"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert manifest["spec"] == RULES


@pytest.mark.parametrize("dashboard", each())
def test_identity_and_portability(dashboard: Json) -> None:
    """A dashboard is provisioned as it is: stable uid, no id, a schema any Grafana from 10.4 on loads, not editable."""
    assert re.fullmatch(r"flowwatch-[a-z-]{1,30}", dashboard["uid"])
    assert dashboard["id"] is None
    assert 39 <= dashboard["schemaVersion"] <= 42
    assert dashboard["editable"] is False  # uneditable-dashboard
    assert {"flowwatch", "cilium", "hubble"} <= set(dashboard["tags"])
    assert dashboard["title"]
    assert dashboard["description"]
    assert not {"__inputs", "__requires", "__elements"} & set(dashboard)
    _, blind = dashboard["annotations"]["list"]
    assert blind["enable"]
    assert "min(flowwatch_coverage_ratio" in blind["expr"]
    assert "flowwatch_coverage_required_ratio" in blind["expr"]
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == (
        "dashboards",
        ["flowwatch"],
        True,
        True,
    )


def test_sizes_and_uids() -> None:
    """A dashboard fits into a ConfigMap beside others, is named after its uid, and no two share one."""
    uids = [json.loads(path.read_text(encoding="utf-8"))["uid"] for path in FILES]
    assert uids == [path.stem for path in FILES]
    assert len(set(uids)) == len(uids)
    assert all(path.stat().st_size < 200_000 for path in FILES)


@pytest.mark.parametrize("dashboard", each())
def test_variables(dashboard: Json) -> None:
    """template-datasource, -job, -instance, -label-promql and -on-time-change-reload rules."""
    found = variables(dashboard)
    datasource, *more = (variable for variable in found.values() if variable["type"] == "datasource")
    is_for_flows = dashboard["uid"] in WITH_FLOWS
    assert [(one["name"], one["query"]) for one in more] == ([("loki_datasource", "loki")] if is_for_flows else [])
    assert (datasource["name"], datasource["label"], datasource["query"]) == ("datasource", "Data source", "prometheus")
    all_ = {name: variable for name, variable in found.items() if variable["type"] == "query"}
    assert all((one["multi"], one["includeAll"], one["refresh"]) == (True, True, 2) for one in all_.values())
    queries = {name: variable for name, variable in all_.items() if variable["datasource"] == DATASOURCE}
    flows = [variable for variable in all_.values() if variable["datasource"] == FLOWS]
    assert len(all_) == len(queries) + len(flows)
    assert all(one["query"] == f"label_values({one['name']})" and one["name"] in LABELS for one in flows)
    assert bool(flows) == is_for_flows
    assert list(queries) == ["job", "cluster", "instance", "namespace"]
    for name, variable in queries.items():
        assert variable["datasource"] == DATASOURCE
        assert variable["label"] == name.capitalize()
        assert (variable["multi"], variable["includeAll"], variable["refresh"]) == (True, True, 2)
        query = variable["query"]
        assert re.fullmatch(rf"label_values\(flowwatch_\w+(\{{.*\}})?, {name}\)", query)
        assert misnamed(query, {"job", "instance", "cluster"}) == []
    assert [queries[name]["allValue"] for name in ("job", "instance")] == [".+", ".+"]
    # A label that may be absent is matched only by something that also matches the empty string.
    assert [queries[name]["allValue"] for name in ("cluster", "namespace")] == [".*", ".*"]


@pytest.mark.parametrize("dashboard", each())
def test_panels(dashboard: Json) -> None:
    """panel-datasource, -title-description, -units and -no-targets rules, and an unambiguous first threshold."""
    for panel in panels(dashboard):
        title = panel["title"]
        assert title, panel["id"]
        assert len(panel["description"]) > 20, title
        assert panel["description"].endswith("."), title
        source = panel["datasource"]
        assert source == DATASOURCE or (source == FLOWS and dashboard["uid"] in WITH_FLOWS), title
        assert panel["targets"], title
        defaults = panel["fieldConfig"]["defaults"]
        units = {defaults["unit"]} | {
            item["value"]
            for override in panel["fieldConfig"]["overrides"]
            for item in override["properties"]
            if item["id"] == "unit"
        }
        assert units <= UNITS, title
        assert defaults["thresholds"]["steps"][0]["value"] is None, title
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references)), title
        assert all(target["datasource"] == source for target in panel["targets"]), title
        assert len(panel["targets"]) == 1 or all(target["legendFormat"] for target in panel["targets"]), title
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("dashboard", each())
def test_layout(dashboard: Json) -> None:
    """Panels lie within the 24 columns, fill their rows, and none covers another."""
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24, panel["title"]
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]
    assert len(taken) == 24 * (1 + max(y for _, y in taken))


@pytest.mark.parametrize("dashboard", each())
def test_selectors(dashboard: Json) -> None:
    """target-job, -instance, -rate-interval and -counter-agg rules."""
    for title, expression in expressions(dashboard):
        selectors = list(SELECTOR.finditer(expression))
        assert selectors, title
        for found in selectors:
            matchers = {(label, operator, value) for label, operator, value in MATCHER.findall(found["matchers"] or "")}
            assert {
                ("job", "=~", "$job"),
                ("instance", "=~", "$instance"),
                ("cluster", "=~", "$cluster"),
            } <= matchers, title
            if "namespace" in known()[found["name"]]:
                assert ("namespace", "=~", "$namespace") in matchers, title
            parent = PARENT.search(expression[: found.start()])
            function = parent[1] if parent else ""
            if found["name"].endswith(("_total", "_bucket")):
                assert function in ("rate", "increase"), f"{title}: {expression}"
            if function == "rate":
                assert found["range"] == "[$__rate_interval]", title
            assert bool(found["range"]) == (function in ("rate", "increase")), title


@pytest.mark.parametrize("dashboard", each())
def test_names_exist(dashboard: Json) -> None:
    """Every metric, label, label value and legend of the dashboard is one that flowwatch exposes."""
    for title, expression in expressions(dashboard):
        assert misnamed(expression, {"job", "instance", "cluster"}) == [], title
    for panel in panels(dashboard):
        for target in panel["targets"]:
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped, *_ = re.findall(r"\bby \(([^)]*)\)", target["expr"]) or [""]
            assert legend <= set(grouped.split(", ")), panel["title"]


@pytest.mark.parametrize("dashboard", each())
def test_questions_about_flows(dashboard: Json) -> None:
    """target-logql and -auto rules: flowwatch answers them, over the interval or the range of the dashboard."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            if target["datasource"] == FLOWS:
                wanted = parse(filled(target["expr"]))
                assert isinstance(wanted, Selection) == (panel["type"] == "logs"), panel["title"]
                ranges = {"logs": [], "table": ["[$__range]"]}.get(panel["type"], ["[$__auto]"])
                assert re.findall(r"\[[^]]*\]", target["expr"]) == ranges, panel["title"]


def test_exceptions_are_those_of_the_linter() -> None:
    """The file that Grafana's own linter reads excepts what these tests do, each with a reason."""
    excepted = yaml.safe_load((FOLDER / ".lint").read_text(encoding="utf-8"))["exclusions"]
    assert set(excepted) == {"template-datasource-rule", "target-job-rule", "target-instance-rule"}
    titles = {dashboard["title"] for dashboard in dashboards() if dashboard["uid"] in WITH_FLOWS}
    for rule in excepted.values():
        assert rule["reason"]
        assert {entry["dashboard"] for entry in rule["entries"]} == titles


def test_links_lead_to_dashboards() -> None:
    """A link from a series leads to a dashboard that is there, with variables that it has."""
    found = {dashboard["uid"]: variables(dashboard) for dashboard in dashboards()}
    links = {
        link["url"]
        for dashboard in dashboards()
        for panel in panels(dashboard)
        for link in panel["fieldConfig"]["defaults"].get("links", ())
    }
    assert links
    for link in links:
        uid, _, query = link.removeprefix("/d/").partition("?")
        assert set(re.findall(r"\$\{(\w+):queryparam\}", query)) <= set(found[uid])
        assert "${__url_time_range}" in query


def test_every_metric_is_drawn_or_known_not_to_be() -> None:
    """A metric that no panel shows is listed with the reason, so that none is forgotten."""
    text = " ".join(expression for path in FILES for _, expression in expressions(json.loads(path.read_text())))
    drawn = {name.removesuffix("_bucket") for name in re.findall(r"flowwatch_\w+", text)}
    assert {spec.name for spec in TABLE} - drawn == set(NOT_DRAWN)


def test_rules_follow_the_conventions() -> None:
    """Names, severities, annotations, job selectors and metric names of the rule file are as they should be."""
    for rule in ALERTS:
        name = rule["alert"]
        assert re.fullmatch(r"Flowwatch([A-Z][a-z]+)+", name)
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert "{{" not in rule["annotations"]["summary"], name
        assert rule["annotations"]["runbook_url"] == f"dashboards/README.md#{name.lower()}"
        assert misnamed(rule["expr"], {"job", "instance"}) == [], name
        selectors = re.findall(r"\b(?:flowwatch_\w+|up)\{([^}]*)\}", rule["expr"])
        assert selectors, name
        assert all('job="flowwatch"' in selector for selector in selectors), name


def test_nobody_is_told_twice() -> None:
    """What flowwatch pushes is held back as a rule while it pushes; what is always a rule is never pushed."""
    always, instead, _ = RULES["groups"]
    for rule in instead["rules"]:
        about = "edges" if "flows_total" in rule["expr"] else "itself"
        held_back = f'unless on (job, instance) flowwatch_pushes_alerts{{job="flowwatch",about="{about}"}} == 1'
        assert rule["expr"].rstrip().endswith(held_back), rule["alert"]
    assert set(SUMMARIES) <= {rule["alert"] for rule in instead["rules"]}
    assert not set(SUMMARIES) & {rule["alert"] for rule in always["rules"]}


def test_recorded_names() -> None:
    """level:metric:operations, with the labels that are left as the level."""
    recorded = RULES["groups"][2]["rules"]
    assert len({rule["record"] for rule in recorded}) == len(recorded)
    for rule in recorded:
        level, metric, _ = rule["record"].split(":")
        (grouped,) = re.findall(r"by \(([^)]*)\)", rule["expr"])
        assert sorted(grouped.split(", ")) == sorted(level.split("_"))
        assert re.search(rf"{metric}(_total)?\{{", rule["expr"])
        assert misnamed(rule["expr"], {"job"}) == []


def test_every_alert_has_its_heading() -> None:
    """The runbook has one heading per alert, pushed or by rule, and none for anything that is not one."""
    alerts = set(NAMES) | {rule["alert"] for rule in ALERTS}
    headings = re.findall(r"^### (Flowwatch\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(headings) == sorted(alerts)


def test_every_heading_says_what_to_do() -> None:
    """Each alert's section has a meaning, a first thing to run, usual causes and a way to end it."""
    sections = re.split(r"^### (?=Flowwatch)", RUNBOOK, flags=re.MULTILINE)[1:]
    for section in sections:
        leads = re.findall(r"^\*\*([^*]+)\*\*", section.split("\n## ")[0], re.MULTILINE)
        assert leads == ["Meaning.", "First.", "Usual causes.", "To end it."], section.splitlines()[0]


def test_the_runbook_names_queries_that_exist() -> None:
    """A query that the runbook tells people to run is a file in queries/report."""
    named = set(re.findall(r"flowwatch query (\w+)", RUNBOOK))
    assert {"unexpected_egress", "drops_by_reason", "findings", "coverage"} <= named
    assert {name for name in named if not (ROOT / "queries" / "report" / f"{name}.sql").exists()} == set()


def test_links_of_the_runbook_lead_somewhere() -> None:
    """Relative links point at files, and anchors at headings."""
    anchors = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", RUNBOOK):
        path, _, anchor = target.partition("#")
        assert not path or (ROOT / "dashboards" / path).exists(), target
        assert not anchor or path or anchor in anchors, target


def test_thresholds_rise() -> None:
    """The steps of every threshold are in order, as Grafana wants them."""
    for path in FILES:
        for panel in panels(json.loads(path.read_text(encoding="utf-8"))):
            values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]][1:]
            assert all(low < high for low, high in pairwise(values)), panel["title"]
