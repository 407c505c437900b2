"""The homelab example judges twenty simulated minutes of that very cluster rightly."""

from __future__ import annotations

import json
import lzma
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowwatch.allowlist import Allowlist, load
from flowwatch.model import Declared, Edge, Identity, Kind, Peer, Protocol

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "homelab" / "allowlist.yaml"
SIMULATED = Path(__file__).resolve().parents[2] / "shared" / "data" / "simulated"
NOW = 1_790_812_800.0

VERDICT, TRACE = 5, 4
PROTOCOLS = {"TCP": Protocol.TCP, "UDP": Protocol.UDP, "ICMPv4": Protocol.ICMP, "ICMPv6": Protocol.ICMPV6}

needs_simulated = pytest.mark.skipif(not SIMULATED.is_dir(), reason=f"{SIMULATED} is not there")


@pytest.fixture(scope="module")
def allowlist() -> Allowlist:
    """The example as it is shipped."""
    return load([EXAMPLE], NOW)


@pytest.fixture(scope="module")
def flows() -> list[dict[str, Any]]:
    """Every simulated flow that can speak for a connection, replies left out."""
    with lzma.open(SIMULATED / "dev.jsonl.xz", "rt") as lines:
        events = [json.loads(line) for line in lines]
    return [
        event["flow"]
        for event in events
        if "flow" in event
        and event["flow"]["event_type"].get("type") in (1, TRACE, VERDICT)
        and not event["flow"].get("is_reply")
    ]


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, Any]]:
    """What the simulation says of a flow that is not ordinary, by uuid."""
    lines = (SIMULATED / "dev.truth.jsonl").read_text().splitlines()
    return {row["uuid"]: row for row in map(json.loads, lines)}


def kind_of(labels: list[str]) -> Kind:
    """The sort of an identity by its labels."""
    reserved = {label.removeprefix("reserved:") for label in labels if label.startswith("reserved:")}
    for kind in (Kind.KUBE_APISERVER, Kind.HOST, Kind.REMOTE_NODE, Kind.INGRESS, Kind.HEALTH, Kind.INIT):
        if kind.value in reserved:
            return kind
    if any(name.startswith("world") for name in reserved):
        return Kind.WORLD
    return Kind.POD if labels else Kind.UNKNOWN


def peer_of(flow: Mapping[str, Any], end: str) -> Peer:
    """One end of a flow."""
    said = flow.get(end, {})
    labels = sorted(said.get("labels", []))
    kind = kind_of(labels)
    identity = Identity(kind, said.get("cluster_name", ""), said.get("namespace", ""), tuple(labels))
    names = tuple(sorted(name.rstrip(".") for name in flow.get(f"{end}_names", [])))
    workload = next((workload["name"] for workload in said.get("workloads", [])), "")
    return Peer(identity, workload, flow["IP"][end] if kind is Kind.WORLD else "", names)


def edge_of(flow: Mapping[str, Any]) -> Edge:
    """The edge a flow is about, client first."""
    ((name, layer),) = flow["l4"].items()
    port = layer.get("type", 0) if name.startswith("ICMP") else layer["destination_port"]
    return Edge(peer_of(flow, "source"), peer_of(flow, "destination"), PROTOCOLS[name], port)


def test_the_example_is_read_without_a_problem(allowlist: Allowlist) -> None:
    """The shipped example is a valid allowlist, and none of its rules is about to end."""
    assert len(allowlist.rules) > 80
    assert allowlist.expired(NOW) == ()
    assert all(rule.reason for rule in allowlist.rules)


@needs_simulated
def test_ordinary_traffic_is_declared(
    allowlist: Allowlist, flows: list[dict[str, Any]], truth: dict[str, dict[str, Any]]
) -> None:
    """Every verdict and every forward trace of ordinary traffic is declared or between nodes only."""
    wrong: Counter[str] = Counter()
    said: Counter[Declared] = Counter()
    for flow in flows:
        if flow["uuid"] not in truth and flow["event_type"]["type"] in (VERDICT, TRACE):
            edge = edge_of(flow)
            judgement = allowlist.judge(edge, NOW)
            said[judgement.declared] += 1
            if judgement.declared not in (Declared.YES, Declared.UNGOVERNED):
                wrong[f"{edge}: {judgement.reason}"] += 1

    assert wrong == Counter()
    assert said[Declared.YES] > 20_000


