"""The ledger of edges: every distinct (client, server, protocol, port) with what was seen of it.

A batch touches it with a few vector operations; Python runs once per edge that is new. The allowlist
is asked once per edge (and again for all of them when it changes), so judging never depends on how
many flows or rules there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from flowwatch import transport
from flowwatch.allowlist.rules import Rule, Transport
from flowwatch.codes import Evidence
from flowwatch.growing import GrowingInts
from flowwatch.intern import Interner
from flowwatch.judge import DECLARED_CODES, Judged, Seen, judge
from flowwatch.model import Declared, Edge, Judgement, Kind, Protocol, Side
from flowwatch.transport import Answer, Carriage, Carried, Standing

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ATTEMPT_WINDOW = 130_000_000_000
"""Nanoseconds within which denied packets of one 5-tuple are retransmits of one attempt."""
MAX_ATTEMPTS = 200_000
PROOFS = (Evidence.FORWARDED, Evidence.DROPPED, Evidence.AUDITED)

_NEVER = np.iinfo(np.int64).max
_PROTOCOLS = tuple(Protocol)
_PROTOCOL_CODE = np.zeros(256, dtype=np.int64)
for _code, _protocol in enumerate(_PROTOCOLS):
    _PROTOCOL_CODE[_protocol] = _code


class Allowlist(Interface):
    """What the ledger asks of an allowlist."""

    @property
    def rules(self) -> Sequence[Rule]:
        """Every declared rule; `Judgement.rule_id` is the `id` of one."""

    def judge(self, edge: Edge, now: float) -> Judgement: ...

    def declaring(self, edge: Edge, now: float) -> Sequence[Rule]:
        """Every rule that has part in declaring an edge."""

    def address_class(self, ip: str) -> tuple[int, int]:
        """Equal for addresses outside the cluster that no rule tells apart: as client, and as server. 0: no
        rule goes by this address."""


class NoAllowlist:
    """Nothing is declared, so nothing can be judged: flows are only recorded."""

    rules: Sequence[Rule] = ()

    def judge(self, edge: Edge, now: float) -> Judgement:  # noqa: ARG002
        """Every edge is outside what is declared."""
        return Judgement(Declared.UNGOVERNED, "no allowlist is configured")

    def declaring(self, edge: Edge, now: float) -> Sequence[Rule]:  # noqa: ARG002
        """No rule does."""
        return ()

    def address_class(self, ip: str) -> tuple[int, int]:  # noqa: ARG002
        """No rule, no difference."""
        return 0, 0


@dataclass(frozen=True, slots=True)
class Observations:
    """The flows of a batch that prove something about an edge, one element per flow."""

    client: Ints
    server: Ints
    protocol: Ints
    port: Ints
    evidence: Ints
    side: Ints
    opens: Bools
    """Stands for a connection of its own."""
    verdict: Bools
    """It is a policy verdict (as opposed to a trace)."""
    time: Ints
    weight: Ints
    carried: Ints
    """What it says of its transport (`transport.Carried`)."""
    tuple_id: Ints
    """Equal for packets of one connection attempt: client address and port."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What one batch added to the edges, a row for each (edge, evidence, side) it touched.

    A connection is told twice, by its policy verdict and by its first trace: `verdicts` and
    `openings` count both, and the greater of their sums is the number of connections. Of drops,
    `openings` counts attempts: retransmits and second reports of one packet are one.
    """

    edge: Ints
    evidence: Ints
    side: Ints
    flows: Ints
    verdicts: Ints
    openings: Ints

    @classmethod
    def concatenate(cls, parts: Sequence[Activity]) -> Activity:
        """One after the other."""
        names = cls.__slots__
        none = np.zeros(0, dtype=np.int64)
        return cls(*(np.concatenate([none, *(getattr(part, name) for part in parts)]) for name in names))


class Edges:
    """All edges ever seen (by this database). One thread uses it."""

    def __init__(self, interner: Interner, allowlist: Allowlist) -> None:
        self._interner = interner
        self._allowlist = allowlist
        self._asked = _asked(allowlist)
        self._numbers: dict[int, int] = {}
        self._attempts: OrderedDict[tuple[int, int, int], int] = OrderedDict()
        self.client, self.server = GrowingInts(), GrowingInts()
        self.protocol, self.port = GrowingInts(), GrowingInts()
        self.server_is_pod, self.declared, self.rule = GrowingInts(), GrowingInts(), GrowingInts(-1)
        self.first_seen = GrowingInts()
        self.times = {evidence: (GrowingInts(), GrowingInts()) for evidence in PROOFS}
        """When each edge was first and last seen so; nanoseconds, 0 for never."""
        self.first_forwarded, self.last_forwarded = self.times[Evidence.FORWARDED]
        self.first_dropped, self.last_dropped = self.times[Evidence.DROPPED]
        self.flows: dict[tuple[Evidence, Side], GrowingInts] = {
            (evidence, side): GrowingInts() for evidence in PROOFS for side in Side
        }
        self.verdicts = {key: GrowingInts() for key in self.flows}
        self.openings = {key: GrowingInts() for key in self.flows}
        self.carried = {(flag, side): GrowingInts() for flag in Carried for side in Side}
        """When each was last said of the edge's transport, nanoseconds."""
        self.reads_as = GrowingInts()
        """The first edge that reads the same to a person: label sets of one workload may differ in details."""
        self._readings: dict[str, int] = {}
        self.judgements: dict[int, Judgement] = {}
        self.declared_by: dict[int, tuple[Rule, ...]] = {}
        """The rules that have part in declaring each declared edge."""
        self.fresh: list[int] = []
        """Edges new or judged anew since the caller last emptied the list."""

    def __len__(self) -> int:
        return len(self.client)

    # ── a batch ──────────────────────────────────────────────────────────────────────────────────

    def observe(self, seen: Observations, now: float) -> tuple[Ints, Activity, Ints]:
        """Record a batch; give each row's edge number, what the batch added, and for each row how
        many denied attempts it begins (0 for repeats and for anything that was not dropped)."""
        keys = _keys(seen)
        distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        numbers = np.empty(len(distinct), dtype=np.int64)
        for at, key in enumerate(distinct.tolist()):
            number = self._numbers.get(key)
            numbers[at] = self._add(key, seen, int(first[at]), now) if number is None else number
        edges = numbers[inverse]
        self._advance_times(numbers, inverse, seen)
        if self._asked:
            self._advance_carriage(numbers, inverse, seen)
        attempts = self._new_attempts(edges, seen)
        return edges, self._count(numbers, inverse, attempts, seen), attempts

    def _advance_times(self, numbers: Ints, inverse: Ints, seen: Observations) -> None:
        for evidence in PROOFS:
            first, last = self.times[evidence]
            rows = seen.evidence == evidence
            if not rows.any():
                continue
            newest = np.zeros(len(numbers), dtype=np.int64)
            np.maximum.at(newest, inverse[rows], seen.time[rows])
            last.values[numbers] = np.maximum(last.values[numbers], newest)
            oldest = np.full(len(numbers), _NEVER)
            np.minimum.at(oldest, inverse[rows], seen.time[rows])
            known = first.values[numbers]
            first.values[numbers] = np.where(
                oldest == _NEVER, known, np.where(known == 0, oldest, np.minimum(known, oldest))
            )

    def _advance_carriage(self, numbers: Ints, inverse: Ints, seen: Observations) -> None:
        for (flag, side), last in self.carried.items():
            rows = (seen.carried & int(flag) != 0) & (seen.side == side)
            if rows.any():
                newest = np.zeros(len(numbers), dtype=np.int64)
                np.maximum.at(newest, inverse[rows], seen.time[rows])
                last.values[numbers] = np.maximum(last.values[numbers], newest)

    def _count(self, numbers: Ints, inverse: Ints, attempts: Ints, seen: Observations) -> Activity:
        parts: list[Activity] = []
        for combo in np.unique(seen.evidence * 4 + seen.side).tolist():
            key = Evidence(combo // 4), Side(combo % 4)
            rows = (seen.evidence == key[0]) & (seen.side == key[1])
            flows = _sums(inverse[rows], seen.weight[rows], len(numbers))
            if key[0] is Evidence.DROPPED:
                verdicts = np.zeros(len(numbers), dtype=np.int64)
                openings = _sums(inverse[rows], attempts[rows], len(numbers))
            else:
                told, first = rows & seen.opens & seen.verdict, rows & seen.opens & ~seen.verdict
                verdicts = _sums(inverse[told], seen.weight[told], len(numbers))
                openings = _sums(inverse[first], seen.weight[first], len(numbers))
            self.flows[key].values[numbers] += flows
            self.verdicts[key].values[numbers] += verdicts
            self.openings[key].values[numbers] += openings
            some = np.flatnonzero(flows)
            kinds = (np.full(len(some), key[0], dtype=np.int64), np.full(len(some), key[1], dtype=np.int64))
            parts.append(Activity(numbers[some], *kinds, flows[some], verdicts[some], openings[some]))
        return Activity.concatenate(parts)

    def _new_attempts(self, edges: Ints, seen: Observations) -> Ints:
        """Denied packets that start an attempt; retransmits and twin reports repeat one."""
        attempts = np.zeros(len(edges), dtype=np.int64)
        for at in np.flatnonzero(seen.evidence == Evidence.DROPPED).tolist():
            key = (int(edges[at]), int(seen.side[at]), int(seen.tuple_id[at]))
            time = int(seen.time[at])
            before = self._attempts.get(key)
            if before is None or time - before > ATTEMPT_WINDOW:
                attempts[at] = seen.weight[at]
            self._attempts[key] = time
            self._attempts.move_to_end(key)
            if len(self._attempts) > MAX_ATTEMPTS:
                self._attempts.popitem(last=False)
        return attempts

    # ── edges ────────────────────────────────────────────────────────────────────────────────────

    def edge(self, number: int) -> Edge:
        """The edge a number stands for, with workload names as known now."""
        return Edge(
            self._interner.party(int(self.client.values[number])),
            self._interner.party(int(self.server.values[number])),
            Protocol(int(self.protocol.values[number])),
            int(self.port.values[number]),
        )

    def knows(self, client: int, server: int, protocol: int, port: int) -> bool:
        """Whether an edge was ever seen; the ends are party numbers."""
        return _key(client, server, protocol, port) in self._numbers

    def judgement(self, number: int) -> Judgement:
        """What the allowlist said of an edge."""
        return self.judgements[number]

    def judged(self, now: int, settle: int) -> Judged:
        """Judge every edge at `now` (nanoseconds)."""
        egress, ingress, unknown = Side.EGRESS, Side.INGRESS, Side.UNKNOWN
        forwarded, dropped = Evidence.FORWARDED, Evidence.DROPPED
        violated, undecided = np.zeros(len(self), np.bool_), np.zeros(len(self), np.bool_)
        for number, answer in self.carriages(now / 1e9).items():
            violated[number] = answer.standing is Standing.VIOLATED
            undecided[number] = answer.standing is Standing.UNKNOWN
        return judge(
            Seen(
                self.declared.values,
                self.server_is_pod.values == 1,
                self.flows[forwarded, egress].values,
                self.flows[forwarded, ingress].values + self.flows[forwarded, unknown].values,
                self.flows[dropped, egress].values + self.flows[dropped, unknown].values,
                self.flows[dropped, ingress].values,
                self.first_forwarded.values,
                violated,
                undecided,
            ),
            now,
            settle,
        )

    def connections(self, number: int, evidence: Evidence) -> int:
        """How many connections (of drops: attempts) of an edge were seen, by the side that saw most."""
        seen = [
            int(column[evidence, side].values[number]) for column in (self.verdicts, self.openings) for side in Side
        ]
        return max(seen)

    def total(self, number: int, evidence: Evidence) -> int:
        """How many flows are evidence of a kind for an edge."""
        return sum(int(self.flows[evidence, side].values[number]) for side in Side)

    def carriages(self, now: float) -> dict[int, Answer]:
        """For each edge declared by a rule that asks something of its transport: is it carried so?"""
        if not self._asked:
            return {}
        wanted = np.flatnonzero(np.isin(self.rule.values, list(self._asked)))
        return {number: self._carriage(number, now) for number in wanted.tolist()}

    def asks(self, edges: Ints) -> Bools:
        """Which of these edges are declared by a rule that asks something of their transport."""
        return np.isin(self.rule.values[edges], list(self._asked)) if self._asked else np.zeros(len(edges), np.bool_)

    def _carriage(self, number: int, now: float) -> Answer:
        asked = self._asked[int(self.rule.values[number])]
        last = {key: int(column.values[number]) / 1e9 for key, column in self.carried.items()}
        if asked is Transport.ENCRYPTED:
            either = (max(last[flag, side] for side in Side) for flag in (Carried.ENCRYPTED, Carried.PLAIN))
            return transport.judge(asked, Carriage(*either), now)
        sides = (
            Carriage(
                authenticated=last[Carried.AUTHENTICATED, side], unauthenticated=last[Carried.UNAUTHENTICATED, side]
            )
            for side in (Side.EGRESS, Side.INGRESS)
        )
        return transport.together(tuple(transport.judge(asked, side, now) for side in sides))

    def rejudge(self, allowlist: Allowlist, now: float) -> None:
        """Ask an allowlist about every edge."""
        self._allowlist = allowlist
        self._asked = _asked(allowlist)
        for number in range(len(self)):
            self._judge(number, now)

    def restore(self, client: int, server: int, protocol: int, port: int, first_seen: int, now: float) -> int:
        """Take up an edge an earlier run stored; edges come in the order of their numbers."""
        key = _key(client, server, protocol, port)
        return self._append(key, (client, server, protocol, port), first_seen, now)

    def restore_totals(
        self,
        edge: int,
        evidence: int,
        side: int,
        flows: int,
        verdicts: int,
        openings: int,
        first_time: int,
        last_time: int,
    ) -> None:
        """Take up what an earlier run saw of an edge; times in nanoseconds."""
        key = Evidence(evidence), Side(side)
        for columns, count in ((self.flows, flows), (self.verdicts, verdicts), (self.openings, openings)):
            columns[key].values[edge] += count
        first, last = (column.values for column in self.times[key[0]])
        first[edge] = min(first[edge] or first_time, first_time)
        last[edge] = max(last[edge], last_time)

    def _add(self, key: int, seen: Observations, row: int, now: float) -> int:
        parts = (int(seen.client[row]), int(seen.server[row]), int(seen.protocol[row]), int(seen.port[row]))
        return self._append(key, parts, int(seen.time[row]), now)

    def _append(self, key: int, parts: tuple[int, int, int, int], first_seen: int, now: float) -> int:
        number = self._numbers[key] = len(self.client)
        for column, value in zip((self.client, self.server, self.protocol, self.port), parts, strict=True):
            column.set(number, value)
        self.first_seen.set(number, first_seen)
        for column in self._counters():
            column.grow(number + 1)
        identity = self._interner.identities[self._interner.parties.all[parts[1]][0]]
        self.server_is_pod.set(number, int(identity.kind is Kind.POD))
        self.reads_as.set(number, self._readings.setdefault(str(self.edge(number)), number))
        self._judge(number, now)
        return number

    def _judge(self, number: int, now: float) -> None:
        edge = self.edge(number)
        judgement = self._allowlist.judge(edge, now)
        self.judgements[number] = judgement
        is_declared = judgement.declared is Declared.YES
        self.declared_by[number] = tuple(self._allowlist.declaring(edge, now)) if is_declared else ()
        self.declared.set(number, DECLARED_CODES[judgement.declared])
        self.rule.set(number, judgement.rule_id if is_declared else -1)
        self.fresh.append(number)

    def _counters(self) -> list[GrowingInts]:
        counts = [*self.flows.values(), *self.verdicts.values(), *self.openings.values()]
        carried = list(self.carried.values())
        times = [column for pair in self.times.values() for column in pair]
        return [*times, *carried, *counts]


def _asked(allowlist: Allowlist) -> dict[int, Transport]:
    """What rules ask of the transport, by the id of the rule."""
    return {rule.id: rule.transport for rule in allowlist.rules if rule.transport is not None}


def _sums(index: Ints, weights: Ints, size: int) -> Ints:
    return np.bincount(index, weights=weights, minlength=size).astype(np.int64)


def _keys(seen: Observations) -> Ints:
    return (
        (seen.client << 40)
        | (seen.server << 19)
        | (_PROTOCOL_CODE[np.clip(seen.protocol, 0, 255)] << 16)
        | np.clip(seen.port, 0, 65535)
    )


def _key(client: int, server: int, protocol: int, port: int) -> int:
    return (client << 40) | (server << 19) | (int(_PROTOCOL_CODE[protocol]) << 16) | port
