"""Snapshots and findings of a small cluster, as every surface shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flowwatch.model import (
    Declared,
    Edge,
    Finding,
    Identity,
    Judgement,
    Kind,
    NodeCoverage,
    Peer,
    Protocol,
    Side,
    Snapshot,
    Square,
)

NOW = datetime(2026, 10, 1, 3, 12, 0, tzinfo=UTC).timestamp()
CLUSTER = "homelab"

LOKI_SENTENCE = (
    "monitoring/loki → 203.0.113.7:443/TCP is forwarded but not declared; "
    "nearest rule `monitoring/loki → seaweedfs/filer:8333/TCP` differs in destination and port"
)


def pod(name: str, *labels: str) -> Peer:
    """A pod's identity: `namespace/workload`."""
    namespace, workload = name.split("/")
    own = (
        f"k8s:app.kubernetes.io/name={workload}",
        f"k8s:io.cilium.k8s.policy.cluster={CLUSTER}",
        f"k8s:io.kubernetes.pod.namespace={namespace}",
    )
    return Peer(Identity(Kind.POD, CLUSTER, namespace, tuple(sorted((*own, *labels)))), workload)


def world(ip: str, *names: str) -> Peer:
    """An address outside the cluster and the names it was looked up by."""
    return Peer(Identity(Kind.WORLD, CLUSTER, "", ("reserved:world",)), ip=ip, names=names)


def host() -> Peer:
    """The node a pod runs on."""
    return Peer(Identity(Kind.HOST, CLUSTER, "", ("reserved:host",)))


def loki_finding(**changes: Any) -> Finding:
    """The gap: logs leave the cluster."""
    finding = Finding(
        square=Square.UNEXPECTED,
        cluster=CLUSTER,
        edge=Edge(
            pod("monitoring/loki", "k8s:app.kubernetes.io/component=write"), world("203.0.113.7"), Protocol.TCP, 443
        ),
        side=Side.EGRESS,
        judgement=Judgement(
            Declared.NO,
            reason="no rule declares it",
            nearest="monitoring/loki → seaweedfs/filer:8333/TCP",
            differs=("destination", "port"),
        ),
        first_seen=NOW - 960,
        last_seen=NOW - 3,
        flows=42,
        connections=12,
        samples=("1a3401bd-c6f6-44e6-8711-dd9b08e7ab6e", "1679e16a-bd7a-4057-8bca-65f174c45b34"),
        policies=("monitoring/loki",),
        coverage=0.9924,
    )
    return replace(finding, **changes)


def blocked_finding(**changes: Any) -> Finding:
    """The outage in the making: a declared path is dropped."""
    finding = Finding(
        square=Square.BLOCKED,
        cluster=CLUSTER,
        edge=Edge(pod("monitoring/grafana"), pod("database/shared-pg"), Protocol.TCP, 5432),
        side=Side.INGRESS,
        judgement=Judgement(Declared.YES, rule="grafana → database/shared-pg:5432/TCP", rule_id=4),
        first_seen=NOW - 7_500,
        last_seen=NOW - 41,
        flows=1_318,
        connections=659,
        samples=("2516ced4-a0a0-494b-a233-3f887b682789",),
        drop_reasons=("POLICY_DENIED",),
        policies=("database/shared-pg",),
    )
    return replace(finding, **changes)


def denied_finding(**changes: Any) -> Finding:
    """The attempt: an undeclared name, dropped."""
    finding = Finding(
        square=Square.DENIED,
        cluster=CLUSTER,
        edge=Edge(
            pod("argo/sensor-talos-build"),
            world("198.51.100.24", "cdn.example.net", "releases.example.net"),
            Protocol.TCP,
            443,
        ),
        side=Side.EGRESS,
        judgement=Judgement(
            Declared.NO, nearest="argo/sensor-talos-build → argo/eventbus:4222/TCP", differs=("destination", "port")
        ),
        first_seen=NOW - 260_000,
        last_seen=NOW - 86_000,
        flows=6,
        connections=3,
        samples=("af51e8c2-5e38-4d5b-8f3c-0f24f1f8c8d1",),
        drop_reasons=("POLICY_DENY",),
        coverage=0.9924,
    )
    return replace(finding, **changes)


