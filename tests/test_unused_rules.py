"""Which rules were used: every one that has part in declaring an edge, on either side."""

from __future__ import annotations

from pathlib import Path

from flowwatch import allowlist, report, sql
from flowwatch.engine import Engine
from flowwatch.receive import Batch
from flowwatch.store import Store
from tests.support.flowtext import parse
from tests.support.scenario import START

POLICIES = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
  - toEndpoints: [{matchLabels: {app: api}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: api}}]
"""
FLOW = "+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN"


def test_policies_of_both_sides_are_used(tmp_path: Path) -> None:
    """The policy that lets it out and the policy that lets it in, in memory and in the query alike."""
    engine = Engine(cluster="test", allowlist=allowlist.parse(POLICIES, "policies.yaml", START))
    assert len(engine.unused_rules()) == 3
    engine.ingest(Batch("test", "test", [line.message for line in parse(FLOW, START)]), START)
    assert engine.unused_rules() == ("CiliumNetworkPolicy:shop/db",)
    store = Store(tmp_path / "a.duckdb")
    store.commit(engine.drain(START))
    query = sql.report("unused_rules")
    rows = store.query(query, report.parameters(query, {"since": "all"}, START)).to_pylist()
    store.close()
    assert [row["rule"] for row in rows] == ["CiliumNetworkPolicy:shop/db"]
