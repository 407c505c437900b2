"""How much of a span of time can be vouched for: covered time and delivered flows of every node, by slots.

Two resolutions are kept, minutes for some hours and hours for some days, so that the share of any
window up to the longest is a few vector operations over all nodes. Pure bookkeeping; times are
seconds since the epoch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MINUTES = 180
"""Minutes kept one by one."""
HOURS = 24 * 8
"""Hours kept; the longest window that can be asked for."""
LONGEST = 3600.0 * HOURS
"""The same in seconds."""

Floats = npt.NDArray[np.float64]


class _Slots:
    """Numbers of every node in the newest `count` slots of `width` seconds; older ones are forgotten."""

    def __init__(self, width: float, count: int) -> None:
        self.width, self.count = width, count
        self._tags = np.full(count, -1, dtype=np.int64)
        self.covered = np.zeros((0, count))
        self.flows = np.zeros((0, count))
        self.lost = np.zeros((0, count))

    def add(self, table: str, node: int, at: float, amount: float) -> None:
        slot = int(at // self.width)
        column = slot % self.count
        if self._tags[column] > slot:
            return  # older than what is kept
        if self._tags[column] < slot:
            self._tags[column] = slot
            for values in (self.covered, self.flows, self.lost):
                values[:, column] = 0.0
        getattr(self, table)[node, column] += amount

    def grow(self, nodes: int) -> None:
        missing = nodes - len(self.covered)
        if missing > 0:
            self.covered, self.flows, self.lost = (
                np.vstack([values, np.zeros((missing, self.count))]) for values in (self.covered, self.flows, self.lost)
            )

    def weighed(self, since: float, until: float, expected: Floats) -> tuple[float, float]:
        """(seconds vouched for, seconds expected) of all nodes in a window; `expected` holds each node's
        first and last second. Covered time counts no more than the window has of its slot."""
        slots = np.arange(int(since // self.width), int(-(-until // self.width)))[-self.count :]
        columns = slots % self.count
        starts = np.maximum(slots * self.width, since)
        ends = np.minimum((slots + 1) * self.width, until)
        wanted = np.clip(
            np.minimum(ends, expected[:, 1, None]) - np.maximum(starts, expected[:, 0, None]), 0.0, self.width
        )
        known = self._tags[columns] == slots
        covered = np.where(known, self.covered[:, columns], 0.0)
        flows, lost = (np.where(known, values[:, columns], 0.0) for values in (self.flows, self.lost))
        delivered = np.where(lost > 0, flows / np.maximum(flows + lost, 1.0), 1.0)
        # A slot at the window's edge is wider than the window: of its covered time as much counts as fits.
        return float((np.minimum(covered, wanted) * delivered).sum()), float(wanted.sum())


class Windows:
    """The slots of all nodes. One thread uses it."""

    def __init__(self) -> None:
        self._minutes = _Slots(60.0, MINUTES)
        self._hours = _Slots(3600.0, HOURS)

    def grow(self, nodes: int) -> None:
        """Make room for so many nodes."""
        self._minutes.grow(nodes)
        self._hours.grow(nodes)

    def cover(self, node: int, start: float, end: float, sign: float = 1.0) -> None:
        """Vouch for a node's time from `start` to `end`; with a `sign` of -1, no longer."""
        for slots in (self._minutes, self._hours):
            for at, seconds in pieces(max(start, end - slots.width * slots.count), end, slots.width):
                slots.add("covered", node, at, seconds * sign)

    def count(self, node: int, at: float, *, flows: int = 0, lost: int = 0) -> None:
        """Count flows that came and events that did not; a negative `lost` takes back."""
        for slots in (self._minutes, self._hours):
            if flows:
                slots.add("flows", node, at, flows)
            if lost:
                slots.add("lost", node, at, lost)

    def share(self, since: float, until: float, expected: Floats) -> float | None:
        """The share (0…1) of the nodes' time in a window that can be vouched for, each weighed by the part
        of its events that came; None where there is no such time. `expected`: (node, first and last second it
        was expected)."""
        if until <= since or not len(expected):
            return None
        slots = self._minutes if until - since <= 60.0 * (MINUTES - 2) else self._hours
        covered, wanted = slots.weighed(since, until, expected)
        return min(covered / wanted, 1.0) if wanted > 0 else None


def pieces(start: float, end: float, width: float) -> list[tuple[float, float]]:
    """A span cut at the slots' borders: (where a piece begins, its length)."""
    cut = []
    while start < end:
        border = min((start // width + 1) * width, end)
        cut.append((start, border - start))
        start = border
    return cut
