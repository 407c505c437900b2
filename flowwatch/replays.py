"""Flows that come twice: servers repeat what they still have whenever a stream is opened again.

A repeated flow carries the same uuid; one without (old servers, field masks) is known by its content. In
steady state each node's flows come in the order of their time, so only flows no newer than what that node
already sent can be repeats: only for those are keys compared at all. What is remembered of a node is
what its server could still have: as many flows as its ring holds, and some more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.void]

RING = 4095
"""Events a node's ring holds unless it says otherwise."""
MARGIN = 1.25
"""Remembered for every event in the ring; flows of several sources of one node need some more."""
CHUNK = 512
"""Keys that are forgotten together, at least."""
MOST = 1_000_000
"""Keys remembered of all nodes together, which share it evenly; they take 24 bytes each."""


@dataclass(slots=True)
class _Remembered:
    """The newest flows of one node."""

    newest: int = -1
    capacity: int = int(RING * MARGIN)
    size: int = 0
    chunks: deque[tuple[Ints, Keys]] = field(default_factory=deque)


class Replays:
    """Remembers the newest flows of every node and says which of a batch were there before. One thread uses it.

    Nodes are numbers; times are nanoseconds; keys are 16 bytes each (`flowwatch.keys`).
    """

    def __init__(self) -> None:
        self._nodes: dict[int, _Remembered] = {}
        self.repeated = 0
        """Flows recognised as repeats so far."""

    def expect(self, node: int, ring: int) -> None:
        """The node's ring holds so many events."""
        self._nodes.setdefault(node, _Remembered()).capacity = max(int(ring * MARGIN), 1)

    def fresh(self, key: Keys, node: Ints, time: Ints) -> Bools:
        """Which flows of a batch are new."""
        order = np.argsort(node, kind="stable")
        numbers, starts = np.unique(node[order], return_index=True)
        fresh: Bools = np.ones(len(time), dtype=np.bool_)
        for number, rows in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            remembered = self._nodes.setdefault(number, _Remembered())
            fresh[rows] = _fresh(remembered, key[rows], time[rows])
            self._remember(remembered, key[rows], time[rows])
        self.repeated += int(len(time) - fresh.sum())
        return fresh

    def restore(self, node: int, key: Keys, time: Ints) -> None:
        """Remember flows that an earlier run stored, the oldest first."""
        remembered = self._nodes.setdefault(node, _Remembered())
        remembered.capacity = max(remembered.capacity, len(time))
        self._remember(remembered, key, time)

    def __len__(self) -> int:
        """Keys remembered now."""
        return sum(each.size for each in self._nodes.values())

    def remembered(self) -> Iterator[tuple[int, Ints, Keys]]:
        """All that is remembered, in pieces: a node, the times and keys of some of its flows."""
        for node, each in self._nodes.items():
            for time, key in each.chunks:
                yield node, time, key

    def oldest(self) -> dict[int, int]:
        """For each node the time before which nothing is remembered."""
        return {node: int(each.chunks[0][0].min()) for node, each in self._nodes.items() if each.chunks}

    def _remember(self, remembered: _Remembered, key: Keys, time: Ints) -> None:
        if not len(time):
            return
        remembered.newest = max(remembered.newest, int(time.max()))
        if remembered.chunks and len(remembered.chunks[-1][0]) < CHUNK:
            # Many small chunks would take more room than what is in them.
            times, keys = remembered.chunks.pop()
            remembered.chunks.append((np.concatenate([times, time]), np.concatenate([keys, key])))
        else:
            remembered.chunks.append((time.copy(), key.copy()))
        remembered.size += len(time)
        capacity = min(remembered.capacity, MOST // len(self._nodes))
        while len(remembered.chunks) > 1 and remembered.size - len(remembered.chunks[0][0]) >= capacity:
            remembered.size -= len(remembered.chunks.popleft()[0])


def _fresh(remembered: _Remembered, key: Keys, time: Ints) -> Bools:
    """Which flows of one node are new: not there before, neither in what is remembered nor earlier in the batch."""
    before = np.maximum.accumulate(np.r_[remembered.newest, time[:-1]])
    suspects = np.flatnonzero(time <= before)
    fresh: Bools = np.ones(len(time), dtype=np.bool_)
    if not len(suspects):
        return fresh
    oldest = int(time[suspects].min())
    known = [keys for times, keys in remembered.chunks if times.max() >= oldest]
    if known:
        fresh[suspects] = ~np.isin(key[suspects], np.concatenate(known))
    _, first = np.unique(key, return_index=True)
    earlier: Bools = np.ones(len(time), dtype=np.bool_)
    earlier[first] = False
    return fresh & ~earlier
