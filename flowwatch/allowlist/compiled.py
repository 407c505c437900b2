"""The judge: an allowlist in the form in which edges are held against it.

Every clause of every rule is a bit. The clauses that mean the source, those that mean the
destination and those that mean the port are three integers, and what they have in common
declares the edge. The judge says what was declared, never what Cilium would enforce; it knows
no file format and keeps no clock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from flowwatch.allowlist.clauses import Clause, clauses_of, same_workload
from flowwatch.allowlist.index import PeerIndex, PortIndex
from flowwatch.allowlist.nearest import NearestIndex
from flowwatch.allowlist.policies import UNGOVERNED, Policies, meaning_of
from flowwatch.allowlist.rules import Declaration, External, Rule
from flowwatch.memo import REMEMBERED
from flowwatch.model import Declared, Edge, Identity, Judgement, Kind, Peer, Protocol
from flowwatch.policy.compiled import SideJudgements
from flowwatch.policy.objects import Objects
from flowwatch.selectors import entities_of, names_of

_NO_PODS = Judgement(Declared.UNGOVERNED, "neither end is a pod")
_UNGOVERNED_PODS = Judgement(Declared.UNGOVERNED, "neither end is a pod of a namespace this allowlist governs")


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The clauses that hold from `since` until just before `until`."""

    since: float
    until: float
    active: int