def ping_finding(**changes: Any) -> Finding:
    """A protocol without ports, towards a node."""
    finding = Finding(
        square=Square.UNEXPECTED,
        cluster=CLUSTER,
        edge=Edge(pod("trident/trident-controller"), host(), Protocol.ICMP, 8),
        side=Side.EGRESS,
        judgement=Judgement(Declared.NO, reason="no rule declares it"),
        first_seen=NOW - 3_700,
        last_seen=NOW - 55,
        flows=2,
        connections=1,
        samples=("c3fd3cb5-75e9-4ddf-b086-7995cd462a04",),
    )
    return replace(finding, **changes)


def four_findings() -> tuple[Finding, ...]:
    """One of each kind a person acts on, newest first."""
    return (loki_finding(), ping_finding(), blocked_finding(), denied_finding())


def nodes(silent: tuple[str, ...] = ()) -> tuple[NodeCoverage, ...]:
    """Six nodes; those in `silent` do not stream."""
    names = ("talos-cp-1", "talos-cp-2", "talos-cp-3", "talos-w-1", "talos-w-2", "talos-w-3")
    return tuple(
        NodeCoverage(
            CLUSTER,
            name,
            name not in silent,
            flows=5_593_352 + 1_017 * position,
            lost=1_204 if name == "talos-w-1" else 0,
            last_flow=NOW - (1_830 if name in silent else 0.2),
        )
        for position, name in enumerate(names)
    )


def snapshot(**changes: Any) -> Snapshot:
    """A cluster with drift, one node silent and some events lost."""
    whole = Snapshot(
        now=NOW,
        started=NOW - 11_525,
        version="0.1.0",
        cluster=CLUSTER,
        source="hubble-relay.kube-system.svc:443",
        stream="streaming",
        stream_error="",
        flows=33_560_112,
        flows_per_second=2_914.2,
        verdicts={
            "FORWARDED": 32_417_001,
            "REDIRECTED": 1_052_300,
            "DROPPED": 17_700,
            "TRACED": 70_907,
            "AUDIT": 2_204,
        },
        classes={"request": 19_201_440, "reply": 14_175_003, "probe": 183_669},
        squares={"expected": 312, "unexpected": 2, "blocked": 1, "denied": 1, "unused": 14, "unknown": 3},
        lost={"hubble_ring_buffer": 1_180, "perf_event_ring_buffer": 24, "flowwatch": 0},
        nodes=nodes(silent=("talos-w-3",)),
        coverage=0.9924,
        findings=four_findings(),
        alerts={"pending": 1, "firing": 3, "resolved": 0},
        rules=57,
        unused_rules=("argo/eventbus → argo/eventbus:7777/TCP", "tempo → seaweedfs/filer:8333/TCP"),
        rows_stored=33_559_000,
        pending_rows=1_112,
        store_path="flowwatch.duckdb",
    )
    return replace(whole, **changes)


def quiet_snapshot(**changes: Any) -> Snapshot:
    """A cluster that does what was declared, with every node watched."""
    quiet = {
        "findings": (),
        "nodes": nodes(),
        "coverage": 1.0,
        "lost": {},
        "squares": {"expected": 312, "unexpected": 0, "blocked": 0, "denied": 0, "unused": 14, "unknown": 0},
        "alerts": {"pending": 0, "firing": 0, "resolved": 2},
    }
    return snapshot(**(quiet | changes))


HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e|`=cmd()`"
"""What nobody writes but somebody will: markup, an escape sequence, a direction override, a pipe."""


def hostile_finding() -> Finding:
    """A finding all of whose foreign text is hostile."""
    return loki_finding(
        edge=Edge(pod("monitoring/loki", f"k8s:x={HOSTILE}"), world("203.0.113.9", HOSTILE), Protocol.TCP, 443),
        judgement=Judgement(Declared.NO, reason=HOSTILE, nearest=HOSTILE, differs=("destination",)),
        samples=(HOSTILE,),
        policies=(HOSTILE,),
    )
