"""What a node says it has seen, held against what came: loss that nobody reported, and reports of loss that was none.

A node counts every flow it sees. Between two of its answers it saw as many as the difference says, and
those flows carry times between the two answers; so once newer flows have come, whatever is missing of
them is lost, whoever kept quiet about it, and losses reported beyond that number never happened. Clocks
and the network blur the borders by `BLUR`: in doubt nothing is claimed. Pure; times are the node's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BLUR = 2.0
"""Seconds around an answer in which a flow may count as before or after it."""
UNREADABLE = 1
"""A node's ring keeps its newest event to itself until the next one is written."""
KEPT = 600
"""Seconds for which flows are counted one by one; an answer older than that is not looked at any more."""
RESTARTED = 5.0
"""A node whose start moved by more than this many seconds has restarted and counts anew."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A node's answer: when, how many flows it has seen, and when it started (0: it did not say)."""

    at: float
    seen: int
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison brought to light since the last one."""

    unseen: int = 0
    """Flows that are missing although nobody said so."""
    false: int = 0
    """Events reported as lost that were not."""


@dataclass(slots=True)
class SeenFlows:
    """The books of one node. One thread uses it."""

    _base: Answer | None = None
    _last: Answer | None = None
    _open: list[Answer] = field(default_factory=list)
    _seconds: Counter[int] = field(default_factory=Counter)
    _older: int = 0
    _claimed: int = 0
    """Ring losses reported since the base, less those found false."""
    _known: int = 0
    """Missing flows that are already accounted for by somebody else: given up by us, or found missing before."""

    def received(self, second: int, flows: int) -> None:
        """So many flows of the node carry times in this second."""
        self._seconds[second] += flows

    def claimed(self, events: int) -> None:
        """The ring is reported to have lost events."""
        self._claimed += events

    def shed(self, flows: int) -> None:
        """Flows came and were given up by us."""
        self._known += flows

    def around(self, time: float) -> tuple[float, float]:
        """A span around a time in which flows may be missing, to the second: what came in the very second of it may
        have come before or after it."""
        second = int(time)
        before = max((each for each in self._seconds if each < second), default=second)
        after = min((each for each in self._seconds if each > second), default=second)
        return float(before), after + 1.0

    def quiet_since(self, answer: Answer) -> float:
        """Up to when this answer proves that nothing is outstanding: the answer before, if the node has seen
        nothing since; 0 if it proves nothing. Call it before `heard`."""
        last = self._last
        same = last is not None and last.seen == answer.seen and not _restarted(last, answer)
        return last.at if same and last is not None else 0.0

    def heard(self, answer: Answer) -> Verdict:
        """Take up an answer. What it proves is known once newer flows came, or once the node says again that it has
        seen nothing more."""
        quiet = self.quiet_since(answer) > 0
        if self._base is None or _restarted(self._base, answer) or (self._last and answer.seen < self._last.seen):
            self._base, self._open = answer, []
            self._older, self._claimed, self._known = 0, 0, 0
            self._seconds = Counter({second: n for second, n in self._seconds.items() if second >= answer.at - BLUR})
        else:
            self._open.append(answer)
        self._last = answer
        return self.settle(answer.at) if quiet else Verdict()

    def settle(self, newest: float) -> Verdict:
        """Compare every answer that flows up to `newest` have passed."""
        unseen = false = 0
        while self._open and self._open[0].at + BLUR < newest:
            answer = self._open.pop(0)
            assert self._base is not None
            saw = answer.seen - self._base.seen
            # Of a node that had seen nothing, every flow came after.
            blur = BLUR if self._base.seen else -BLUR
            missing = saw - self._between(self._base.at - BLUR, answer.at + BLUR) - UNREADABLE
            lost = missing - self._claimed - self._known
            if lost > 0:
                unseen += lost
                self._known += lost
            possible = saw - self._between(self._base.at + blur, answer.at - BLUR) + UNREADABLE
            excess = min(self._claimed, self._claimed + self._known - max(possible, 0))
            if excess > 0:
                false += excess
                self._claimed -= excess
        self._fold(newest)
        return Verdict(unseen, false)

    def _between(self, since: float, until: float) -> int:
        return self._older + sum(n for second, n in self._seconds.items() if since <= second <= until)

    def _fold(self, newest: float) -> None:
        """Sum up what is too old to be told apart; it is after the base, and before any answer to come."""
        if len(self._seconds) > KEPT:
            base = self._base.at - BLUR if self._base else newest
            for second in [second for second in self._seconds if second < newest - KEPT / 2]:
                flows = self._seconds.pop(second)
                self._older += flows if second >= base else 0


def _restarted(before: Answer, after: Answer) -> bool:
    return bool(before.started and after.started and abs(after.started - before.started) > RESTARTED)
