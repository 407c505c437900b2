"""Explaining an edge: what people write, what is told, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_cli import flowwatch, frames

NATIVE = """\
apiVersion: flowwatch/v1
kind: Allowlist
governs: [shop]
workloads: {shop: {web: {app: web}, api: {app: api}, db: {app: db}}}
rules:
  - {from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages}
  - {from: shop/api, to: {fqdn: ["*.payments.example"]}, ports: 443, reason: payments}
"""
POLICIES = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: api}}]
    toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A native list and policies."""
    (tmp_path / "native.yaml").write_text(NATIVE, encoding="utf-8")
    (tmp_path / "policies.yaml").write_text(POLICIES, encoding="utf-8")
    return tmp_path


CASES = [
    ("native.yaml", "shop/web", "shop/api", "8080", 0, "shop/web → shop/api:8080/TCP (native.yaml:6): pages"),
    ("native.yaml", "shop/web", "shop/api", "8081", 1, "nearest  shop/web → shop/api:8080/TCP differs in port"),
    ("native.yaml", "shop/api", "eu.payments.example", "443/TCP", 0, "payments"),
    ("native.yaml", "shop/api", "203.0.113.7", "443/TCP", 1, "the flow carried no DNS name"),
    ("native.yaml", "host", "kube-apiserver", "6443/TCP", 2, "is nothing this allowlist speaks about"),
    ("native.yaml", "shop:app=web,tier=front", "shop/api", "8080/TCP", 0, "pages"),
    ("policies.yaml", "shop:app=api", "shop:app=db", "5432/TCP", 0, "ingress  allow by CiliumNetworkPolicy:shop/db"),
    ("policies.yaml", "shop:app=api", "shop:app=db", "5433/TCP", 1, "differs in port"),
    ("policies.yaml", "shop:app=api", "shop:app=web", "80/TCP", 1, "NetworkPolicy:shop/default-deny"),
    ("policies.yaml", "host", "shop:app=web", "80/TCP", 0, "it comes from the pod's own node"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "source", "destination", "port", "code", "told"), CASES)
def test_an_edge_by_its_ends(
    folder: Path, file: str, source: str, destination: str, port: str, code: int, told: str
) -> None:
    """Who, to whom, on which port: the answer names the rule or policy with its line, and the exit code tells it."""
    ask = ["allowlist", "explain", "--from", source, "--to", destination, "--port", port, "--allowlist", file]
    done = flowwatch(*ask, cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stdout


def test_an_edge_for_machines(folder: Path) -> None:
    """JSON names both sides, what isolates them, and the nearest rule."""
    ask = ["allowlist", "explain", "--from", "shop:app=web", "--to", "shop:app=db", "--port", "5432"]
    done = flowwatch(*ask, "--format", "json", "--allowlist", "policies.yaml", cwd=folder)
    assert done.returncode == 1
    (answer,) = json.loads(done.stdout)
    assert answer["declared"] == "no"
    assert answer["egress"]["governed"] is False
    assert answer["ingress"]["verdict"] == "deny"
    assert set(answer["ingress"]["isolated_by"]) == {"CiliumNetworkPolicy:shop/db", "NetworkPolicy:shop/default-deny"}
    assert answer["nearest_rule"].startswith("CiliumNetworkPolicy:shop/db")
    assert answer["differs"] == ["source"]


def test_an_edge_by_a_line_of_a_capture(folder: Path) -> None:
    """A flow as Hubble prints it is an edge, too; a reply is none."""
    pod = '{"ID":1,"identity":%d,"namespace":"shop","labels":["k8s:app=%s","k8s:io.kubernetes.pod.namespace=shop"]}'
    ports = '"l4":{"TCP":{"source_port":40000,"destination_port":8080,"flags":{"SYN":true}}}'
    ends = f'"source":{pod % (1001, "web")},"destination":{pod % (1002, "api")}'
    flow = (
        '{"flow":{"verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"},"is_reply":%s,'
        f'{ports},{ends},"event_type":{{"type":5}},"traffic_direction":"EGRESS"}}}}'
    )
    assert flowwatch("allowlist", "explain", flow % "false", "--allowlist", "native.yaml", cwd=folder).returncode == 0
    reply = (flow % "true").encode()
    done = flowwatch("allowlist", "explain", "-", "--allowlist", "native.yaml", cwd=folder, stdin=reply)
    assert done.returncode == 2
    assert "about no edge" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "shop/web", "--to", "shop/api"], "name an edge"),
        (["--from", "shop/web", "--to", "shop/api", "--port", "http"], "--port: 'http' is not a port"),
        (["--from", "shop/nobody", "--to", "shop/api", "--port", "80"], "no workload 'shop/nobody'"),
        (["--from", "some one", "--to", "shop/api", "--port", "80"], "--from: 'some one' names no end"),
        (["--flow", "u"], "name the database"),
        (["{nonsense"], "line 1: "),
    ],
)
def test_mistakes_are_told(folder: Path, arguments: list[str], told: str) -> None:
    """In words, with exit code 2."""
    done = flowwatch("allowlist", "explain", *arguments, "--allowlist", "native.yaml", cwd=folder)
    assert done.returncode == 2
    assert told in done.stderr


def test_the_sample_of_a_finding_can_be_explained(folder: Path) -> None:
    """A uuid from an alert leads back to its edge, by way of the database."""
    flow = "trace FORWARDED TO_NETWORK NEW noreply uuid=sample-1"
    drift = f"+0s {flow} shop/web* -> world(203.0.113.7,evil.example) 443/TCP SYN"
    (folder / "drift.bin").write_bytes(frames(drift))
    replay = ["replay", "drift.bin", "--allowlist", "native.yaml", "--store", "kept.duckdb"]
    assert flowwatch(*replay, cwd=folder).returncode == 1
    ask = ["allowlist", "explain", "--flow", "sample-1", "--allowlist", "native.yaml", "--store", "kept.duckdb"]
    done = flowwatch(*ask, cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "shop/web → evil.example:443/TCP is not declared" in done.stdout
