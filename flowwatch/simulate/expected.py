"""The expected traffic: every declared edge of the cluster as a scene that plays it.

One scene for each (component, peer, port); a peer that is a group of nodes or a list of names is
one scene for each kind of node and for each name. Probes that are declared are here too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

from flowwatch.model import Protocol, Square
from flowwatch.simulate.beats import Path
from flowwatch.simulate.cases import Case, CaseClass
from flowwatch.simulate.cluster import Cluster, Gateway, Host, Node, Outside, Party, Pod
from flowwatch.simulate.homelab import Component, Port
from flowwatch.simulate.proxied import Request, http
from flowwatch.simulate.stage import COREDNS, Act, Scene, Stage

API_PORT = 6443
_DNS_OVER_TCP = ("argocd/repo-server", "monitoring/prometheus", "trivy-system/trivy-operator")
_IPV6_SHARE = 0.06
_SERVICES = ("seaweedfs-filer.seaweedfs", "shared-pg-rw.database", "kanidm.kanidm", "loki-gateway.monitoring")
_REQUESTS = (
    Request("GET", "/"),
    Request("GET", "/api/health"),
    Request("GET", "/favicon.ico"),
    Request("POST", "/api/query"),
    Request("GET", "/public/app.js"),
    Request("GET", "/old", 302),
    Request("GET", "/missing", 404),
)

Pods: TypeAlias = tuple[Pod, ...]
Picker: TypeAlias = Callable[[Stage, Pod], Party]
"""Chooses the other party for a pod."""


def expected(cluster: Cluster, without: Collection[str] = ()) -> list[Scene]:
    """Every declared edge, save those whose text (`Case.edge`) is in `without`."""
    scenes = [
        scene
        for component in cluster.homelab.components.values()
        for scene in (*_egress(cluster, component), *_ingress(component), *_lookups(cluster, component))
    ]
    return [scene for scene in scenes if scene.case.edge not in without]


def _case(source: str, destination: str, port: Port, kind: str) -> Case:
    name = f"expected-{kind}-{source}-{destination}-{port.number}-{port.protocol.name}".replace("/", ".").lower()
    square = Square.EXPECTED
    return Case(name, CaseClass.EXPECTED, kind, source, destination, port.number, port.protocol, square)


# ── egress ───────────────────────────────────────────────────────────────────────────────────────


def _egress(cluster: Cluster, component: Component) -> Iterator[Scene]:
    for declaration in component.egress:
        for peer in declaration.peers:
            for port in declaration.ports:
                yield from _towards(cluster, component, peer, port)


def _towards(cluster: Cluster, component: Component, peer: str, port: Port) -> Iterator[Scene]:
    def scene(kind: str, destination: str, act: Act, weight: float) -> Scene:
        return Scene(_case(component.title, destination, port, kind), act, weight=weight)

    pods = cluster.pods[component.ref]
    if "/" in peer:
        other = cluster.homelab.components[peer]
        yield scene("pod", other.title, _to_pod(component.ref, peer, port), 2.0)
    elif peer == "kube-apiserver":
        yield scene("entity", peer, _to_party(pods, port, _api_server), 2.0)
    elif peer in ("host", "nodes", "control-plane"):
        for destination, (clients, picker) in _nodes(pods, peer).items():
            yield scene("entity", destination, _to_party(clients, port, picker), 1.0)
    elif peer == "world":
        for name in cluster.homelab.lookups[component.ref]:
            yield scene("fqdn", name, _to_name(component.ref, name, port), 0.5)
    elif peer.replace(".", "").isdigit():
        yield scene("ip", peer, _to_party(pods, port, lambda _stage, _pod: Outside(peer)), 1.0)
    else:
        for name in cluster.homelab.lookups.get(peer, (peer,)):
            yield scene("fqdn", name, _to_name(component.ref, name, port), 0.5)


def _nodes(pods: Pods, peer: str) -> dict[str, tuple[Pods, Picker]]:
    """The sorts of nodes behind a declared group, by the name findings give them, and which pods reach them."""
    sorts: dict[str, tuple[Pods, Picker]] = {}
    beside = tuple(pod for pod in pods if peer != "control-plane" or pod.node.control_plane)
    if beside:
        sorts["host"] = beside, _own_node
    if peer == "nodes":
        sorts["remote-node"] = pods, _other_worker
    if peer in ("nodes", "control-plane"):
        sorts["kube-apiserver"] = pods, _other_control_plane
    return sorts


def _own_node(_stage: Stage, pod: Pod) -> Party:
    return Host(pod.node)


def _other_worker(stage: Stage, pod: Pod) -> Party:
    return Host(stage.other_node(stage.cluster.workers, pod.node))


def _other_control_plane(stage: Stage, pod: Pod) -> Party:
    return Host(stage.other_node(stage.cluster.control_plane, pod.node))


def _api_server(stage: Stage, _pod: Pod) -> Party:
    return Host(stage.random.choice(stage.cluster.control_plane))


def _to_pod(source: str, destination: str, port: Port) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        client = stage.pod(source)
        server = stage.other_pod(destination, client)
        v6 = stage.random.random() < _IPV6_SHARE
        if stage.random.random() < 0.04:
            at = stage.ask(at, client, _service_name(stage), stage.lookups.get(source))
        stage.talk(at, Path(client, server, port.number, port.protocol, v6), case)

    return act


def _to_party(clients: Pods, port: Port, picker: Picker) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        client = stage.random.choice(clients)
        stage.talk(at, Path(client, picker(stage, client), port.number, port.protocol), case)

    return act


def _to_name(source: str, name: str, port: Port) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        client = stage.pod(source)
        at, server, names = stage.reach(at, client, name)
        stage.talk(at, Path(client, server, port.number, port.protocol, server.v6, names), case)

    return act


# ── ingress from what is no pod ──────────────────────────────────────────────────────────────────


def _ingress(component: Component) -> Iterator[Scene]:
    for declaration in component.ingress:
        for entity in declaration.peers:
            for port in declaration.ports:
                act = _request(component.ref, port) if port.http else _from_entity(component.ref, entity, port)
                yield Scene(_case(entity, component.title, port, "entity"), act)


def from_node(entity: str, stage: Stage, pod: Pod) -> Party:
    """Some party that a pod's node calls by the name of an entity."""
    nodes = stage.cluster
    match entity:
        case "host":
            return Host(pod.node)
        case "remote-node":
            return Host(stage.other_node(nodes.workers, pod.node))
        case "kube-apiserver":
            return Host(stage.other_node(nodes.control_plane, pod.node))
        case _:
            return Gateway(_any(stage, nodes.nodes))


