"""What goes wrong in a run, on purpose and by name: forwarded but undeclared, declared but dropped, refused.

Each violation begins at its own moment in the first quarter of a minute, so that findings appear
one after the other, and comes back every 20 to 60 seconds. Blocked edges never work during a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from flowwatch.model import Protocol, Square
from flowwatch.simulate.beats import Beat, Path
from flowwatch.simulate.cases import Case, CaseClass
from flowwatch.simulate.cluster import Cluster, Gateway, Host, Outside, Pod
from flowwatch.simulate.proxied import Request, http
from flowwatch.simulate.stage import Act, Scene, Stage

FIRST, STAGGER = 0.8, 0.7
"""Seconds until the first violation begins, and between the beginnings of two."""
PERIODS = (20.0, 27.0, 33.0, 41.0, 50.0)

_TCP, _UDP = Protocol.TCP, Protocol.UDP
Teller: TypeAlias = Callable[[Stage, Path], list[Beat]]


def violations(cluster: Cluster) -> list[Scene]:
    """All violations, in the order in which they begin."""
    scenes = sorted(_violations(cluster), key=lambda pair: _ORDER.index(pair[0].kind))
    return [
        Scene(case, act, first=FIRST + STAGGER * number, every=PERIODS[number % len(PERIODS)])
        for number, (case, act) in enumerate(scenes)
    ]


# Kinds in the order of their first appearance: the telling ones first.
_ORDER = (
    "ip", "ingress-pod", "ingress-broken", "fqdn", "egress-ip", "unknown-workload", "egress-fqdn", "port", "pod",
    "egress-broken", "entity-host", "egress-pod", "protocol", "l7", "entity-api", "world-ingress", "unknown-to-pod",
    "entity-node", "ipv6",
)  # fmt: skip


def _violations(cluster: Cluster) -> Iterator[tuple[Case, Act]]:
    yield from _unexpected(cluster)
    yield from _denied(cluster)
    yield from _blocked(cluster)


def _unexpected(cluster: Cluster) -> Iterator[tuple[Case, Act]]:
    def made(
        kind: str, source: str, destination: str, port: int, act: Act, protocol: Protocol = _TCP
    ) -> tuple[Case, Act]:
        return _case(Square.UNEXPECTED, kind, _title(cluster, source), destination, port, protocol), act

    def to_name(kind: str, source: str, name: str, port: int, protocol: Protocol = _TCP) -> tuple[Case, Act]:
        return made(kind, source, name, port, _reaching(source, name, port, protocol, _broadly), protocol)

    def to_ip(kind: str, source: str, ip: str, port: int) -> tuple[Case, Act]:
        return made(kind, source, ip, port, _between(source, lambda _stage, _pod: Outside(ip), port, _broadly))

    def to_pod(kind: str, source: str, ref: str, port: int) -> tuple[Case, Act]:
        return made(kind, source, _title(cluster, ref), port, _to_pod(source, ref, port, _broadly))

    yield to_ip("ip", "monitoring/loki", "203.0.113.7", 443)
    yield to_name("fqdn", "monitoring/loki", "paste.example.com", 443)
    yield to_name("unknown-workload", "sandbox/crypto-job", "pool.example.net", 3333)
    yield to_pod("unknown-to-pod", "default/debug-shell", "seaweedfs/master", 9333)
    yield to_pod("port", "monitoring/tempo", "seaweedfs/filer", 8888)
    yield to_pod("pod", "argo/workflow-pods", "database/shared-pg", 5432)
    yield to_name("protocol", "argo/pxe-sync", "api.github.com", 443, _UDP)
    yield to_ip("ipv6", "kube-system/metrics-server", "2001:db8:bad::7", 443)
    for kind, source, entity, port in (
        ("entity-host", "kube-system/reloader", "host", 22),
        ("entity-api", "argo/sensor-talos-build", "kube-apiserver", 22),
        ("entity-node", "monitoring/alloy", "remote-node", 9100),
    ):
        yield made(kind, source, entity, port, _between(source, _node(entity), port, _broadly))


def _denied(cluster: Cluster) -> Iterator[tuple[Case, Act]]:
    def made(
        kind: str, source: str, destination: str, port: int, act: Act, protocol: Protocol = _TCP
    ) -> tuple[Case, Act]:
        return _case(Square.DENIED, kind, source, destination, port, protocol), act

    name, ip, attacker = "hooks.example.com", "192.0.2.66", "203.0.113.77"
    source = "argocd/notifications-controller"
    act = _reaching(source, name, 443, _TCP, _refused_leaving)
    yield made("egress-fqdn", _title(cluster, source), name, 443, act)
    source = "trivy-system/node-collector"
    act = _between(source, lambda _stage, _pod: Outside(ip), 123, _refused_leaving, _UDP)
    yield made("egress-ip", _title(cluster, source), ip, 123, act, _UDP)
    source, ref = "argo/kanidm-repl-exchange", "oauth2-proxy/oauth2-proxy-hubble"
    act = _to_pod(source, ref, 4180, _refused_leaving)
    yield made("egress-pod", _title(cluster, source), _title(cluster, ref), 4180, act)
    source, ref = "default/debug-shell", "database/shared-pg"
    act = _to_pod(source, ref, 5432, _refused_arriving)
    yield made("ingress-pod", _title(cluster, source), _title(cluster, ref), 5432, act)
    ref = "argo/kanidm-backup"
    yield made("world-ingress", "world", _title(cluster, ref), 443, _from_world(attacker, ref, 443))


def _blocked(cluster: Cluster) -> Iterator[tuple[Case, Act]]:
    def made(kind: str, source: str, destination: str, port: int, act: Act) -> tuple[Case, Act]:
        return _case(Square.BLOCKED, kind, source, destination, port, _TCP), act

    source, ref, name = "monitoring/grafana", "database/shared-pg", "api.cloudflare.com"
    act = _to_pod(source, ref, 5432, _refused_arriving)
    yield made("ingress-broken", _title(cluster, source), _title(cluster, ref), 5432, act)
    source = "external-dns/external-dns"
    act = _reaching(source, name, 443, _TCP, _refused_leaving)
    yield made("egress-broken", _title(cluster, source), name, 443, act)
    ref = "oauth2-proxy/oauth2-proxy-seaweedfs"
    yield made("l7", "ingress", _title(cluster, ref), 4180, _forbidden(ref, 4180))


def _case(square: Square, kind: str, source: str, destination: str, port: int, protocol: Protocol) -> Case:
    return Case(f"{square}-{kind}", CaseClass.VIOLATION, kind, source, destination, port, protocol, square)


def _title(cluster: Cluster, ref: str) -> str:
    return cluster.homelab.components[ref].title


# ── how they go ──────────────────────────────────────────────────────────────────────────────────


def _broadly(stage: Stage, path: Path) -> list[Beat]:
    """Forwarded, because somebody once allowed everything for a moment."""
    end = next(end for end in (path.client, path.server) if isinstance(end, Pod))
    loose = Path(path.client, path.server, path.port, path.protocol, path.v6, path.names,
                 policy=f"{end.component.policy}-temp-allow", broad=True)  # fmt: skip
    return stage.narrator.forwarded(loose)


def _refused_leaving(stage: Stage, path: Path) -> list[Beat]:
    return stage.narrator.refused_leaving(path)


def _refused_arriving(stage: Stage, path: Path) -> list[Beat]:
    return stage.narrator.refused_arriving(path)


def _play(stage: Stage, at: int, path: Path, teller: Teller, case: Case) -> None:
    stage.play(at, stage.story((path, teller), lambda: teller(stage, path)), case, path.port)


def _to_pod(source: str, ref: str, port: int, teller: Teller) -> Act:
    return _between(source, lambda stage, pod: stage.other_pod(ref, pod), port, teller)


def _between(
    source: str,
    server: Callable[[Stage, Pod], Pod | Host | Outside],
    port: int,
    teller: Teller,
    protocol: Protocol = _TCP,
) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        client = stage.pod(source)
        peer = server(stage, client)
        v6 = isinstance(peer, Outside) and peer.v6
        _play(stage, at, Path(client, peer, port, protocol, v6), teller, case)

    return act


def _reaching(source: str, name: str, port: int, protocol: Protocol, teller: Teller) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        client = stage.pod(source)
        at, server, names = stage.reach(at, client, name)
        _play(stage, at, Path(client, server, port, protocol, server.v6, names), teller, case)

    return act


def _node(entity: str) -> Callable[[Stage, Pod], Host]:
    def pick(stage: Stage, pod: Pod) -> Host:
        cluster = stage.cluster
        match entity:
            case "host":
                return Host(pod.node)
            case "remote-node":
                return Host(stage.other_node(cluster.workers, pod.node))
            case _:
                return Host(stage.other_node(cluster.control_plane, pod.node))

    return pick


def _from_world(ip: str, ref: str, port: int) -> Act:
    def act(stage: Stage, at: int, case: Case) -> None:
        path = Path(Outside(ip), stage.pod(ref), port)
        story = stage.story((path, "denied"), lambda: stage.narrator.refused_arriving(path, explicit=True))
        stage.play(at, story, case, port)

    return act


def _forbidden(ref: str, port: int) -> Act:
    """The policy's HTTP rules match no request any more."""

    def act(stage: Stage, at: int, case: Case) -> None:
        server = stage.pod(ref)
        path = Path(Gateway(stage.random.choice(stage.cluster.nodes)), server, port)
        request = Request("GET", f"http://{server.component.name}.example.com/buckets/")
        story = stage.story((path, "forbidden"), lambda: http(stage.narrator, path, request, refused=True))
        stage.play(at, story, case, port)

    return act
