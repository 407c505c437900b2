"""Where every stream is to go on: how far each of its nodes has come, and the place in a file.

Written by the thread that ingests, asked by the receivers' threads at every connect. Cursors are stored with
the rows they cover, so that after a crash nothing is asked for too late; what is asked for twice is
recognised. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OVERLAP = 5.0
"""Seconds asked for once more: a relay merges its nodes' flows only roughly in order, and the last flow before an
interruption must come again to prove that nothing is missing."""
CATCH_UP = 600.0
"""How far behind the newest node of a stream another may be for all to be asked for again; the ring of a node
that was away for longer is served by the relay when the node comes back, since a relay repeats the request."""

Key = tuple[str, str]
"""(cluster, node)."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a stream has come with one node (`position` empty, `time` of its newest flow), or in a file."""

    source: str
    cluster: str
    node: str
    time: float
    position: str = ""


class Cursors:
    """All cursors. Changed by one thread, asked by any."""

    def __init__(self) -> None:
        self._times: dict[str, dict[Key, float]] = {}
        self._positions: dict[str, Cursor] = {}
        self._changed: dict[tuple[str, str, str], Cursor] = {}
        self._begun: float | None = None

    def begin(self, at: float) -> None:
        """From here on flows are watched; a stream of a node that turns up later is asked for all since."""
        if self._begun is None:
            self._begun = at

    def move(self, source: str, cluster: str, node: str, time: float) -> None:
        """A flow of this time has come."""
        times = self._times.setdefault(source, {})
        if time > times.get((cluster, node), 0.0):
            times[cluster, node] = time
            self._changed[source, cluster, node] = Cursor(source, cluster, node, time)

    def place(self, source: str, cluster: str, position: str) -> None:
        """A file has been read up to here."""
        self._positions[source] = self._changed[source, cluster, ""] = Cursor(source, cluster, "", 0.0, position)

    def forget(self, cluster: str, node: str) -> None:
        """The node is gone: nobody waits for it any more."""
        for times in self._times.values():
            times.pop((cluster, node), None)

    def since(self, source: str) -> float | None:
        """The time from which a stream should repeat what its server still has; None before anything was watched."""
        times = list(self._times.get(source, {}).values())
        if not times:
            return self._begun
        return max(min(times), max(times) - CATCH_UP) - OVERLAP

    def position(self, source: str) -> str:
        """Where a file is to be read on; empty for a file nobody has read from."""
        cursor = self._positions.get(source)
        return cursor.position if cursor is not None else ""

    def drain(self) -> list[Cursor]:
        """The cursors that moved since the last call."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def renew(self) -> None:
        """Hand all cursors over again at the next `drain`."""
        for source, times in self._times.items():
            for (cluster, node), time in times.items():
                self._changed[source, cluster, node] = Cursor(source, cluster, node, time)
        for source, place in self._positions.items():
            self._changed[source, place.cluster, ""] = place

    def restore(self, cursors: Iterable[Cursor], begun: float | None) -> None:
        """Go on from what was stored."""
        if begun is not None:
            self._begun = begun
        for cursor in cursors:
            if cursor.node:
                self._times.setdefault(cursor.source, {})[cursor.cluster, cursor.node] = cursor.time
            else:
                self._positions[cursor.source] = cursor