def _any(stage: Stage, nodes: tuple[Node, ...]) -> Node:
    return stage.random.choice(nodes)


def _from_entity(ref: str, entity: str, port: Port) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        server = stage.pod(ref)
        stage.talk(at, Path(from_node(entity, stage, server), server, port.number, port.protocol), case)

    return act


def _request(ref: str, port: Port) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        server = stage.pod(ref)
        path = Path(from_node("ingress", stage, server), server, port.number)
        asked = stage.random.choice(_REQUESTS)
        request = Request(asked.method, f"http://{server.component.name}.example.com{asked.url}", asked.code)
        story = stage.story((path, request), lambda: http(stage.narrator, path, request))
        stage.play(at, story, case, port.number)

    return act


# ── DNS ──────────────────────────────────────────────────────────────────────────────────────────


def _lookups(cluster: Cluster, component: Component) -> Iterator[Scene]:
    """Every pod may look up names; a few do so over TCP when an answer is long."""
    if component.ref == COREDNS:
        return
    coredns = cluster.homelab.components[COREDNS].title
    over_tcp = (Protocol.TCP,) if component.ref in _DNS_OVER_TCP else ()
    for protocol in (Protocol.UDP, *over_tcp):
        case = _case(component.title, coredns, Port(53, protocol), "dns")
        yield Scene(case, _look_up(component.ref, protocol), weight=0.3)


def _look_up(ref: str, protocol: Protocol) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        stage.ask(at, stage.pod(ref), _service_name(stage), case, protocol)

    return act


def _service_name(stage: Stage) -> str:
    return f"{stage.random.choice(_SERVICES)}.svc.cluster.local"
