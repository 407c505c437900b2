"""One node's agent: its ring, what is wrong with it, when it started, where it can be reached."""

from __future__ import annotations

from dataclasses import dataclass

from flowwatch.hubble import observer_pb2
from flowwatch.simulate.cluster import Cluster, Node
from flowwatch.simulate.gate import Gate
from flowwatch.simulate.ring import Ring


@dataclass(slots=True, eq=False)
class Agent:
    """The agent of a node. `since` is when it started, in seconds since the epoch."""

    cluster: Cluster
    node: Node
    ring: Ring
    gate: Gate
    since: float
    address: str
    """Where its server listens; where nodes are not served, the address it would have."""
    away: int = 0
    """By how many faults the node is out of the cluster."""
    down: int = 0
    """By how many faults the agent does not run, and sees no flows."""
    tls: bool = False
    """Whether its server speaks TLS."""

    @property
    def member(self) -> bool:
        """Whether the node belongs to the cluster."""
        return not self.away

    @property
    def reachable(self) -> bool:
        """Whether a relay can open a stream to it."""
        return self.member and self.gate.reachable

    def uptime(self, now: float) -> int:
        """Nanoseconds since it started."""
        return max(int((now - self.since) * 1e9), 0)

    def restart(self, now: float) -> None:
        """It starts anew and remembers nothing."""
        self.ring.restart()
        self.since = now

    def namespaces(self) -> bytes:
        """The answer to `GetNamespaces`: those of the cluster's pods."""
        names = sorted({component.namespace for component in self.cluster.homelab.components.values()})
        known = [observer_pb2.Namespace(cluster=self.node.cluster, namespace=name) for name in names]
        return observer_pb2.GetNamespacesResponse(namespaces=known).SerializeToString()
