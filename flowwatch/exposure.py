"""What can be said of edges in numbers that stay few: by namespace, by kind of peer, the busiest by name.

A label that learns its values from flows must be bounded. So edges are told apart by what is few (kinds
of peers, namespaces, ports and names that were declared), and by name only those with the most traffic;
all others are one. Pure bookkeeping over the ledger of edges: the time is told to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from flowwatch.allowlist.rules import External, Rule
from flowwatch.codes import Evidence
from flowwatch.edges import Edges
from flowwatch.judge import DeclaredCode
from flowwatch.model import Kind, Peer, Protocol, Side, Square, service
from flowwatch.tallies import Key, Posture, Traffic

MOST = 50
"""Edges of each square that are told apart by name."""
CANDIDATES = 1000
"""Edges of each square among which those are chosen."""
RANKED_EVERY = 15.0
HALF_LIFE = 600.0
"""Seconds after which traffic counts half when the busiest are chosen."""
BUSIER = 1.5
"""How much busier than one that is told apart another must be to take its place."""
OTHER_PORT = "other"
FQDN, ADDRESS = "fqdn", "address"
"""The sorts of peers outside the cluster: those whose name was looked up, and all others."""

_SQUARES = {
    (DeclaredCode.YES, Evidence.FORWARDED): Square.EXPECTED,
    (DeclaredCode.YES, Evidence.DROPPED): Square.BLOCKED,
    (DeclaredCode.NO, Evidence.FORWARDED): Square.UNEXPECTED,
    (DeclaredCode.NO, Evidence.DROPPED): Square.DENIED,
}


@dataclass(frozen=True, slots=True)
class _End:
    namespace: str
    workload: str
    text: str
    kind: str


class Exposure:
    """Reads one ledger of edges. One thread uses it."""

    def __init__(self, edges: Edges, most: int = MOST) -> None:
        self._edges = edges
        self._ends: list[tuple[_End, _End]] = []
        self._last: dict[tuple[Evidence, Side], np.ndarray] = {}
        self._ports: set[tuple[int, int]] | None = None
        self._rules: Sequence[Rule] = ()
        self._busiest = {square: _Busiest(most) for square in _SQUARES.values()}
        self._learn()
        # What an earlier run saw was counted then.
        self._since = len(self._ends)
        self._deltas()

    def advance(self, rules: Sequence[Rule], now: float) -> Traffic:
        """What was seen since the last call; `rules` are those in force."""
        if rules is not self._rules:
            self._rules, self._ports = rules, _declared_ports(rules)
        self._learn()
        found = Traffic()
        declared = self._edges.declared.values
        for number in range(self._since, len(self._ends)):
            client, server = self._ends[number]
            if client.kind == Kind.POD:
                code = DeclaredCode(int(declared[number])).name.lower()
                found.fresh[client.namespace, code, server.kind] += 1
        self._since = len(self._ends)
        per_square: dict[Square, Counter[Key]] = {square: Counter() for square in self._busiest}
        for (evidence, side), changed in self._deltas().items():
            for number, flows in changed:
                square = _SQUARES.get((DeclaredCode(int(declared[number])), evidence))
                if square is None:
                    continue
                client, server = self._ends[number]
                if side is Side.EGRESS and client.kind == Kind.POD:
                    found.egress[client.namespace, square.value, server.kind] += flows
                per_square[square][self._key(number, square, side)] += flows
        for square, counts in per_square.items():
            found.gone += self._busiest[square].weigh(counts, now)
            for key, flows in counts.items():
                if key in self._busiest[square].shown:
                    found.shown[key] += flows
                else:
                    found.others[square.value, key[1]] += flows
        return found

    def posture(self, rules: Sequence[Rule], now: float, settle: float) -> Posture:
        """How things stand at `now`; `settle` as in `judge.settle`, seconds."""
        self._learn()
        edges, per_namespace = self._edges, Counter[tuple[str, str]]()
        squares = edges.judged(int(now * 1e9), int(settle * 1e9)).squares(edges.declared.values)
        for square, members in squares.items():
            for number in np.flatnonzero(members).tolist():
                client, server = self._ends[number]
                for namespace in {client.namespace, server.namespace} - {""}:
                    per_namespace[namespace, square.value] += 1
        used: dict[int, set[tuple[int, int]]] = {}
        for number, declaring in edges.declared_by.items():
            port = (int(edges.protocol.values[number]), int(edges.port.values[number]))
            for rule in declaring:
                used.setdefault(rule.id, set()).add(port)
        return Posture(per_namespace, *_rules(rules, used, now))

    def _learn(self) -> None:
        """Name the ends of edges that are new."""
        for number in range(len(self._ends), len(self._edges)):
            edge = self._edges.edge(number)
            self._ends.append((_end(edge.source), _end(edge.destination)))

    def _deltas(self) -> dict[tuple[Evidence, Side], list[tuple[int, int]]]:
        """(edge, flows) since the last call, by what they prove and who said so."""
        found = {}
        for key, column in self._edges.flows.items():
            now = column.values.copy()
            before = self._last.get(key)
            if before is not None:
                now[: len(before)] -= before
            changed = np.flatnonzero(now)
            found[key] = list(zip(changed.tolist(), now[changed].tolist(), strict=True))
            self._last[key] = column.values.copy()
        return found

    def _key(self, number: int, square: Square, side: Side) -> Key:
        client, server = self._ends[number]
        mine, other = (server, client) if side is Side.INGRESS else (client, server)
        told = mine.text if not mine.workload else mine.workload
        return square.value, side.name.lower(), mine.namespace, told, self._peer(number, other), self._service(number)

    def _peer(self, number: int, other: _End) -> str:
        """A pod or entity by name; outside the cluster the name it was declared under, or else what sort it is."""
        if other.kind not in (FQDN, ADDRESS):
            return other.text
        declaring = self._edges.declared_by.get(number, ())
        names = {s.name for rule in declaring for s in (*rule.sources, *rule.destinations) if isinstance(s, External)}
        return names.pop() if len(names) == 1 else other.kind

    def _service(self, number: int) -> str:
        """The port, where some rule names it."""
        protocol, port = int(self._edges.protocol.values[number]), int(self._edges.port.values[number])
        if self._ports is not None and (protocol, port) in self._ports:
            return service(Protocol(protocol), port)
        return OTHER_PORT


class _Busiest:
    """Which edges of one square are told apart: the first ones seen, until others are clearly busier."""

    def __init__(self, most: int) -> None:
        self.shown: set[Key] = set()
        self._most = most
        self._weights: dict[Key, float] = {}
        self._ranked = 0.0

    def weigh(self, counts: Counter[Key], now: float) -> list[Key]:
        """Take note of traffic; which edges are no longer told apart."""
        for key, flows in counts.items():
            self._weights[key] = self._weights.get(key, 0.0) + flows
            if len(self.shown) < self._most:
                self.shown.add(key)
        if now - self._ranked < RANKED_EVERY and len(self._weights) <= 2 * CANDIDATES:
            return []
        return self._rank(now)

    def _rank(self, now: float) -> list[Key]:
        passed, self._ranked = (now - self._ranked if self._ranked else 0.0), now
        share = 0.5 ** (max(passed, 0.0) / HALF_LIFE)
        ordered = sorted(self._weights.items(), key=lambda one: (-one[1], one[0]))
        kept = [*ordered[:CANDIDATES], *(one for one in ordered[CANDIDATES:] if one[0] in self.shown)]
        self._weights = {key: weight * share for key, weight in kept}
        gone: list[Key] = []
        waiting = [key for key, _ in ordered[: self._most] if key not in self.shown]
        for least in sorted(self.shown, key=lambda key: self._weights.get(key, 0.0)):
            if not waiting or self._weights[waiting[0]] < BUSIER * self._weights.get(least, 0.0):
                break
            self.shown.discard(least)
            self.shown.add(waiting.pop(0))
            gone.append(least)
        return gone


def _end(peer: Peer) -> _End:
    identity = peer.identity
    if identity.kind is Kind.POD:
        return _End(identity.namespace, peer.workload or "?", str(peer), str(Kind.POD))
    if identity.kind is Kind.WORLD:
        kind = FQDN if peer.names else ADDRESS
        return _End("", "", kind, kind)
    return _End("", "", str(identity.kind), str(identity.kind))


def _declared_ports(rules: Iterable[Rule]) -> set[tuple[int, int]]:
    """Ports that are named by themselves; a range of them is not one name each."""
    ranges = (span for rule in rules for span in rule.ports.ranges)
    return {(int(span.protocol), span.first) for span in ranges if span.first == span.last}


def _rules(
    rules: Sequence[Rule], used: dict[int, set[tuple[int, int]]], now: float
) -> tuple[Counter[str], Counter[str], tuple[tuple[str, str, float], ...]]:
    states, ports = Counter[str](), Counter[str]()
    for rule in rules:
        if rule.ends <= now:
            states["expired"] += 1
            continue
        seen = used.get(rule.id)
        states["used" if seen else "unseen"] += 1
        for span in rule.ports.ranges if seen else ():
            hit = any(protocol == span.protocol and span.first <= port <= span.last for protocol, port in seen or ())
            ports["used" if hit else "unseen"] += 1
    ending = [(rule.title, rule.owner, rule.ends) for rule in rules if rule.ends != float("inf")]
    return states, ports, tuple(sorted(ending, key=lambda one: (one[2], one[0])))
