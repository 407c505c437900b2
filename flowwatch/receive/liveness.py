"""Is a stream that says nothing quiet, or dead? Decided from counts and times alone.

A stream over a connection that died silently looks exactly like a cluster without traffic. So the
server is asked now and then how many flows it has seen. A stream is silent when neither messages
nor answers came for the quiet timeout. It is stalled when no message came for that long although
the same nodes saw more flows between two answers, and had the time to deliver them.
"""

from __future__ import annotations

from dataclasses import dataclass

IN_TRANSIT = 5.0
"""Seconds that a flow counted by the server may need to reach us; a relay sorts for one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: flows seen since it started, and by how many nodes."""

    seen_flows: int
    nodes: int = 1


class Liveness:
    """What is known about one stream. All times are those of one monotonic clock, in seconds."""

    def __init__(self, quiet_timeout: float, now: float, received: int) -> None:
        self.alive = now
        """When the stream began, or the server last answered."""
        self._quiet_timeout = quiet_timeout
        self._moved = now
        self._received = received
        self._before: Answer | None = None
        self._missing_since: float | None = None

    def hear(self, answer: Answer | None, received: int, now: float) -> None:
        """Take an answer of the server; None where it says nothing about flows. `received` counts messages."""
        self.look(received, now)
        self.alive = now
        before = self._before
        # A node that comes or goes moves the sum of all nodes without a single flow.
        if answer is None or before is None or answer.nodes != before.nodes or answer.seen_flows < before.seen_flows:
            self._before, self._missing_since = answer, None
        # Each node holds its newest event back until the next one comes.
        elif answer.seen_flows - before.seen_flows > max(1, answer.nodes) and self._missing_since is None:
            self._missing_since = now

    def look(self, received: int, now: float) -> str:
        """What the stream is at `now`: `silent`, `stalled`, or empty when all is well."""
        if received != self._received:
            self._received = received
            self._moved = now
            self._before = self._missing_since = None
        if now - max(self.alive, self._moved) >= self._quiet_timeout:
            return "silent"
        missing = self._missing_since
        if missing is not None and now - missing >= IN_TRANSIT and now - self._moved >= self._quiet_timeout:
            return "stalled"
        return ""
