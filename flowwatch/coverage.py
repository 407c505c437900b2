"""What we did not see: nodes that were not streaming, and events others lost before they reached us.

A conclusion is only as good as the coverage of its window, so this ledger is asked before anything
is said to be absent. Pure bookkeeping; the stream's state and the time are told to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flowwatch.model import NodeCoverage

LOSS_SOURCES = ("perf_event_ring_buffer", "observer_events_queue", "hubble_ring_buffer", "other")
"""Who loses events, in the order of `flow.LostEventSource` 1, 2, 3 and everything newer."""

Ints = npt.NDArray[np.int64]
Minute = tuple[float, str, int, int, int, int, int, bool]


@dataclass(slots=True)
class _Node:
    streaming: bool = True
    flows: int = 0
    lost: int = 0
    last_flow: float = 0.0


@dataclass(slots=True)
class _Tally:
    flows: int = 0
    lost: list[int] = field(default_factory=lambda: [0, 0, 0, 0])


class Coverage:
    """The coverage of one cluster, node by node. One thread uses it."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._nodes: dict[str, _Node] = {}
        self._tallies: dict[tuple[int, str], _Tally] = {}
        self.lost = dict.fromkeys(LOSS_SOURCES, 0)
        self.interrupted = False
        """The stream as a whole is down: no node can be vouched for."""

    def received(self, names: list[str], node: Ints, time: Ints, weight: Ints, now: float) -> None:
        """Count flows; `node` indexes `names`, `time` is in nanoseconds."""
        counts = np.bincount(node, weights=weight, minlength=len(names)).astype(np.int64)
        newest = np.zeros(len(names), dtype=np.int64)
        np.maximum.at(newest, node, time)
        for at in np.flatnonzero(counts).tolist():
            known = self._nodes.setdefault(names[at], _Node())
            known.streaming = True
            known.flows += int(counts[at])
            known.last_flow = max(known.last_flow, int(newest[at]) / 1e9)
            self._tally(names[at], now).flows += int(counts[at])

    def lose(self, node: str, source: int, events: int, now: float) -> str:
        """Count events that never reached us; gives the name of who lost them."""
        index = source - 1 if 1 <= source <= 3 else 3
        name = LOSS_SOURCES[index]
        self.lost[name] += events
        self._nodes.setdefault(node, _Node()).lost += events
        self._tally(node, now).lost[index] += events
        return name

    def node_is(self, node: str, streaming: bool, now: float) -> None:
        """A node's stream came up or went away."""
        self._nodes.setdefault(node, _Node()).streaming = streaming
        self._tally(node, now)

    def nodes(self) -> tuple[NodeCoverage, ...]:
        """Every node heard of, by name."""
        return tuple(
            NodeCoverage(
                self._cluster, name, node.streaming and not self.interrupted, node.flows, node.lost, node.last_flow
            )
            for name, node in sorted(self._nodes.items())
        )

    def ratio(self) -> float:
        """The share (0…1) of what happened that we can vouch for: of each node's events those that
        reached us, and nothing of a node that is not streaming. Nothing at all before any node was heard of."""
        if not self._nodes:
            return 0.0
        shares = (
            (node.flows / max(node.flows + node.lost, 1) if node.lost else 1.0)
            if node.streaming and not self.interrupted
            else 0.0
            for node in self._nodes.values()
        )
        return sum(shares) / len(self._nodes)

    def drain(self, now: float) -> list[Minute]:
        """What was counted since the last call, by minute and node; quiet nodes are there with zeros."""
        for name in self._nodes:
            self._tally(name, now)
        tallies, self._tallies = self._tallies, {}
        return [
            (minute * 60.0, name, tally.flows, *_four(tally.lost), self._nodes[name].streaming and not self.interrupted)
            for (minute, name), tally in sorted(tallies.items())
        ]

    def _tally(self, node: str, now: float) -> _Tally:
        return self._tallies.setdefault((int(now // 60), node), _Tally())


def _four(values: list[int]) -> tuple[int, int, int, int]:
    perf, queue, ring, other = values
    return perf, queue, ring, other
