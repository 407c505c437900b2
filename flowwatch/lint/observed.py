"""What was observed, for the checks that hold declarations against it.

An `Observed` value is label sets and the connections between them, however they were come by;
`from_tables` makes one of what a database answers. Absence proves nothing where nobody looked:
`window` says in words what was looked at, and findings repeat it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from flowwatch.lint.labels import facts
from flowwatch.lint.labels import matches as labels_match
from flowwatch.lint.peers import Atom, Entity, Everyone, Name, Network, Pods, Range, name_fits, parse_network
from flowwatch.model import Edge, Identity, Kind, Peer, Protocol

_IN_CLUSTER = frozenset({"host", "remote-node", "kube-apiserver", "ingress", "health", "init", "unmanaged"})
_WORLD = frozenset({"world", "world-ipv4", "world-ipv6"})
_PROTOCOLS = {Protocol.TCP: "TCP", Protocol.UDP: "UDP", Protocol.SCTP: "SCTP"}
_ICMP = {Protocol.ICMP: "ICMP", Protocol.ICMPV6: "ICMPv6"}


@dataclass(frozen=True)
class Endpoint:
    """An identity with its labels as keys and values."""

    identity: Identity

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Its labels, with its namespace among them."""
        return facts(self.identity.labels, self.identity.namespace)

    @cached_property
    def reserved(self) -> frozenset[str]:
        """The entities it is by its own labels."""
        return frozenset(key.removeprefix("reserved:") for key in self.labels if key.startswith("reserved:"))

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod."""
        return self.identity.kind is Kind.POD


@dataclass(frozen=True, slots=True)
class Seen:
    """One connection that was seen, and whether policy ever dropped it or let it pass."""

    source: Endpoint
    destination: Endpoint
    ip: str
    names: tuple[str, ...]
    protocol: str
    port: int
    passed: bool
    dropped: bool

    @property
    def service(self) -> str:
        """`443/TCP`."""
        return f"{self.port}/{self.protocol}"


@dataclass(frozen=True)
class Observed:
    """Everything that was observed in a window."""

    endpoints: tuple[Endpoint, ...]
    seen: tuple[Seen, ...] = ()
    policies: tuple[tuple[str, bool], ...] = ()
    """Policies that Hubble named, as `Kind:namespace/name`, and whether they denied anything."""
    where: str = ""
    window: str = "so far"

    @cached_property
    def cluster(self) -> str:
        """The cluster most of the pods are in: the one whose policies these are."""
        counted = Counter(each.identity.cluster for each in self.endpoints if each.is_pod and each.identity.cluster)
        return max(sorted(counted), key=lambda name: counted[name], default="")

    @cached_property
    def everywhere(self) -> dict[str, list[Endpoint]]:
        """The pods of each namespace, those of other clusters of a mesh as well."""
        found: dict[str, list[Endpoint]] = {}
        for endpoint in self.endpoints:
            if endpoint.is_pod:
                found.setdefault(endpoint.identity.namespace, []).append(endpoint)
        return found

    @cached_property
    def by_namespace(self) -> dict[str, list[Endpoint]]:
        """The cluster's own pods of each namespace."""
        own = {
            namespace: [each for each in pods if each.identity.cluster in ("", self.cluster)]
            for namespace, pods in self.everywhere.items()
        }
        return {namespace: pods for namespace, pods in own.items() if pods}

    @cached_property
    def by_source(self) -> dict[int, list[Seen]]:
        """What each endpoint was seen to connect to, by its `id()`."""
        found: dict[int, list[Seen]] = {}
        for each in self.seen:
            found.setdefault(id(each.source), []).append(each)
        return found

    @cached_property
    def by_destination(self) -> dict[int, list[Seen]]:
        """What was seen to connect to each endpoint, by its `id()`."""
        found: dict[int, list[Seen]] = {}
        for each in self.seen:
            found.setdefault(id(each.destination), []).append(each)
        return found


