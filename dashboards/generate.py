"""Write the dashboards and the PrometheusRule, here and for the chart: `.venv/bin/python dashboards/generate.py`.

What each dashboard shows is described in `pages_*.py`; how Grafana wants it written is in `panels.py`.
`tests/test_dashboards.py` fails when a file is not current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from pages_flowwatch import ALLOWLIST, FLOWS, SELF  # noqa: E402 - beside this file
from pages_network import DROPS, EGRESS, OVERVIEW  # noqa: E402
from panels import dashboard  # noqa: E402

CHART = "../deploy/helm/flowwatch/files"
"""Where the Helm chart keeps its own, for a chart can read nothing outside itself."""
DASHBOARDS = (OVERVIEW, DROPS, EGRESS, ALLOWLIST, FLOWS, SELF)


def files() -> dict[str, str]:
    """What is generated, by the name of its file; the chart's dashboards on one line."""
    pages = {f"{page.uid}.json": dashboard(page) for page in DASHBOARDS}
    ours = {name: json.dumps(page, indent=2) + "\n" for name, page in pages.items()}
    chart = {f"{CHART}/dashboards/{name}": json.dumps(page, separators=(",", ":")) for name, page in pages.items()}
    rules = prometheus_rule()
    return ours | chart | {"prometheusrule.yaml": rules, f"{CHART}/prometheusrule.yaml": rules}


def prometheus_rule() -> str:
    """The rules of `alerts.yaml` as the object that the Prometheus operator reads."""
    rules = yaml.safe_load((HERE / "alerts.yaml").read_text(encoding="utf-8"))
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "flowwatch", "labels": {"app.kubernetes.io/name": "flowwatch"}},
        "spec": rules,
    }
    note = "# Generated from alerts.yaml by generate.py. Add the labels that your Prometheus selects rules by.\n"
    return note + yaml.safe_dump(manifest, sort_keys=False, width=120)


def main() -> None:
    """Write every file."""
    for name, text in files().items():
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
