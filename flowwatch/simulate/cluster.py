"""The simulated cluster: nodes, pods, what is outside, and the addresses of all of them.

Everything is worked out from the declared components alone, so two clusters made from the same
file are equal, whatever the seed of the traffic. Addresses outside the cluster come from the
ranges reserved for documentation, save for the two that the document itself names.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import TypeAlias

from flowwatch.simulate.homelab import CLUSTER_NAME, Component, Homelab, read_homelab

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes makes name suffixes of."""
_FIRST_POD = 51
_SHARED = ".github.io"
"""Names with this ending share their addresses, as sites behind one CDN do."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A machine of the cluster; `number` counts from 0 and is part of its pods' addresses."""

    name: str
    ip: str
    ip6: str
    number: int
    control_plane: bool
    cluster: str = CLUSTER_NAME

    @property
    def known_as(self) -> str:
        """Its name in flows and to its peers: `cluster/node`, but bare in the cluster `default`."""
        return self.name if self.cluster == CLUSTER_NAME else f"{self.cluster}/{self.name}"

    @property
    def server_name(self) -> str:
        """The name its agent's certificate carries."""
        return f"{self.name.replace('.', '-')}.{self.cluster.replace('.', '-')}.hubble-grpc.cilium.io"


@dataclass(frozen=True, slots=True, eq=False)
class Pod:
    """A pod with everything Hubble tells of it."""

    component: Component
    node: Node
    name: str
    ip: str
    ip6: str
    identity: int
    endpoint: int
    interface: tuple[int, str]

    def address(self, v6: bool) -> str:
        """Its IPv4 or IPv6 address."""
        return self.ip6 if v6 else self.ip

    @property
    def governed(self) -> bool:
        """Whether policies select it in both directions."""
        return self.component.governed


@dataclass(frozen=True, slots=True)
class Host:
    """A node itself: the kubelet, everything with hostNetwork, the API server on control planes."""

    node: Node

    def address(self, v6: bool) -> str:
        """Its IPv4 or IPv6 address."""
        return self.node.ip6 if v6 else self.node.ip


@dataclass(frozen=True, slots=True)
class Gateway:
    """The Envoy of one node, which relays what comes in from outside."""

    node: Node

    def address(self, v6: bool) -> str:
        """Its IPv4 or IPv6 address."""
        return _pod_address(self.node.number, 8, v6)


@dataclass(frozen=True, slots=True)
class Health:
    """The endpoint by which Cilium's agents check each other."""

    node: Node

    def address(self, v6: bool) -> str:
        """Its IPv4 or IPv6 address."""
        return _pod_address(self.node.number, 41, v6)


@dataclass(frozen=True, slots=True)
class Outside:
    """An address outside the cluster."""

    ip: str

    def address(self, v6: bool) -> str:  # noqa: ARG002 - the other parties have two addresses
        """The address, whatever version was asked for."""
        return self.ip

    @property
    def v6(self) -> bool:
        """Whether it is an IPv6 address."""
        return ":" in self.ip


Party: TypeAlias = Pod | Host | Gateway | Health | Outside


class Names:
    """DNS: which addresses a name has. Every name resolves; a new one gets the next addresses."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def addresses(self, name: str, v6: bool) -> tuple[str, ...]:
        """The addresses of a name, none of a version it does not have."""
        if name.endswith(_SHARED):
            return () if v6 else tuple(f"192.0.2.{last}" for last in (8, 9, 10, 11))
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        if v6:
            return (f"2001:db8:1::{number:x}",) if number % 2 else ()
        first, second = f"198.51.100.{number}", f"192.0.2.{100 + number}"
        return (first, second) if number % 3 == 0 else (first,)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes and pods, with the declarations they were made from. `pods` is keyed by `namespace/component`."""

    homelab: Homelab
    nodes: tuple[Node, ...]
    pods: Mapping[str, tuple[Pod, ...]]

    @property
    def workers(self) -> tuple[Node, ...]:
        """The nodes without an API server."""
        return tuple(node for node in self.nodes if not node.control_plane)

    @property
    def control_plane(self) -> tuple[Node, ...]:
        """The nodes with an API server."""
        return tuple(node for node in self.nodes if node.control_plane)

    def patterns_on(self, node: Node) -> tuple[str, ...]:
        """The DNS names and addresses that policies of a node's pods select: these get identities there."""
        here = [pods[0].component for pods in self.pods.values() if any(pod.node == node for pod in pods)]
        peers = (peer for component in here for declaration in component.egress for peer in declaration.peers)
        return tuple(dict.fromkeys(peer for peer in peers if "/" not in peer and "." in peer))


def make_cluster(homelab: Homelab | None = None, name: str = CLUSTER_NAME) -> Cluster:
    """Place the pods of every component and give everything its addresses and numbers."""
    lab = homelab or read_homelab(name)
    nodes = tuple(
        Node(machine.name, machine.address, _node_address6(machine.address), number, machine.control_plane, name)
        for number, machine in enumerate(lab.machines)
    )
    workers = itertools.cycle([node for node in nodes if not node.control_plane])
    used = dict.fromkeys(nodes, 0)
    pods: dict[str, tuple[Pod, ...]] = {}
    for number, (ref, component) in enumerate(lab.components.items()):
        made = []
        for replica, node in enumerate(_places(component, nodes, workers)):
            used[node] += 1
            made.append(_pod(component, 1024 + 331 * number, replica, node, used[node]))
        pods[ref] = tuple(made)
    return Cluster(lab, nodes, pods)


def _places(component: Component, nodes: tuple[Node, ...], workers: Iterator[Node]) -> list[Node]:
    if not component.replicas:
        return list(nodes)
    if component.nodes:
        by_name = {node.name: node for node in nodes}
        return [by_name[name] for _, name in zip(range(component.replicas), itertools.cycle(component.nodes))]
    return list(itertools.islice(workers, component.replicas))


def _pod(component: Component, identity: int, replica: int, node: Node, slot: int) -> Pod:
    name = _pod_name(component, replica)
    return Pod(
        component=component,
        node=node,
        name=name,
        ip=_pod_address(node.number, _FIRST_POD + slot, v6=False),
        ip6=_pod_address(node.number, _FIRST_POD + slot, v6=True),
        identity=identity,
        endpoint=_between(128, 4000, f"{node.name}/{slot}") // 64 * 64 + slot % 64,
        interface=(20 + slot, f"lxc{zlib.crc32(name.encode()):08x}"),
    )


def _pod_name(component: Component, replica: int) -> str:
    random = Random(f"{component.ref}/{replica}")
    template = "".join(Random(component.ref).choices(_SAFE, k=10))
    suffix = "".join(random.choices(_SAFE, k=5))
    match component.kind:
        case "Deployment":
            return f"{component.workload}-{template}-{suffix}"
        case "StatefulSet":
            return f"{component.workload}-{replica}"
        case "Cluster":
            return f"{component.workload}-{replica + 1}"
        case "Workflow":
            return f"{component.workload}-{suffix}-{random.randrange(10**9, 10**10)}"
        case "Pod":
            return component.workload
        case _:
            return f"{component.workload}-{suffix}"


def _pod_address(node: int, last: int, v6: bool) -> str:
    return f"fd00:10:244:{node}::{0x1000 + last:x}" if v6 else f"10.244.{node}.{last}"


def _node_address6(address: str) -> str:
    return str(ip_address(f"fd00:192:168::{address.rpartition('.')[2]}"))


def _between(low: int, high: int, key: str) -> int:
    return low + zlib.crc32(key.encode()) % (high - low)
