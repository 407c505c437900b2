"""Flows that come twice: servers repeat what they still have whenever a stream is opened again.

A repeated flow carries the same uuid. In steady state each node's flows come in the order of their
time, so only flows no newer than what that node already sent can be repeats: only for those are
uuids compared at all. Flows without a uuid (old servers, field masks) are never taken for repeats.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REMEMBERED = 200_000
"""Flows whose uuids are remembered; the ring buffers of some fifty nodes."""


class Replays:
    """Remembers the newest flows and says which of a batch were there before. One thread uses it."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._limit = remembered
        self._batches: deque[pa.StringArray] = deque()
        self._size = 0
        self._newest: dict[str, int] = {}
        self.repeated = 0
        """Flows recognised as repeats so far."""

    def fresh(self, uuid: pa.StringArray, nodes: list[str], node: Ints, time: Ints) -> Bools:
        """Which flows of a batch are new; `node` indexes `nodes`, `time` is in nanoseconds."""
        newest = np.array([self._newest.get(name, -1) for name in nodes] or [-1], dtype=np.int64)
        suspects = np.flatnonzero(time <= newest[node])
        fresh = np.ones(len(time), dtype=np.bool_)
        if len(suspects) and self._size:
            known = {value for batch in self._batches for value in batch.to_pylist()} - {""}
            for at, value in zip(suspects.tolist(), uuid.take(pa.array(suspects)).to_pylist(), strict=True):
                fresh[at] = value not in known
        self.repeated += int(len(time) - fresh.sum())
        self._remember(uuid, nodes, node, time)
        return fresh

    def _remember(self, uuid: pa.StringArray, nodes: list[str], node: Ints, time: Ints) -> None:
        latest = np.full(max(len(nodes), 1), -1, dtype=np.int64)
        np.maximum.at(latest, node, time)
        for name, moment in zip(nodes, latest.tolist(), strict=False):
            if moment > self._newest.get(name, -1):
                self._newest[name] = moment
        # A copy: the original would keep the whole decoded batch alive.
        self._batches.append(uuid.copy_to(pa.default_cpu_memory_manager()))
        self._size += len(uuid)
        while self._size > self._limit and len(self._batches) > 1:
            self._size -= len(self._batches.popleft())
