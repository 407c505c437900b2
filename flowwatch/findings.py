"""Findings: the edges that are not as declared, with the evidence a person needs to believe it.

Counts and times come from the ledger of edges; what is kept here is what the ledger does not have:
the uuids of a few flows, the drop reasons and the policies that were named, and under which name a
finding was first reported, so that its fingerprint never changes while it lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from flowwatch.codes import Evidence
from flowwatch.edges import Edges
from flowwatch.judge import DeclaredCode
from flowwatch.model import Declared, Edge, Enforcement, Finding, Side, Square

SAMPLES = 5
FINDING_SQUARES = (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED)
_EVIDENCE = {
    Square.UNEXPECTED: Evidence.FORWARDED,
    Square.BLOCKED: Evidence.DROPPED,
    Square.DENIED: Evidence.DROPPED,
}


@dataclass(slots=True)
class _Samples:
    """What is remembered of the flows behind one edge's possible finding."""

    uuids: deque[str] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    addresses: dict[str, None] = field(default_factory=dict)
    drop_reasons: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)


class Findings:
    """The findings of one ledger of edges. One thread uses it."""

    def __init__(
        self, edges: Edges, cluster: str, settle: float, active_for: float, clusters: Sequence[str] = ()
    ) -> None:
        """`cluster` is the name the operator gave it, `clusters` all of them where there are several; `settle` and
        `active_for` in seconds, see `judge.settle` and `judge.active_for` of the configuration."""
        self._cluster, self._clusters = cluster, frozenset(clusters)
        self._edges = edges
        self._settle = int(settle * 1e9)
        self._active_for = int(active_for * 1e9)
        self._samples: dict[tuple[int, Evidence], _Samples] = {}
        self._named: dict[tuple[int, Square], Edge] = {}

    def note(
        self,
        edge: int,
        evidence: Evidence,
        uuids: list[str],
        drop_reasons: set[str],
        policies: tuple[str, ...],
        lines: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> None:
        """Remember flows of an edge that may be (part of) a finding; uuids and lines in the order received."""
        samples = self._samples.setdefault((edge, evidence), _Samples())
        samples.uuids.extend(uuid for uuid in uuids if uuid)
        samples.lines.extend(lines)
        for address in addresses:
            if len(samples.addresses) < SAMPLES:
                samples.addresses[address] = None
        samples.drop_reasons |= drop_reasons
        samples.policies.update(policies)

    def current(self, now: float, coverage: Callable[[float], float]) -> list[Finding]:
        """The findings that are active at `now`, newest first; `coverage` gives the share of what happened since a
        moment that can be vouched for."""
        moment = int(now * 1e9)
        judged = self._edges.judged(moment, self._settle)
        squares = judged.squares(self._edges.declared.values)
        found: list[Finding] = []
        for square in FINDING_SQUARES:
            for number in np.flatnonzero(squares[square]).tolist():
                last_seen = self._last_seen(number, square)
                if moment - last_seen < self._active_for:
                    found.append(self._finding(number, square, last_seen, coverage, now))
                else:
                    self._named.pop((number, square), None)
        return sorted(_merge(found), key=lambda finding: (-finding.first_seen, finding.fingerprint))

    def gaps(self, now: float, coverage: Callable[[float], float]) -> list[Finding]:
        """What passes at `now` only because of audit mode, newest first."""
        moment, edges = int(now * 1e9), self._edges
        declared, last = edges.declared.values, edges.times[Evidence.AUDITED][1].values
        decided = (declared == DeclaredCode.YES) | (declared == DeclaredCode.NO)
        recent = np.flatnonzero((last > 0) & (moment - last < self._active_for) & decided)
        found = [self._gap(number, Evidence.AUDITED, Enforcement.AUDITED, coverage) for number in recent.tolist()]
        return sorted(_merge(found), key=lambda finding: (-finding.first_seen, finding.fingerprint))

    def bypassed(
        self, denied: Mapping[int, tuple[str, ...]], since: Mapping[int, float], coverage: Callable[[float], float]
    ) -> list[Finding]:
        """What passes although a live policy denies it, newest first: edges with the policies that deny them, and from
        when on (seconds) that counts."""
        found: list[Finding] = []
        for number, policies in denied.items():
            gap = self._gap(number, Evidence.FORWARDED, Enforcement.BYPASSED, coverage)
            first = max(gap.first_seen, since[number])
            found.append(replace(gap, policies=tuple(sorted(policies)), first_seen=first, coverage=coverage(first)))
        return sorted(_merge(found), key=lambda finding: (-finding.first_seen, finding.fingerprint))

    def _gap(
        self, number: int, evidence: Evidence, enforcement: Enforcement, coverage: Callable[[float], float]
    ) -> Finding:
        edges = self._edges
        is_declared = int(edges.declared.values[number]) == DeclaredCode.YES
        square = Square.EXPECTED if is_declared else Square.UNEXPECTED
        edge = edges.edge(number)
        first, last = edges.times[evidence]
        samples = self._samples.get((number, evidence)) or _Samples()
        return Finding(
            square=square,
            cluster=self._cluster_of(edge),
            edge=edge,
            side=self._side(number, edge, evidence),
            judgement=edges.judgement(number),
            first_seen=int(first.values[number]) / 1e9,
            last_seen=int(last.values[number]) / 1e9,
            flows=edges.total(number, evidence),
            connections=max(edges.connections(number, evidence), 1),
            samples=tuple(samples.uuids),
            policies=tuple(sorted(samples.policies)),
            coverage=coverage(int(first.values[number]) / 1e9),
            lines=tuple(samples.lines),
            addresses=tuple(samples.addresses),
            enforcement=enforcement,
        )

    def counts(self, now: float) -> dict[Square, int]:
        """How many edges, as people read them, are in each square; one that is in two counts in the graver one."""
        squares = self._edges.judged(int(now * 1e9), self._settle).squares(self._edges.declared.values)
        reads_as = self._edges.reads_as.values
        taken: npt.NDArray[np.bool_] = np.zeros(len(self._edges), dtype=np.bool_)
        counts: dict[Square, int] = {}
        for square in (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED, Square.EXPECTED, Square.UNKNOWN):
            members = np.unique(reads_as[squares[square]])
            counts[square] = int((~taken[members]).sum())
            taken[members] = True
        return counts

    def _finding(
        self, number: int, square: Square, last_seen: int, coverage: Callable[[float], float], now: float
    ) -> Finding:
        edges, evidence = self._edges, _EVIDENCE[square]
        edge = self._named.setdefault((number, square), edges.edge(number))
        samples = self._samples.get((number, evidence)) or _Samples()
        judgement = edges.judgement(number)
        if square is Square.UNEXPECTED and judgement.declared is Declared.YES:
            judgement = replace(judgement, reason=edges.carriages(now)[number].reason)
        first = edges.first_forwarded if evidence is Evidence.FORWARDED else edges.first_dropped
        return Finding(
            square=square,
            cluster=self._cluster_of(edge),
            edge=edge,
            side=self._side(number, edge, evidence),
            judgement=judgement,
            first_seen=int(first.values[number]) / 1e9,
            last_seen=last_seen / 1e9,
            flows=edges.total(number, evidence),
            connections=max(edges.connections(number, evidence), 1),
            samples=tuple(samples.uuids),
            drop_reasons=tuple(sorted(samples.drop_reasons)),
            policies=tuple(sorted(samples.policies)),
            coverage=coverage(int(first.values[number]) / 1e9),
            lines=tuple(samples.lines),
            addresses=tuple(samples.addresses),
        )

    def _cluster_of(self, edge: Edge) -> str:
        """The cluster an edge begins in, or ends in where it comes from outside."""
        ends = (edge.source.identity.cluster, edge.destination.identity.cluster)
        return next((cluster for cluster in ends if cluster in self._clusters), self._cluster)

    def _last_seen(self, number: int, square: Square) -> int:
        last = self._edges.last_forwarded if square is Square.UNEXPECTED else self._edges.last_dropped
        return int(last.values[number])

    def _side(self, number: int, edge: Edge, evidence: Evidence) -> Side:
        """For a drop the side that dropped (or would have); else the side whose owner can do something about it."""
        if evidence is not Evidence.FORWARDED:
            for side in (Side.INGRESS, Side.EGRESS):
                if self._edges.flows[evidence, side].values[number]:
                    return side
            return Side.UNKNOWN
        return Side.EGRESS if edge.source.identity.namespace else Side.INGRESS


def _merge(found: list[Finding]) -> list[Finding]:
    """Edges that read the same to a person (label sets that differ in a version, say) are one finding."""
    merged: dict[str, Finding] = {}
    for finding in found:
        known = merged.get(finding.fingerprint)
        merged[finding.fingerprint] = finding if known is None else _together(known, finding)
    return list(merged.values())


def _together(one: Finding, other: Finding) -> Finding:
    newer = max(one, other, key=lambda finding: finding.last_seen)
    return Finding(
        square=one.square,
        cluster=one.cluster,
        edge=one.edge,
        side=newer.side,
        judgement=newer.judgement,
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=newer.last_seen,
        flows=one.flows + other.flows,
        connections=one.connections + other.connections,
        samples=(one.samples + other.samples)[-SAMPLES:],
        drop_reasons=tuple(sorted({*one.drop_reasons, *other.drop_reasons})),
        policies=tuple(sorted({*one.policies, *other.policies})),
        coverage=min(one.coverage, other.coverage),
        lines=(one.lines + other.lines)[-SAMPLES:],
        addresses=tuple(dict.fromkeys((*one.addresses, *other.addresses)))[:SAMPLES],
        enforcement=one.enforcement,
    )
