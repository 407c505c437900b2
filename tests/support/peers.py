"""Peers and edges as flows know them, for tests of the allowlist."""

from __future__ import annotations

from collections.abc import Mapping

from flowwatch.model import Edge, Identity, Kind, Peer, Protocol


def pod(namespace: str, workload: str, labels: Mapping[str, str] | None = None, cluster: str = "default") -> Peer:
    """A pod with the labels that every pod has and its own; without any, `app` names its workload."""
    own = {"app": workload} if labels is None else labels
    every = [f"k8s:{key}={value}" for key, value in own.items()]
    every += [f"k8s:io.kubernetes.pod.namespace={namespace}", f"k8s:io.cilium.k8s.policy.cluster={cluster}"]
    return Peer(Identity(Kind.POD, cluster, namespace, tuple(sorted(every))), workload)


def entity(kind: Kind, *reserved: str) -> Peer:
    """A peer with reserved labels; without any, the one its kind is called by."""
    names = reserved or (kind.value,)
    return Peer(Identity(kind, "", "", tuple(sorted(f"reserved:{name}" for name in names))))


def world(ip: str = "", *names: str, labels: tuple[str, ...] = ("reserved:world-ipv4",)) -> Peer:
    """An address outside the cluster and the names it was looked up by."""
    return Peer(Identity(Kind.WORLD, "", "", labels), "", ip, names)


def nobody() -> Peer:
    """An end without identity."""
    return Peer(Identity(Kind.UNKNOWN, "", "", ()))


def edge(source: Peer, destination: Peer, port: int = 80, protocol: Protocol = Protocol.TCP) -> Edge:
    """An edge, over TCP unless said."""
    return Edge(source, destination, protocol, port)
