"""Which entries match: for a subject, for a peer, and for a protocol and port. Every entry is a bit of an integer.

Answers with two masks, the entries that certainly match and those of which what is known of an end does not tell.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowwatch.policy.entries import Addresses, Entity, Entry, Labels, Name, Nodes, Peers, Subject, Undecidable
from flowwatch.policy.options import Options
from flowwatch.policy.parties import Party
from flowwatch.policy.ports import ICMP, ICMPV6
from flowwatch.selectors import (
    NAMESPACE_LABEL,
    AddressTable,
    LabelTest,
    NameTable,
    Network,
    Operator,
    Requirement,
    parse_network,
)


@dataclass(frozen=True, slots=True)
class Matches:
    """Entries that match, and entries that may."""

    certain: int = 0
    perhaps: int = 0


NONE = Matches()


@dataclass(frozen=True, slots=True)
class _Test:
    """A set of requirements; `scope` are those on the namespace alone, known even where labels are not."""

    every: LabelTest
    scope: LabelTest
    only_scope: bool
    local: bool
    mask: int


@dataclass(frozen=True, slots=True)
class _Range:
    exceptions: tuple[Network, ...]
    whole: bool
    mask: int


class LabelIndex:
    """Finds the selectors that mean an end by its labels. Selectors of one namespace are only tried on its pods."""

    def __init__(self, selectors: Iterable[tuple[tuple[Requirement, ...], bool, int]]) -> None:
        self._tests: dict[str, list[_Test]] = {}
        for requirements, local, mask in selectors:
            scope = [one for one in requirements if one.key == NAMESPACE_LABEL]
            test = _Test(LabelTest(requirements), LabelTest(scope), len(scope) == len(requirements), local, mask)
            self._tests.setdefault(_namespace_of(scope), []).append(test)

    def find(self, party: Party, *, foreign: bool) -> Matches:
        """The masks of all selectors that mean the end, and of all that may."""
        certain = perhaps = 0
        for namespace in {party.namespace, ""}:
            for test in self._tests.get(namespace, ()):
                if test.local and (foreign or not party.is_pod):
                    continue
                if not party.labelled:
                    if party.namespace and test.only_scope and test.every.holds(party.facts):
                        certain |= test.mask
                    elif not party.namespace or test.scope.holds(party.facts):
                        perhaps |= test.mask
                elif test.every.holds(party.facts):
                    certain |= test.mask
        if not party.labelled and not party.namespace:
            for tests in self._tests.values():
                for test in tests:
                    perhaps |= test.mask
        return Matches(certain, perhaps & ~certain)


def _namespace_of(scope: Sequence[Requirement]) -> str:
    for one in scope:
        if one.operator is Operator.IN and len(one.values) == 1:
            return one.values[0]
    return ""


class SubjectIndex:
    """Finds the entries about an end."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        masks: dict[Subject, int] = {}
        for index, entry in enumerate(entries):
            masks[entry.subject] = masks.get(entry.subject, 0) | 1 << index
        self._labels = LabelIndex(
            (subject.requirements, False, mask) for subject, mask in masks.items() if not subject.node
        )
        self._nodes = [
            (LabelTest(one.requirements), bool(one.requirements), mask) for one, mask in masks.items() if one.node
        ]

    def find(self, party: Party) -> Matches:
        """The entries about the end: those with a `nodeSelector` for the local host, all others for endpoints."""
        if not party.is_host:
            return self._labels.find(party, foreign=False)
        return _by_node(self._nodes, party)


def _by_node(tests: Iterable[tuple[LabelTest, bool, int]], party: Party) -> Matches:
    certain = perhaps = 0
    for test, asks, mask in tests:
        if not asks or (party.node_facts is not None and test.holds(party.node_facts)):
            certain |= mask
        elif party.node_facts is None:
            perhaps |= mask
    return Matches(certain, perhaps & ~certain)


