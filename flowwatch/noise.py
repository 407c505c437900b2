"""Noise that only time explains: pods that have just started, rollouts, addresses that were given to another pod.

Asked of the few flows that would otherwise accuse somebody: drops, and what passes undeclared. What it explains is
counted under its class and is evidence of nothing. It remembers when each pod was first heard of, and knows no
clock: the time is the flows' own. Each rule says what it needs to have seen; without that a flow stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from flowwatch.codes import Evidence, FlowClass
from flowwatch.growing import GrowingInts
from flowwatch.model import Declared, Kind, Side
from flowwatch.shapes import ACK, FIN, RST, SYN

Ints = npt.NDArray[np.int64]

WARMING = 300.0
"""Seconds from a node's first flow on, during which a pod that is new to us need not be new."""
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class NoiseSettings:
    """Windows in seconds; `judged` are the classes that are switched off, so that their flows are judged like any.

    `start`: how long after a pod was first heard of the datapath may not know its policy yet. `rollout`: how long
    after a workload's newest pod connections to its old ones still die. `reuse`: how long after an address went to
    another pod somebody may still mean the one before.
    """

    start: float = 30.0
    rollout: float = 120.0
    reuse: float = 60.0
    judged: frozenset[FlowClass] = frozenset()


@dataclass(frozen=True, slots=True)
class Suspects:
    """The flows of a batch that are evidence of something, one element per flow; times in nanoseconds."""

    client: Ints
    """Peer numbers."""
    server: Ints
    client_party: Ints
    server_party: Ints
    protocol: Ints
    port: Ints
    evidence: Ints
    side: Ints
    tcp_flags: Ints
    time: Ints


@dataclass(frozen=True, slots=True)
class Newborn:
    """A peer that was heard of for the first time."""

    peer: int
    identity: int
    kind: Kind
    ip: str


class Ledger(Protocol):
    """What must be known of edges, each given as client and server (party numbers), protocol and port."""

    def declares(self, client: int, server: int, protocol: int, port: int) -> Declared:
        """Whether it is declared."""

    def knows(self, client: int, server: int, protocol: int, port: int) -> bool:
        """Whether it was ever seen."""

    def inside(self, identity: int) -> int:
        """The party that a pod's identity is."""


