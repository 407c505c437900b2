"""One node in the coverage ledger: since when it is expected, up to when it is proved, and what is open.

Two clocks meet here: flows carry the node's time, streams open and close in ours. `ours` and `theirs`
translate, by the smallest delay with which flows have come lately. Pure; no time but what is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flowwatch.coverage_seen import Answer, SeenFlows, Verdict

SKEW = 2.0
"""Seconds by which clocks may differ before it is taken for more than delay."""
SKEW_SPAN = 300.0
"""Seconds for which a smallest delay is remembered at least."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Time of a node that was not seen and cannot be recovered. `since` is its last flow before, `until` its first
    flow after, in the node's own time, or where there is none the time of ours that comes nearest."""

    cluster: str
    node: str
    since: float
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class StoredNode:
    """What a restart must know of a node. Times in seconds; `gone` 0: it is still expected."""

    cluster: str
    node: str
    since: float
    gone: float
    cursor: float
    """Time of its newest flow."""
    proved: float
    """Up to when (our clock) nothing was missed."""
    skew: float = 0.0
    """How far its clock is ahead of ours."""
    noted: float = 0.0
    """When this was so."""
    booked: float = 0.0
    """Up to when its minutes are in the store."""


@dataclass(slots=True)
class Outage:
    """Time in which no stream brought the node's flows, until it is known what became of them."""

    start: float
    """Our time of the last proof before."""
    cursor: float
    """The node's time of its last flow before; 0 when there was none."""
    reason: str
    reopened: float = 0.0
    """Our time at which a stream was up again; 0: none is."""
    seamless: bool = False


@dataclass(slots=True)
class NodeLedger:
    """The books of one node. One thread uses it."""

    cluster: str
    name: str
    number: int
    since: float
    gone: float = 0.0
    sources: set[str] = field(default_factory=set)
    """The streams that bring its flows now."""
    booked: float = 0.0
    """Up to when its time is accounted for."""
    flushed: float = 0.0
    """What `booked` was when minutes were last handed to the store."""
    reopened: float = 0.0
    """When the stream that brings its flows was opened; what it brings of the time before is recovered."""
    proved: float = 0.0
    """Up to when nothing was missed."""
    cursor: float = 0.0
    flows: int = 0
    lost: int = 0
    outage: Outage | None = None
    repeated: float = 0.0
    """When its server last repeated flows."""
    spurious: tuple[str, float] = ("", 0.0)
    """The stream, and when it was opened, whose one false report of a lost event was seen."""
    seen: SeenFlows = field(default_factory=SeenFlows)
    _heard: float = 0.0
    _delay: tuple[float, float, float] | None = None
    """(smallest delay of this span, of the one before, when this span began)."""
    _stored: StoredNode | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(cluster, node)."""
        return self.cluster, self.name

    @property
    def skew(self) -> float:
        """How far the node's clock is ahead of ours; 0 within what delay explains."""
        if self._delay is None:
            return 0.0
        ahead = -min(self._delay[0], self._delay[1])
        return ahead if abs(ahead) > SKEW else 0.0

    def ours(self, time: float) -> float:
        """Our time at a time of the node's."""
        return time - self.skew

    def theirs(self, time: float) -> float:
        """The node's time at a time of ours."""
        return time + self.skew

    # ── what happens to it ───────────────────────────────────────────────────────────────────────

    def expect(self, at: float) -> None:
        """Somebody says that the node is there."""
        if self.gone:
            self.since, self.gone = at, 0.0
            self.outage, self.proved, self.booked = None, at, at

    def up(self, source: str, at: float, seamless: bool) -> None:
        """A stream brings its flows from now on."""
        self.expect(at)
        self.sources.add(source)
        if self.outage is None:
            if len(self.sources) == 1:
                self.booked = self.proved = self.reopened = max(self.proved, at)
        elif not self.outage.reopened:
            self.outage.reopened, self.outage.seamless = at, seamless

    def down(self, source: str, at: float, reason: str) -> None:
        """A stream does not bring its flows any more."""
        if source not in self.sources:
            return
        self.sources.discard(source)
        if self.sources:
            return
        if self.outage is None:
            self.outage = Outage(min(self.proved, at), self.cursor, reason)
        else:
            self.outage.reopened, self.outage.seamless = 0.0, False

    def resume(self, since: float, reopened: float) -> None:
        """An outage is over; what a stream that was opened at `reopened` brings is complete from `since` on."""
        self.outage, self.reopened = None, reopened
        self.booked = self.proved = since

    def leave(self, at: float) -> None:
        """The node is no longer expected."""
        self.gone, self.outage = at, None
        self.seen = SeenFlows()

    def received(self, newest: float, now: float) -> None:
        """Flows came, the newest of this time."""
        self.watch_clock(newest, now)
        self.cursor = max(self.cursor, newest)
        if self.outage is None:
            self.proved = max(self.proved, min(self.ours(self.cursor), now))

    def watch_clock(self, time: float, now: float) -> None:
        """Learn from a flow of this time how the two clocks differ."""
        delay = now - time
        if self._delay is None:
            self._delay = (delay, delay, now)
        elif now - self._delay[2] > SKEW_SPAN:
            self._delay = (delay, self._delay[0], now)
        else:
            self._delay = (min(delay, self._delay[0]), self._delay[1], self._delay[2])

    def heard(self, at: float, seen: int, started: float) -> Verdict:
        """The node, or a relay for it, answered: it has seen so many flows since it started (0 and 0: it does not
        say)."""
        answer = Answer(self.theirs(at), seen, self.theirs(started) if started else 0.0)
        says = bool(seen or started)
        quiet = self.seen.quiet_since(answer) if says else self._heard
        if self.outage is None and quiet:
            self.proved = max(self.proved, min(self.ours(quiet), at))
        self._heard = answer.at
        return self.seen.heard(answer) if says and self.outage is None else Verdict()

    # ── what it says ─────────────────────────────────────────────────────────────────────────────

    def expected(self, now: float, tail: float) -> tuple[float, float]:
        """From when to when its flows are expected; the last `tail` seconds of a stream that is up need no proof."""
        if self.gone:
            return self.since, self.gone
        fresh = self.sources and self.outage is None and now - self.booked < tail
        return self.since, self.booked if fresh else now

    def changed(self, now: float) -> StoredNode | None:
        """How it stands, if that can have changed since it was last asked."""
        if self.gone and self._stored is not None and self._stored.gone:
            return None
        proved = self.outage.start if self.outage else self.proved
        stands = StoredNode(
            self.cluster, self.name, self.since, self.gone, self.cursor, proved, self.skew, now, self.flushed
        )
        self._stored = stands
        return stands

    def restore(self, stored: StoredNode) -> None:
        """Go on from what was stored: nobody has watched since."""
        self.since, self.gone, self.cursor, self.proved = stored.since, stored.gone, stored.cursor, stored.proved
        self.booked = self.flushed = stored.booked
        self._delay = (-stored.skew, -stored.skew, stored.proved) if stored.skew else None
        if not stored.gone:
            self.outage = Outage(stored.proved, stored.cursor, "flowwatch was not running")