class Allowlist:
    """Judges edges by the declared rules.

    `cluster` is the name of the cluster the flows come from. Where it is given, pods of other
    clusters of a mesh are only meant by rules that name their cluster; otherwise clusters are
    not told apart. `remembered` bounds how many peers are remembered between judgements.
    """

    def __init__(
        self, declaration: Declaration, now: float, *, cluster: str = "", remembered: int = REMEMBERED
    ) -> None:
        self._policies = Policies(declaration.policies, len(declaration.rules), cluster=cluster)
        self._speaks = declaration.speaks
        self.rules = (*declaration.rules, *self._policies.rules)
        """Every rule in the order written, expired ones included, and after them every network policy; a rule's `id`
        is its index."""
        self.ignored: Mapping[str, int] = dict(declaration.policies.ignored)
        """How many objects of other kinds were among the files, by kind."""
        self.governs = declaration.governs
        """The namespaces the allowlist speaks about; None: every namespace."""
        self.digest = _digest(declaration)
        """A hash of everything that is declared; where it is written does not matter."""
        self._clauses = clauses_of(declaration.rules)
        self._peers = PeerIndex(self._clauses, cluster, remembered)
        self._ports = PortIndex(self._clauses)
        self._nearest = NearestIndex(self._clauses)
        self._same = _mask(self._clauses, lambda clause: clause.same)
        self._by_name = _mask(self._clauses, _is_by_name)
        self._titles = [rule.title for rule in self.rules]
        self._declared = [
            Judgement(
                Declared.YES, f"declared by {title} ({rule.place}): {rule.reason}", title, rule.id, owner=rule.owner
            )
            for rule, title in zip(self.rules, self._titles, strict=True)
        ]
        self._epoch = self._epoch_of(now)

    def judge(self, edge: Edge, now: float) -> Judgement:
        """Say whether an edge is declared at the time `now`, by which rule, and if not, what comes nearest."""
        judgement = self._judge(edge, now) if self._speaks else UNGOVERNED
        if not self._policies.rules or judgement.declared is Declared.YES:
            return judgement
        policies = self._policies.judge(edge)
        undecided = judgement.declared is Declared.UNKNOWN and policies.declared is Declared.NO
        return judgement if undecided or policies.declared is Declared.UNGOVERNED else policies

    def _judge(self, edge: Edge, now: float) -> Judgement:
        """What the rules that are no network policies say."""
        active = self._active(now)
        source, destination, port = self._masks(edge)
        hit = source & destination & port & active
        if self._is_ungoverned(edge.source) and self._is_ungoverned(edge.destination):
            return _UNGOVERNED_PODS if self.governs else _NO_PODS
        if hit:
            return self._declared[self._clauses[_first(hit)].rule]
        if unknown := _unknown_end(edge):
            return Judgement(Declared.UNKNOWN, f"the flow does not say what its {unknown} is")
        if edge.protocol is Protocol.NONE and source & destination & active:
            return Judgement(Declared.UNKNOWN, "the flow carries no port, and only rules for certain ports fit")
        return self._undeclared(edge, active, source, destination, port)

    def address_class(self, ip: str) -> tuple[int, int]:
        """Equal for addresses outside the cluster that no rule tells apart, as a source and as a
        destination; 0 where no rule goes by the address."""
        masks = self._peers.address_masks(ip)
        source, destination = self._policies.address_class(ip)
        shift = len(self._clauses)
        return source << shift | masks.source, destination << shift | masks.destination

    def declaring(self, edge: Edge, now: float) -> tuple[Rule, ...]:
        """Every rule that declares an edge at the time `now`, in the order written."""
        source, destination, port = self._masks(edge)
        hit = source & destination & port & self._active(now)
        found = dict.fromkeys(clause.rule for index, clause in enumerate(self._clauses) if hit >> index & 1)
        return (*(self.rules[rule] for rule in found), *self._policies.declaring(edge))

    def sides(self, edge: Edge) -> SideJudgements | None:
        """What the policies about either end say of an edge; None where no policies are declared."""
        return self._policies.set.judge(edge) if self._policies.rules else None

    @property
    def objects(self) -> Objects:
        """The network policies that are declared, and what they refer to."""
        return self._policies.set.objects

    def expired(self, now: float) -> tuple[Rule, ...]:
        """The rules that no longer declare anything at the time `now`."""
        return tuple(rule for rule in self.rules if rule.ends <= now)

    def _masks(self, edge: Edge) -> tuple[int, int, int]:
        """The clauses that mean an edge's source, its destination and its port."""
        source = self._peers.masks(edge.source).source
        destination = self._peers.masks(edge.destination).destination
        if source & destination & self._same and not same_workload(edge.source, edge.destination):
            destination &= ~self._same
        return source, destination, self._ports.mask(edge.protocol, edge.port)

    def _active(self, now: float) -> int:
        epoch = self._epoch
        if not epoch.since <= now < epoch.until:
            epoch = self._epoch = self._epoch_of(now)
        return epoch.active

    def _epoch_of(self, now: float) -> _Epoch:
        ends = [self.rules[clause.rule].ends for clause in self._clauses]
        return _Epoch(
            since=max((end for end in ends if end <= now), default=float("-inf")),
            until=min((end for end in ends if end > now), default=float("inf")),
            active=sum(1 << index for index, end in enumerate(ends) if end > now),
        )

    def _is_ungoverned(self, peer: Peer) -> bool:
        """Whether a peer is certainly no pod of a governed namespace."""
        kind = peer.identity.kind
        if kind is Kind.POD:
            return self.governs is not None and peer.identity.namespace not in self.governs
        return kind is not Kind.UNKNOWN

    def _undeclared(self, edge: Edge, active: int, source: int, destination: int, port: int) -> Judgement:
        reason = f"no rule from {edge.source} to {edge.destination} on {edge.service}"
        fits = source & destination & port
        if fits:
            rule = self.rules[self._clauses[_first(fits)].rule]
            reason += f"; {rule.title} ({rule.place}) expired after {rule.expires}"
        elif source & port & active & self._by_name and _is_nameless(edge.destination):
            reason += "; the flow carried no DNS name, and rules for this source go by name"
        nearest = self._nearest.find(edge, source & active, destination & active, port & active)
        if nearest is None:
            return Judgement(Declared.NO, reason)
        rule = self.rules[self._clauses[nearest.clause].rule]
        return Judgement(Declared.NO, reason, nearest=self._titles[rule.id], differs=nearest.differs, owner=rule.owner)


def _mask(clauses: Iterable[Clause], wanted: Callable[[Clause], bool]) -> int:
    return sum(1 << index for index, clause in enumerate(clauses) if wanted(clause))


def _first(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _is_by_name(clause: Clause) -> bool:
    return any(isinstance(selector, External) and selector.patterns for selector in clause.destinations)


def _is_nameless(peer: Peer) -> bool:
    names, patterns = names_of(peer.names, peer.identity)
    return "world" in entities_of(peer.identity) and not names and not patterns


def _unknown_end(edge: Edge) -> str:
    """Which end of an edge cannot be told apart from any other; empty where both can."""
    if _is_unknown(edge.source.identity):
        return "source"
    return "destination" if _is_unknown(edge.destination.identity) else ""


def _is_unknown(identity: Identity) -> bool:
    return identity.kind is Kind.UNKNOWN or (identity.kind is Kind.POD and not identity.labels)


def _digest(declaration: Declaration) -> str:
    governs = None if declaration.governs is None else sorted(declaration.governs)
    rules = [{**asdict(rule), "file": "", "line": 0} for rule in declaration.rules]
    text = json.dumps([governs, rules], default=str, sort_keys=True) + meaning_of(declaration.policies)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