class Noise:
    """What is remembered of pods and addresses. One thread uses it."""

    def __init__(self, settings: NoiseSettings) -> None:
        self._settings = settings
        self._warm: dict[int, int] = {}
        self._born = GrowingInts()
        self._identity = GrowingInts()
        self._is_host = GrowingInts()
        self._is_pod = GrowingInts()
        self._newest = GrowingInts()
        """By identity: when its newest pod was first heard of."""
        self._holder: dict[str, int] = {}
        self._reused = GrowingInts()
        self._before = GrowingInts()

    def learn(self, newborn: Iterable[Newborn], node: Ints, time: Ints, peers: tuple[Ints, Ints]) -> None:
        """Take note of the peers a batch brought: `node`, `time` and `peers` (source, destination) are of its flows."""
        for number in set(np.unique(node).tolist()) - self._warm.keys():
            self._warm[number] = int(time[node == number].min()) + int(WARMING * _SECOND)
        fresh = {one.peer: one for one in newborn}
        if not fresh:
            return
        numbers = np.array(sorted(fresh), dtype=np.int64)
        for ends in peers:
            for at in np.flatnonzero(np.isin(ends, numbers)).tolist():
                one = fresh.pop(int(ends[at]), None)
                if one is not None:
                    self._add(one, int(time[at]), int(time[at]) >= self._warm[int(node[at])])

    def _add(self, one: Newborn, time: int, is_new: bool) -> None:
        columns = (self._born, self._identity, self._is_host, self._is_pod, self._reused, self._before)
        for column in columns:
            column.grow(one.peer + 1)
        self._newest.grow(one.identity + 1)
        self._identity.values[one.peer] = one.identity
        self._is_host.values[one.peer] = one.kind is Kind.HOST
        self._is_pod.values[one.peer] = one.kind is Kind.POD
        if one.kind is not Kind.POD:
            return
        before = self._holder.get(one.ip)
        if one.ip:
            self._holder[one.ip] = one.identity
        if is_new:
            self._born.values[one.peer] = time
            self._newest.values[one.identity] = max(int(self._newest.values[one.identity]), time)
        if is_new and before is not None and before != one.identity:
            self._reused.values[one.peer] = time
            self._before.values[one.peer] = before

    def explain(self, suspects: Suspects, ledger: Ledger) -> Ints:
        """The class that explains each flow, 0 where none does."""
        found = np.zeros(len(suspects.time), dtype=np.int64)
        dropped = suspects.evidence == Evidence.DROPPED
        passed = suspects.evidence == Evidence.FORWARDED
        rules = (
            (FlowClass.IP_REUSE, self._reuses(suspects), None),
            (FlowClass.IDENTITY_RACE, dropped & self._starting(suspects), Declared.YES),
            (FlowClass.ROLLOUT, dropped & self._rolling(suspects), Declared.YES),
            (FlowClass.KUBELET_PROBE, passed & self._from_own_node(suspects), Declared.NO),
        )
        asked: dict[tuple[int, int, int, int], Declared] = {}
        for flow_class, candidates, wanted in rules:
            if flow_class in self._settings.judged:
                continue
            for at in np.flatnonzero(candidates & (found == 0)).tolist():
                edge = _edge(suspects, at)
                if edge not in asked:
                    asked[edge] = ledger.declares(*edge)
                if asked[edge] is wanted if wanted else self._meant_another(suspects, at, asked[edge], ledger):
                    found[at] = flow_class
        return found

    def _starting(self, suspects: Suspects) -> npt.NDArray[np.bool_]:
        """An end is a pod that was first heard of a moment ago."""
        window = int(self._settings.start * _SECOND)
        return _within(self._born, suspects.client, suspects.time, window) | _within(
            self._born, suspects.server, suspects.time, window
        )

    def _rolling(self, suspects: Suspects) -> npt.NDArray[np.bool_]:
        """The middle or the end of a connection, where the workload of an end has a new pod."""
        later = (suspects.tcp_flags & (ACK | FIN | RST) != 0) & (suspects.tcp_flags & SYN == 0)
        window = int(self._settings.rollout * _SECOND)
        sides = (_at(self._identity, peers) for peers in (suspects.client, suspects.server))
        new = [_within(self._newest, identities, suspects.time, window) for identities in sides]
        rolling: npt.NDArray[np.bool_] = later & (new[0] | new[1])
        return rolling

    def _from_own_node(self, suspects: Suspects) -> npt.NDArray[np.bool_]:
        # At a pod, `host` is the pod's own node: other nodes are `remote-node` there.
        arrives = suspects.side == Side.INGRESS
        is_own: npt.NDArray[np.bool_] = (_at(self._is_host, suspects.client) == 1) & arrives
        is_own &= _at(self._is_pod, suspects.server) == 1
        return is_own

    def _reuses(self, suspects: Suspects) -> npt.NDArray[np.bool_]:
        window = int(self._settings.reuse * _SECOND)
        return _within(self._reused, suspects.client, suspects.time, window) | _within(
            self._reused, suspects.server, suspects.time, window
        )

    def _meant_another(self, suspects: Suspects, at: int, declared: Declared, ledger: Ledger) -> bool:
        """Whether the pod that had the address before did have this very conversation."""
        if declared is Declared.YES and suspects.evidence[at] == Evidence.FORWARDED:
            return False
        client, server, protocol, port = _edge(suspects, at)
        for end, is_client in ((int(suspects.client[at]), True), (int(suspects.server[at]), False)):
            if end < len(self._reused) and self._reused.values[end]:
                meant = ledger.inside(int(self._before.values[end]))
                parties = (meant, server) if is_client else (client, meant)
                if ledger.knows(*parties, protocol, port):
                    return True
        return False


def _edge(suspects: Suspects, at: int) -> tuple[int, int, int, int]:
    columns = (suspects.client_party, suspects.server_party, suspects.protocol, suspects.port)
    client, server, protocol, port = (int(column[at]) for column in columns)
    return client, server, protocol, port


def _at(column: GrowingInts, numbers: Ints) -> Ints:
    """The column's values at these numbers; 0 for those it does not reach."""
    values = column.values
    if not len(values):
        return np.zeros(len(numbers), dtype=np.int64)
    return np.where(numbers < len(values), values[np.minimum(numbers, len(values) - 1)], 0)


def _within(column: GrowingInts, numbers: Ints, time: Ints, window: int) -> npt.NDArray[np.bool_]:
    since = _at(column, numbers)
    within: npt.NDArray[np.bool_] = (since > 0) & (time - since < window) & (time >= since)
    return within
