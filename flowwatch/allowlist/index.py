"""Which clauses mean a peer, and which mean a port: every clause is a bit of an integer.

`PeerIndex` answers for a peer with two masks, the clauses that mean it as a source and as a
destination; `PortIndex` answers for a protocol and port with one. What was found out about a
peer is remembered, within bounds: addresses of the world come without end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowwatch.allowlist.clauses import Clause
from flowwatch.allowlist.rules import Entity, External, Pods, Selector
from flowwatch.memo import REMEMBERED, Memo
from flowwatch.model import Identity, Kind, Peer, Protocol
from flowwatch.selectors import (
    CLUSTER_LABEL,
    AddressTable,
    LabelTest,
    NameTable,
    Network,
    entities_of,
    label_facts,
    names_of,
    parse_address,
    parse_network,
)


@dataclass(frozen=True, slots=True)
class Masks:
    """The clauses that mean a peer as their source and as their destination."""

    source: int
    destination: int


NOTHING = Masks(0, 0)


@dataclass(frozen=True, slots=True)
class _PodTest:
    labels: LabelTest
    narrow: bool
    names_cluster: bool
    masks: Masks


@dataclass(frozen=True, slots=True)
class _Range:
    exceptions: tuple[Network, ...]
    masks: Masks


class PeerIndex:
    """Finds the clauses that mean a peer.

    `cluster` is the name of the cluster the flows come from; where it is given, pods of other
    clusters are only meant by selectors that name a cluster.
    """

    def __init__(self, clauses: Sequence[Clause], cluster: str = "", remembered: int = REMEMBERED) -> None:
        self._cluster = cluster
        self._memo: Memo[Peer, Masks] = Memo(remembered)
        self._pods: dict[str, list[_PodTest]] = {}
        self._entities: dict[str, Masks] = {}
        names: list[tuple[str, Masks]] = []
        ranges: list[tuple[Network, _Range]] = []
        for selector, masks in _masks_by_selector(clauses).items():
            if isinstance(selector, Pods):
                self._pods.setdefault(selector.namespace, []).append(_pod_test(selector, masks))
            elif isinstance(selector, Entity):
                self._entities[selector.name] = masks
            elif isinstance(selector, External):
                names.extend((pattern, masks) for pattern in selector.patterns)
                exceptions = tuple(parse_network(cidr) for cidr in selector.exceptions)
                ranges.extend((parse_network(cidr), _Range(exceptions, masks)) for cidr in selector.cidrs)
        self._names = NameTable(names)
        self._ranges = AddressTable(ranges)

    def masks(self, peer: Peer) -> Masks:
        """The clauses that mean a peer; the same peer twice costs one look-up."""
        found = self._memo.get(peer)
        return self._memo.put(peer, self._find(peer)) if found is None else found

    def _find(self, peer: Peer) -> Masks:
        identity = peer.identity
        entities = entities_of(identity)
        found: list[Masks] = []
        foreign = self._is_foreign(identity)
        for name in entities:
            if not (foreign and name == "cluster" and identity.kind is Kind.POD):
                found.append(self._entities.get(name, NOTHING))
        if identity.kind is Kind.POD:
            found.extend(self._find_pod(identity, foreign))
        if "world" in entities:
            found.extend(self._find_world(peer))
        source = destination = 0
        for masks in found:
            source |= masks.source
            destination |= masks.destination
        return Masks(source, destination)

    def _is_foreign(self, identity: Identity) -> bool:
        return bool(self._cluster and identity.cluster and identity.cluster != self._cluster)

    def _find_pod(self, identity: Identity, foreign: bool) -> Iterable[Masks]:
        facts = label_facts(identity)
        for namespace in {identity.namespace, ""}:
            for test in self._pods.get(namespace, ()):
                if foreign and not test.names_cluster:
                    continue
                # Without labels nothing can be said about any label, not even that it is missing.
                if test.narrow and not identity.labels:
                    continue
                if test.labels.holds(facts):
                    yield test.masks

    def address_masks(self, ip: str) -> Masks:
        """The clauses that mean an address outside the cluster by its range."""
        source = destination = 0
        for masks in self._find_address(ip):
            source |= masks.source
            destination |= masks.destination
        return Masks(source, destination)

    def _find_world(self, peer: Peer) -> Iterable[Masks]:
        names, patterns = names_of(peer.names, peer.identity)
        yield from self._names.find(names, patterns)
        yield from self._find_address(peer.ip)

    def _find_address(self, ip: str) -> Iterable[Masks]:
        address = parse_address(ip)
        if address is not None:
            for entry in self._ranges.find(address):
                if not any(address in network for network in entry.exceptions):
                    yield entry.masks


class PortIndex:
    """Finds the clauses that mean a protocol and port."""

    def __init__(self, clauses: Sequence[Clause]) -> None:
        self.everything = _mask(index for index, clause in enumerate(clauses) if clause.ports.everything)
        edges: dict[Protocol, set[int]] = {}
        for clause in clauses:
            for span in clause.ports.ranges:
                edges.setdefault(span.protocol, {0}).update((span.first, span.last + 1))
        self._starts = {int(protocol): sorted(starts) for protocol, starts in edges.items()}
        self._masks = {number: [self.everything] * len(starts) for number, starts in self._starts.items()}
        for index, clause in enumerate(clauses):
            for span in clause.ports.ranges:
                starts, masks = self._starts[int(span.protocol)], self._masks[int(span.protocol)]
                for place in range(starts.index(span.first), starts.index(span.last + 1)):
                    masks[place] |= 1 << index

    def mask(self, protocol: int, port: int) -> int:
        """The clauses that mean it; those that mean everything are always among them."""
        starts = self._starts.get(protocol)
        if starts is None:
            return self.everything
        return self._masks[protocol][bisect_right(starts, port) - 1]


def _mask(bits: Iterable[int]) -> int:
    mask = 0
    for bit in bits:
        mask |= 1 << bit
    return mask


def _masks_by_selector(clauses: Sequence[Clause]) -> dict[Selector, Masks]:
    sources: dict[Selector, int] = {}
    destinations: dict[Selector, int] = {}
    for index, clause in enumerate(clauses):
        for selector in clause.sources:
            sources[selector] = sources.get(selector, 0) | 1 << index
        for selector in clause.destinations:
            destinations[selector] = destinations.get(selector, 0) | 1 << index
    return {
        selector: Masks(sources.get(selector, 0), destinations.get(selector, 0))
        for selector in dict.fromkeys((*sources, *destinations))
    }


def _pod_test(selector: Pods, masks: Masks) -> _PodTest:
    names_cluster = any(requirement.key == CLUSTER_LABEL for requirement in selector.requirements)
    return _PodTest(LabelTest(selector.requirements), bool(selector.requirements), names_cluster, masks)
