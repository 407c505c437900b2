"""The declared clause that comes closest to an edge which nothing declares.

Closest means: it agrees in as many of source, destination and port as possible, the two ends
before the port. What a clause says of everybody (the world, every pod) is no hint about this
edge: unless source and port agree, the end that agrees must be spelt out. Among equals, what differs
should at least be of the same sort (a pod, a node, the world), in the same namespace, about the same
port; a clause for a few is a better hint than one for many, or than one about a workload and itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowwatch.allowlist.clauses import Clause
from flowwatch.allowlist.rules import Entity, External, Pods, PortSet, Selector
from flowwatch.model import Edge, Peer, Protocol
from flowwatch.selectors import entities_of

_SORTS = {"host": "node", "remote-node": "node", "kube-apiserver": "node", "world": "world"}
_OTHER_PROTOCOL = 65_536
_FAR = 10 * _OTHER_PROTOCOL
_FEW = 3
_EVERYBODY = ("all", "cluster", "world")


@dataclass(frozen=True, slots=True)
class Nearest:
    """A clause by its index, and the parts of the edge in which it differs."""

    clause: int
    differs: tuple[str, ...]


class _End:
    """What the clauses mean at one end, as masks: by sort of peer, by namespace, and spelt out or not."""

    def __init__(self, ends: Sequence[Sequence[Selector]]) -> None:
        self.sorts: dict[str, int] = {}
        self.namespaces: dict[str, int] = {}
        self.spelt_out = 0
        for index, selectors in enumerate(ends):
            bit = 1 << index
            for selector in selectors:
                sort = _sort_of_selector(selector)
                self.sorts[sort] = self.sorts.get(sort, 0) | bit
                if isinstance(selector, Pods) and selector.namespace:
                    self.namespaces[selector.namespace] = self.namespaces.get(selector.namespace, 0) | bit
            if all(_is_spelt_out(selector) for selector in selectors):
                self.spelt_out |= bit

    def prefer_like(self, peer: Peer, candidates: int) -> int:
        candidates = _prefer(candidates, self.sorts.get(_sort_of_peer(peer), 0))
        return _prefer(candidates, self.namespaces.get(peer.identity.namespace, 0))


class NearestIndex:
    """Finds the nearest clause, given which clauses mean the source, the destination and the port."""

    def __init__(self, clauses: Sequence[Clause]) -> None:
        self._ports = [clause.ports for clause in clauses]
        self._source = _End([clause.sources for clause in clauses])
        self._destination = _End([clause.destinations for clause in clauses])
        self._narrow = sum(
            1 << index
            for index, clause in enumerate(clauses)
            if len(clause.sources) <= _FEW and clause.sources != clause.destinations
        )

    def find(self, edge: Edge, source: int, destination: int, port: int) -> Nearest | None:
        """The nearest clause among those the masks hold; None where source and destination agree in none."""
        candidates, differs = self._closest(source, destination, port)
        if not candidates:
            return None
        for name, peer, end in (
            ("destination", edge.destination, self._destination),
            ("source", edge.source, self._source),
        ):
            candidates = end.prefer_like(peer, candidates) if name in differs else _prefer(candidates, end.spelt_out)
        if len(differs) > 1:
            candidates = _prefer(candidates, self._narrow)
        if "port" in differs:
            index = min(_bits(candidates), key=lambda bit: (_distance(self._ports[bit], edge.protocol, edge.port), bit))
        else:
            index = next(_bits(candidates))
        return Nearest(index, differs)

    def _closest(self, source: int, destination: int, port: int) -> tuple[int, tuple[str, ...]]:
        for candidates, differs in (
            (source & destination, ("port",)),
            (source & port, ("destination",)),
            (destination & port & self._destination.spelt_out, ("source",)),
            (source & self._source.spelt_out, ("destination", "port")),
            (destination & self._destination.spelt_out, ("source", "port")),
        ):
            if candidates:
                return candidates, differs
        return 0, ()


def _prefer(candidates: int, preferred: int) -> int:
    return candidates & preferred or candidates


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _distance(ports: PortSet, protocol: Protocol, port: int) -> int:
    return min(
        (
            max(span.first - port, port - span.last, 0) + (0 if span.protocol == protocol else _OTHER_PROTOCOL)
            for span in ports.ranges
        ),
        default=_FAR,
    )


def _sort_of_selector(selector: Selector) -> str:
    if isinstance(selector, Entity):
        return _SORTS.get(selector.name, selector.name)
    return "world" if isinstance(selector, External) else "pod"


def _sort_of_peer(peer: Peer) -> str:
    entities = entities_of(peer.identity)
    return next((_SORTS[name] for name in _SORTS if name in entities), str(peer.identity.kind))


def _is_spelt_out(selector: Selector) -> bool:
    if isinstance(selector, Pods):
        return bool(selector.requirements)
    if isinstance(selector, External):
        return bool(selector.patterns) or not all(cidr.endswith("/0") for cidr in selector.cidrs)
    return not (isinstance(selector, Entity) and selector.name in _EVERYBODY)