@needs_simulated
@pytest.mark.parametrize("violation", ["undeclared_egress", "policy_denied"])
def test_violations_are_not_declared(
    allowlist: Allowlist, flows: list[dict[str, Any]], truth: dict[str, dict[str, Any]], violation: str
) -> None:
    """No flow of a connection outside the declaration is declared, but for the lookup before it."""
    said: dict[int, set[Declared]] = defaultdict(set)
    wrong: list[str] = []
    for flow in flows:
        row = truth.get(flow["uuid"])
        if row is not None and row["class"] == violation:
            judgement = allowlist.judge(edge_of(flow), NOW)
            if row["role"] == "dns":
                assert judgement.declared is Declared.YES, flow["uuid"]
                continue
            said[row["conn"]].add(judgement.declared)
            if judgement.declared is not Declared.NO:
                wrong.append(f"{edge_of(flow)}: {judgement}")

    assert wrong == []
    assert said.keys() == {row["conn"] for row in truth.values() if row["class"] == violation}


@needs_simulated
def test_ordinary_traffic_uses_nearly_every_rule(
    allowlist: Allowlist, flows: list[dict[str, Any]], truth: dict[str, dict[str, Any]]
) -> None:
    """The rules that twenty minutes of the cluster never need are the few that one would expect."""
    ordinary = {edge_of(flow) for flow in flows if flow["uuid"] not in truth}
    used = {rule.id for edge in ordinary for rule in allowlist.declaring(edge, NOW)}

    assert [rule.title for rule in allowlist.rules if rule.id not in used] == [
        "seaweedfs/bucket-hook → seaweedfs/filer:8888/TCP"
    ]


@needs_simulated
def test_between_pods_exactly_what_is_documented_is_declared(allowlist: Allowlist) -> None:
    """Of all pairs of documented workloads and all TCP ports in use, those declared are those documented."""
    pods = {
        f"{component['namespace']}/{component['component']}": component
        for component in json.loads((SIMULATED / "dev.topology.json").read_text())
        if component["documented"] and not component["host_network"]
    }
    documented = {
        (source, egress["ref"], int(port.removesuffix("/TCP")))
        for source, component in pods.items()
        for egress in component["declared_egress"] or ()
        if egress["kind"] == "pod"
        for port in egress["ports"]
    }
    # The topology has no row for DNS and none for the ports of CoreDNS, which every pod may use.
    documented |= {(source, "kube-system/coredns", 53) for source in pods}
    peers = {
        name: Peer(Identity(Kind.POD, "default", pod["namespace"], tuple(sorted(pod["labels"]))), pod["workload"])
        for name, pod in pods.items()
    }

    declared = {
        (source, destination, port)
        for source in peers
        for destination in peers
        for port in {port for _, _, port in documented}
        if allowlist.judge(Edge(peers[source], peers[destination], Protocol.TCP, port), NOW).declared is Declared.YES
    }

    assert declared == documented


@needs_simulated
def test_what_comes_from_outside_the_pods_is_declared(allowlist: Allowlist) -> None:
    """Kubelet probes, the gateway and the API server reach the ports the topology has for them."""
    callers = {
        "probe_ports": Identity(Kind.HOST, "default", "", ("reserved:host",)),
        "ingress_from_gateway": Identity(Kind.INGRESS, "default", "", ("reserved:ingress",)),
        "ingress_from_apiserver": Identity(
            Kind.KUBE_APISERVER, "default", "", ("reserved:kube-apiserver", "reserved:remote-node")
        ),
    }
    for pod in json.loads((SIMULATED / "dev.topology.json").read_text()):
        server = Peer(Identity(Kind.POD, "default", pod["namespace"], tuple(sorted(pod["labels"]))), pod["workload"])
        for key, identity in callers.items():
            ports = pod.get(key) or []
            for port in ports if isinstance(ports, list) else [ports]:
                edge = Edge(Peer(identity), server, Protocol.TCP, port)
                assert allowlist.judge(edge, NOW).declared is Declared.YES, str(edge)