def observe(
    identities: Iterable[Identity],
    edges: Iterable[Edge] = (),
    *,
    dropped: Iterable[Edge] = (),
    policies: Iterable[tuple[str, bool]] = (),
    where: str = "what was observed",
    window: str = "so far",
) -> Observed:
    """What some identities and the edges between them amount to. `edges` were forwarded, `dropped`
    were not; an edge may be in both."""
    known: dict[Identity, Endpoint] = {}
    for identity in identities:
        known.setdefault(identity, Endpoint(identity))
    passed, refused = set(edges), set(dropped)
    seen = tuple(
        _seen(edge, known, edge in passed, edge in refused)
        for edge in sorted(passed | refused, key=lambda edge: (str(edge), edge.source.identity.labels))
    )
    return Observed(tuple(known.values()), seen, tuple(policies), where, window)


def means(atom: Atom, endpoint: Endpoint, ip: str = "", names: Iterable[str] = ()) -> bool:
    """Whether a peer of a rule means an endpoint that was seen, by this address and these names."""
    if isinstance(atom, Everyone):
        return True
    if isinstance(atom, Pods):
        return bool(labels_match(atom.labels, endpoint.labels))
    if isinstance(atom, Entity):
        return _in_entity(atom.name, endpoint)
    if not endpoint.reserved & _WORLD and endpoint.identity.kind is not Kind.WORLD:
        return False
    if isinstance(atom, Range):
        return in_range(atom, ip)
    return isinstance(atom, Name) and any(name_fits(atom.pattern, name) for name in names)


def in_range(atom: Range, ip: str) -> bool:
    """Whether an address is in a range and in none of its exceptions."""
    address = address_of(ip)
    if address is None or address.version != atom.network.version:
        return False
    return address.network_address in atom.network and not any(
        address.network_address in taken for taken in atom.exceptions if taken.version == address.version
    )


def address_of(ip: str) -> Network | None:
    """An address as a range of one; None where it is none."""
    return parse_network(f"{ip}/{128 if ':' in ip else 32}") if ip else None


def from_tables(
    identities: Iterable[Mapping[str, object]],
    edges: Iterable[Mapping[str, object]],
    policies: Iterable[Mapping[str, object]],
    *,
    where: str,
    window: str,
) -> Observed:
    """What the named queries `identities`, `observed_edges` and `observed_policies` answered, row by row."""
    known = {_number(row["identity"]): _identity(row) for row in identities}
    passed: list[Edge] = []
    dropped: list[Edge] = []
    for row in edges:
        source, destination = known.get(_number(row["client_identity"])), known.get(_number(row["server_identity"]))
        if source is None or destination is None or _number(row["protocol"]) not in set(Protocol):
            continue
        peer = Peer(destination, str(row["server"] or ""), str(row["server_ip"] or ""), _texts(row["server_names"]))
        edge = Edge(
            Peer(source, str(row["client"] or "")), peer, Protocol(_number(row["protocol"])), _number(row["port"])
        )
        passed += [edge] if row["forwarded"] else []
        dropped += [edge] if row["dropped"] else []
    named = [(str(row["policy"]), bool(row["denied"])) for row in policies]
    return observe(known.values(), passed, dropped=dropped, policies=named, where=where, window=window)


def _seen(edge: Edge, known: dict[Identity, Endpoint], passed: bool, dropped: bool) -> Seen:
    source = known.setdefault(edge.source.identity, Endpoint(edge.source.identity))
    destination = known.setdefault(edge.destination.identity, Endpoint(edge.destination.identity))
    protocol = _PROTOCOLS.get(edge.protocol) or _ICMP.get(edge.protocol) or edge.protocol.name
    return Seen(
        source,
        destination,
        edge.destination.ip,
        edge.destination.names,
        protocol,
        edge.port,
        passed,
        dropped,
    )


def _in_entity(name: str, endpoint: Endpoint) -> bool:
    if name == "all":
        return True
    if name == "world":
        return bool(endpoint.reserved & _WORLD)
    if name in ("cluster", "cluster-mesh"):
        return endpoint.is_pod or bool(endpoint.reserved & _IN_CLUSTER)
    return name in endpoint.reserved


def _identity(row: Mapping[str, object]) -> Identity:
    kind = str(row["kind"])
    return Identity(
        Kind(kind) if kind in set(Kind) else Kind.UNKNOWN,
        str(row["cluster"] or ""),
        str(row["namespace"] or ""),
        _texts(row["labels"]),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1
