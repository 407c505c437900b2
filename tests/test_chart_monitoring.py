"""What the chart gives to Prometheus and Grafana, and what it asks of the machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowwatch import config
from tests.support.chart import CHART, ROOT, container_of, mounted, of_kind, rendered, the

MONITORED = ROOT / "tests" / "data" / "chart" / "nodes.yaml"
SIZES = yaml.safe_load((CHART / "files" / "sizing.yaml").read_text(encoding="utf-8"))
BYTES_PER_FLOW = 30
UNITS = {"m": 1e-3, "": 1, "MB": 1e6, "GB": 1e9, "Mi": 2**20, "Gi": 2**30}


def quantity(text: str) -> float:
    """`250m`, `10GB` or `15Gi` as a number."""
    match = re.fullmatch(r"(\d+)(\w*)", text)
    assert match
    return int(match[1]) * UNITS[match[2]]


def test_every_dashboard_is_shipped_for_the_sidecar() -> None:
    """Each is what dashboards/ holds, bears the sidecar's label, and fits into what `kubectl apply` can annotate."""
    found = [each for each in of_kind(rendered(None), "ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]]
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in found} == {"1"}
    shipped: dict[str, Any] = {}
    for each in found:
        [(name, text)] = each["data"].items()
        shipped[name] = json.loads(text)
        assert len(json.dumps(each)) < 262_144
    ours = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "dashboards").glob("*.json")}
    assert shipped == ours


def test_the_rules_are_those_of_the_repository() -> None:
    """The PrometheusRule holds dashboards/alerts.yaml as it is."""
    rules = yaml.safe_load((ROOT / "dashboards" / "alerts.yaml").read_text(encoding="utf-8"))
    assert the(rendered(MONITORED), "PrometheusRule")["spec"] == rules


def test_prometheus_finds_it_under_the_job_that_the_rules_expect() -> None:
    """Whatever the release is called: the job comes from a label, and every rule is about that job."""
    manifest = rendered(MONITORED)
    label = the(manifest, "Service")["metadata"]["labels"]["app.kubernetes.io/name"]
    jobs = set(re.findall(r'job="([^"]+)"', (ROOT / "dashboards" / "alerts.yaml").read_text(encoding="utf-8")))
    assert jobs == {label}
    for kind, endpoints in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        spec = the(manifest, kind)["spec"]
        assert spec["jobLabel"] == "app.kubernetes.io/name"
        [endpoint] = spec[endpoints]
        assert endpoint["path"] == "/metrics"
        assert endpoint["scheme"] == "https"
        assert endpoint["authorization"]["credentials"] == {"name": "flowwatch-token", "key": "token"}
        ports = (
            the(manifest, "Service")["spec"]["ports"] if kind == "ServiceMonitor" else container_of(manifest)["ports"]
        )
        assert endpoint["port"] in {port["name"] for port in ports}
    assert the(manifest, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"


def test_routes_lead_to_the_service() -> None:
    """Ingress and HTTPRoute name the Service and one of its ports; the certificate's Secret is the one in the pod."""
    manifest = rendered(MONITORED)
    service = the(manifest, "Service")
    [backend] = the(manifest, "HTTPRoute")["spec"]["rules"][0]["backendRefs"]
    assert (backend["name"], backend["port"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
    certificate = the(manifest, "Certificate")["spec"]
    secrets = [volume.get("secret", {}).get("secretName") for volume in pod_volumes(manifest)]
    assert certificate["secretName"] in secrets
    assert certificate["usages"] == ["digital signature", "client auth"]
    outside = rendered(ROOT / "tests" / "data" / "chart" / "outside.yaml")
    [path] = the(outside, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    assert path["path"] == "/flowwatch"
    named = path["backend"]["service"]
    assert named["name"] == the(outside, "Service")["metadata"]["name"] == "watcher"
    assert named["port"]["name"] in {port["name"] for port in the(outside, "Service")["spec"]["ports"]}


def pod_volumes(manifest: Any) -> Any:
    """The volumes of the pod."""
    return the(manifest, "Deployment")["spec"]["template"]["spec"]["volumes"]


@pytest.mark.parametrize("size", SIZES)
def test_a_size_fits_together(size: str, tmp_path: Path) -> None:
    """Memory holds DuckDB's share and the process beside it, the volume what is kept and what a file needs on top;
    and what the table says is what is rendered."""
    said = SIZES[size]
    settings = config.load(None, mounted(rendered(None, "--set", f"size={size}"), tmp_path))
    assert settings.store.memory_limit == quantity(said["memory_limit"])
    assert settings.store.max_size == quantity(said["max_size"])
    resources = container_of(rendered(None, "--set", f"size={size}"))["resources"]
    assert resources == {"requests": said["requests"], "limits": said["limits"]}
    request, limit = (quantity(said[kind]["memory"]) for kind in ("requests", "limits"))
    assert request >= settings.store.memory_limit + 230e6
    assert limit >= settings.store.memory_limit + 2 * 300e6
    kept = said["flows"] / 2 * said["days"] * 86_400 * BYTES_PER_FLOW
    assert 0.9 * settings.store.max_size <= kept <= settings.store.max_size
    assert quantity(said["volume"]) >= 1.4 * settings.store.max_size
    claim = the(rendered(None, "--set", f"size={size}"), "PersistentVolumeClaim")
    assert claim["spec"]["resources"]["requests"]["storage"] == said["volume"]


def test_the_sizing_table_is_what_the_chart_says() -> None:
    """docs/kubernetes.md shows files/sizing.yaml."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generate import sizing  # noqa: PLC0415 - it lies beside the documents
    finally:
        sys.path.remove(str(ROOT / "docs"))
        sys.modules.pop("generate", None)
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    assert text.split("<!-- generated: sizing -->")[1].split("<!-- /generated -->")[0].strip() == sizing()


def test_every_value_is_explained() -> None:
    """docs/kubernetes.md names values that exist."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    tops = "|".join(values)
    for name in set(re.findall(rf"`((?:{tops})\.[\w.]+)`", text)):
        if name.startswith("config."):
            assert name.removeprefix("config.") in {key.name for key in config.KEYS}, name
            continue
        part = values
        for step in name.split("."):
            assert step in part, name
            part = part[step]