class PeerIndex:
    """Finds the entries that mean an end as their peer."""

    def __init__(self, peers: Mapping[Peers, int], everyone: int, options: Options) -> None:
        self._everyone = everyone
        self._options = options
        self._entities: dict[str, int] = {}
        self._undecidable = self._undecidable_pods = 0
        labels: list[tuple[tuple[Requirement, ...], bool, int]] = []
        names: list[tuple[str, int]] = []
        ranges: list[tuple[Network, _Range]] = []
        self._nodes: list[tuple[LabelTest, bool, int]] = []
        for peer, mask in peers.items():
            if isinstance(peer, Labels):
                labels.append((peer.requirements, peer.local and options.default_local_cluster, mask))
            elif isinstance(peer, Entity):
                self._entities[peer.name] = self._entities.get(peer.name, 0) | mask
            elif isinstance(peer, Name):
                names.append((peer.pattern, mask))
            elif isinstance(peer, Addresses):
                network = parse_network(peer.cidr)
                exceptions = tuple(parse_network(one) for one in peer.exceptions)
                ranges.append((network, _Range(exceptions, network.bits == 0, mask)))
            elif isinstance(peer, Nodes):
                self._nodes.append((LabelTest(peer.requirements), bool(peer.requirements), mask))
            elif isinstance(peer, Undecidable) and peer.by_address:
                self._undecidable |= mask
            elif isinstance(peer, Undecidable):
                self._undecidable_pods |= mask
        self._labels = LabelIndex(labels)
        self._names = NameTable(names)
        self._ranges = AddressTable(ranges)
        self.goes_by_family = bool({"world-ipv4", "world-ipv6"} & self._entities.keys())
        self._all_but_everyone = 0
        for mask in peers.values():
            self._all_but_everyone |= mask

    def find(self, party: Party, cluster: str) -> Matches:
        """The entries whose peers include the end, and those whose peers may."""
        certain = self._everyone
        if "unknown" in party.entities:
            certain |= self._entities.get("all", 0)
            return Matches(certain, self._all_but_everyone & ~certain & ~self._entities.get("none", 0))
        for name in party.entities:
            if self._options.dual_stack or not name.startswith("world-"):
                certain |= self._entities.get(name, 0)
        foreign = bool(cluster and party.cluster and party.cluster != cluster)
        found = self._labels.find(party, foreign=foreign)
        certain |= found.certain
        perhaps = found.perhaps
        if self._is_by_address(party):
            perhaps |= self._undecidable | self._undecidable_pods
        elif party.is_pod:
            perhaps |= self._undecidable_pods
        if "remote-node" in party.entities and not (foreign and self._options.default_local_cluster):
            nodes = _by_node(self._nodes, party)
            certain |= nodes.certain
            perhaps |= nodes.perhaps
        if party.is_world:
            for mask in self._names.find(party.names, party.patterns):
                certain |= mask
        if party.address is not None:
            certain |= self._by_address(party)
        return Matches(certain, perhaps & ~certain)

    def _is_by_address(self, party: Party) -> bool:
        """Whether ranges of addresses can mean the end at all."""
        options = self._options
        return party.is_world or (options.cidr_nodes and party.is_node) or (options.cidr_pods and party.is_pod)

    def _by_address(self, party: Party) -> int:
        if party.address is None or not self._is_by_address(party):
            return 0
        zero = party.is_world or (party.is_node and self._options.cidr_zero_selects_nodes)
        return self.of_address(party.address, zero=zero)

    def of_address(self, address: tuple[int, int], *, zero: bool = True) -> int:
        """The entries that mean an address by its range; `zero`: also by ranges that hold every address."""
        mask = 0
        for entry in self._ranges.find(address):
            if (zero or not entry.whole) and not any(address in network for network in entry.exceptions):
                mask |= entry.mask
        return mask


class PortIndex:
    """Finds the entries that mean a protocol and port."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._everything = 0
        self._by_number = 0
        edges: dict[int, set[int]] = {}
        self._named: dict[tuple[str, tuple[int, ...]], int] = {}
        for index, entry in enumerate(entries):
            if entry.ports.everything:
                self._everything |= 1 << index
            for span in entry.ports.spans:
                self._by_number |= 1 << index
                edges.setdefault(span.protocol, {0}).update((span.first, span.last + 1))
            for port in entry.ports.named:
                key = (port.name, port.protocols)
                self._named[key] = self._named.get(key, 0) | 1 << index
        self._starts = {protocol: sorted(starts) for protocol, starts in edges.items()}
        self._masks = {protocol: [self._everything] * len(starts) for protocol, starts in self._starts.items()}
        for index, entry in enumerate(entries):
            for span in entry.ports.spans:
                starts, masks = self._starts[span.protocol], self._masks[span.protocol]
                for place in range(bisect_right(starts, span.first) - 1, bisect_right(starts, span.last)):
                    masks[place] |= 1 << index

    def find(self, protocol: int, port: int, server: Party) -> Matches:
        """The entries that mean it. Names of ports are those of the server's containers; protocol 0: not known."""
        if protocol == 0:
            return Matches(self._everything, (self._by_number | self._every_name()) & ~self._everything)
        starts = self._starts.get(protocol)
        certain = self._everything if starts is None else self._masks[protocol][bisect_right(starts, port) - 1]
        if not self._named or protocol in (ICMP, ICMPV6):
            return Matches(certain)
        perhaps = 0
        for (name, protocols), mask in self._named.items():
            if protocols and protocol not in protocols:
                continue
            if server.ports is None:
                perhaps |= mask
            elif any(one.name == name and one.protocol == protocol and one.number == port for one in server.ports):
                certain |= mask
        return Matches(certain, perhaps & ~certain)

    def _every_name(self) -> int:
        mask = 0
        for one in self._named.values():
            mask |= one
        return mask
