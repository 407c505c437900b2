"""What passes although a live policy denies it: the prediction of the live policies, held against what was forwarded.

Three things must be certain before anybody is accused. The verdict: a policy engine that answers `unknown` accuses
nobody. The time: a policy needs a while to reach every node, so only flows count that are younger than the
denial by that while. The side: what the sending side forwarded proves nothing about the receiving side's policy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flowwatch.codes import Evidence
from flowwatch.edges import Edges
from flowwatch.growing import GrowingInts
from flowwatch.model import Edge, Protocol, Side
from flowwatch.policy.compiled import PolicySet
from flowwatch.policy.judging import Judged, Verdict

Ints = npt.NDArray[np.int64]

_ICMP_ERRORS = {Protocol.ICMP: (3, 4, 5, 11, 12), Protocol.ICMPV6: (1, 2, 3, 4)}
"""Types that belong to a connection which policy has decided already."""
_NOT_DENIED, _EITHER_SIDE, _RECEIVING = 0, 1, 2


class Bypasses:
    """The denials of the live policies, for every edge of one ledger. One thread uses it."""

    def __init__(self, edges: Edges, grace: float, active_for: float) -> None:
        """`grace` and `active_for` in seconds: how young a denial is not held against anybody, and how long ago
        a flow still counts."""
        self._edges = edges
        self._grace, self._active_for = int(grace * 1e9), int(active_for * 1e9)
        self._policies: PolicySet | None = None
        self._begun = 0
        self._denied = GrowingInts()
        """Which end denies it: `_EITHER_SIDE` the sending one, `_RECEIVING` the receiving one alone."""
        self._since = GrowingInts()
        self._before = GrowingInts(-1)
        """Flows that had been counted when the denial had reached every node; -1: it has not yet."""

    def enforce(self, policies: PolicySet, now: float) -> None:
        """These policies are live from now on."""
        moment = int(now * 1e9)
        self._policies, self._begun = policies, moment
        for number in range(len(self._denied)):
            denied = self._judge(number)
            if denied != self._denied.values[number]:
                self._denied.set(number, denied)
                self._since.set(number, moment)
                self._before.set(number, -1)

    def current(self, now: float) -> list[int]:
        """The edges that passed lately although a live policy denies them, by number."""
        if self._policies is None:
            return []
        moment = int(now * 1e9)
        self._take_new(moment)
        denied, since, before = self._denied.values, self._since.values, self._before.values
        counted = self._counted(denied)
        last = self._edges.last_forwarded.values
        ripe = (denied != _NOT_DENIED) & (moment >= since + self._grace)
        before[ripe & (before < 0)] = counted[ripe & (before < 0)]
        passed = ripe & (counted > before) & (last >= since + self._grace) & (moment - last < self._active_for)
        return [int(number) for number in np.flatnonzero(passed)]

    def since(self, number: int) -> float:
        """From when on a flow of an edge is held against its denial, in seconds since the epoch."""
        return (int(self._since.values[number]) + self._grace) / 1e9

    def policies(self, number: int) -> tuple[str, ...]:
        """The live policies that deny an edge, by a rule or by isolating one of its ends."""
        if self._policies is None:
            return ()
        sides = self._policies.judge(self._edges.edge(number))
        return tuple(dict.fromkeys(name for side in (sides.egress, sides.ingress) for name in _denying(side)))

    def _take_new(self, moment: int) -> None:
        first = self._edges.first_forwarded.values
        for number in range(len(self._denied), len(self._edges)):
            self._denied.set(number, self._judge(number))
            self._since.set(number, self._begun)
            ripe = moment >= self._begun + self._grace
            is_younger = not first[number] or first[number] >= self._begun + self._grace
            # Whatever it counts already was counted while the denial was in force, if all of it is that young.
            self._before.set(number, 0 if ripe and is_younger else -1)

    def _judge(self, number: int) -> int:
        assert self._policies is not None
        edge = self._edges.edge(number)
        if _is_of_another(edge):
            return _NOT_DENIED
        sides = self._policies.judge(edge)
        if sides.egress.verdict is Verdict.DENY:
            return _EITHER_SIDE
        return _RECEIVING if sides.ingress.verdict is Verdict.DENY else _NOT_DENIED

    def _counted(self, denied: Ints) -> Ints:
        flows = {side: self._edges.flows[Evidence.FORWARDED, side].values for side in Side}
        received = flows[Side.INGRESS]
        return np.where(denied == _RECEIVING, received, received + flows[Side.EGRESS] + flows[Side.UNKNOWN])


def _is_of_another(edge: Edge) -> bool:
    return edge.port in _ICMP_ERRORS.get(edge.protocol, ())


def _denying(side: Judged) -> tuple[str, ...]:
    if side.verdict is not Verdict.DENY:
        return ()
    return tuple(str(entry.policy) for entry in side.entries) or tuple(map(str, side.isolating))
