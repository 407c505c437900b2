"""Is a stream that says nothing quiet, or dead? Decided from counts and times alone.

A stream over a connection that died silently looks exactly like a cluster without traffic.
After a while without messages the server is asked how many flows it has seen. A stream is
called stalled only when the same nodes saw more flows between two answers, none of them came,
and none came either in the time that flows may spend in a relay's buffers.
"""

from __future__ import annotations

from dataclasses import dataclass

IN_TRANSIT = 5.0
"""Seconds that a flow counted by the server may need to reach us; a relay sorts for one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: flows seen since it started, and by how many nodes."""

    seen_flows: int
    nodes: int


class Liveness:
    """What is known about one stream. All times are those of one clock, in seconds."""

    def __init__(self, quiet_timeout: float, now: float, received: int) -> None:
        self.asked = False
        """Whether the server was ever asked because of quiet."""
        self._quiet_timeout = quiet_timeout
        self._quiet_since = now
        self._received = received
        self._before: tuple[Answer, int] | None = None
        self._suspected = False

    def should_ask(self, received: int, now: float) -> bool:
        """Whether nothing was received for long enough to ask the server; `received` counts messages."""
        # A clock that was set back would otherwise postpone the question for just as long.
        if received != self._received or now < self._quiet_since:
            self._received = received
            self._quiet_since = now
        if now - self._quiet_since < self._quiet_timeout:
            return False
        self.asked = True
        return True

    def stalled(self, answer: Answer | None, received: int, now: float) -> bool:
        """Take the server's answer (None: it says nothing about flows); True when the stream must be given up."""
        self._quiet_since = now
        if not self._missed(answer, received):
            self._before = None if answer is None else (answer, received)
            self._suspected = False
            return False
        if self._suspected:
            return True
        self._suspected = True
        self._quiet_since = now - max(0.0, self._quiet_timeout - IN_TRANSIT)
        return False

    def _missed(self, answer: Answer | None, received: int) -> bool:
        # A node that comes or goes moves the sum of all nodes without a single flow.
        if answer is None or self._before is None or self._before[1] != received:
            return False
        before = self._before[0]
        return answer.nodes == before.nodes and answer.seen_flows > before.seen_flows
