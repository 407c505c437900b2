"""What an end of a connection is to a policy: its labels, the entities it belongs to, its address, names and ports.

Made from an identity that flows told of, or from anything else that can name its labels. What is not known of an end
is kept as not known, so that nothing is ever concluded from its absence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowwatch.model import Identity, Kind, Peer
from flowwatch.selectors import label_facts, names_of, parse_address

WORLD = frozenset({"world", "world-ipv4", "world-ipv6"})
_POLICED = frozenset({"host", "health", "ingress", "init"})
_CLUSTER = frozenset({"host", "remote-node", "kube-apiserver", "ingress", "health", "init", "unmanaged"})


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container gives a name."""

    name: str
    protocol: int
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Party:
    """One end of a connection.

    `policed`: policies of the local cluster are enforced on it. `labelled`: its labels are all known. `ports` and
    `node_facts` None: not known.
    """

    text: str
    facts: frozenset[str]
    entities: frozenset[str]
    namespace: str
    cluster: str
    policed: bool
    labelled: bool
    address: tuple[int, int] | None = None
    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    ports: tuple[ContainerPort, ...] | None = None
    node_facts: frozenset[str] | None = None

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod that Cilium manages."""
        return "pod" in self.entities

    @property
    def is_host(self) -> bool:
        """Whether it is the node that the other end runs on."""
        return "host" in self.entities

    @property
    def is_world(self) -> bool:
        """Whether it is outside the cluster."""
        return "world" in self.entities

    @property
    def is_node(self) -> bool:
        """Whether it is a node of the cluster."""
        return not self.entities.isdisjoint(("host", "remote-node"))


def party_of(peer: Peer, cluster: str = "", *, ports: tuple[ContainerPort, ...] | None = None) -> Party:
    """The end of an edge as policies see it. `cluster` is the name of the local cluster, where that is known."""
    identity = peer.identity
    names, patterns = names_of(peer.names, identity)
    address = parse_address(peer.ip) if peer.ip else None
    if identity.kind is not Kind.POD:
        ports = ()
    return make_party(str(peer), identity, cluster, address=address, names=names, patterns=patterns, ports=ports)


def make_party(
    text: str,
    identity: Identity,
    cluster: str,
    *,
    address: tuple[int, int] | None = None,
    names: Iterable[str] = (),
    patterns: Iterable[str] = (),
    ports: tuple[ContainerPort, ...] | None = None,
    node_labels: Iterable[str] | None = None,
) -> Party:
    """The end of a connection with an identity's labels. `node_labels` are written `key=value`."""
    entities = entities_of(identity, cluster, address)
    node_facts = None
    if node_labels is not None:
        # A node's own labels are `k8s:` where it is selected, and `node:` where it is a peer.
        labels = tuple(f"{source}:{label}" for label in node_labels for source in ("k8s", "node"))
        node_facts = label_facts(Identity(Kind.UNKNOWN, "", "", labels))
    foreign = bool(cluster and identity.cluster and identity.cluster != cluster)
    return Party(
        text,
        label_facts(identity),
        entities,
        identity.namespace,
        identity.cluster,
        policed=not foreign and ("pod" in entities or not entities.isdisjoint(_POLICED)),
        labelled=bool(identity.labels) and identity.kind is not Kind.UNKNOWN,
        address=address,
        names=frozenset(names),
        patterns=frozenset(patterns),
        ports=ports,
        node_facts=node_facts,
    )


def entities_of(identity: Identity, cluster: str, address: tuple[int, int] | None) -> frozenset[str]:
    """Every entity an end belongs to, with `pod` for managed pods and `unknown` where nothing is known of it."""
    reserved = {label.removeprefix("reserved:") for label in identity.labels if label.startswith("reserved:")}
    reserved.add(str(identity.kind))
    if identity.kind is Kind.KUBE_APISERVER and not reserved & (WORLD | {"host"}):
        reserved.add("remote-node")
    found = {"all"} | (reserved & _CLUSTER)
    if reserved & WORLD:
        found.add("world")
        # Flows of a cluster with one IP family name no family; the address does.
        family = {f"world-ipv{address[0]}"} if address else reserved & WORLD
        found |= family
    if identity.kind is Kind.POD:
        found |= {"pod", "cluster-mesh"}
        if not cluster or not identity.cluster or identity.cluster == cluster:
            found.add("cluster")
    if reserved & _CLUSTER:
        found |= {"cluster", "cluster-mesh"}
    if identity.kind is Kind.UNKNOWN:
        found.add("unknown")
    return frozenset(found)
