"""The coverage ledger: of every node and minute, what we saw and what we did not.

A node's flows come in the order of their time. So its newest flow proves that everything up to it has
reached us, and when a stream is opened again, the first flow tells whether anything was missed: one
that is no newer than the last one before (a *witness*) shows that the node still had all of it. Without a
witness, the time in between is a gap for ever. Between flows, a node that says twice in a row that it has
seen nothing new proves as much. What cannot be proved is not covered: a restart, a stall and a dead
connection all look alike from here. Pure bookkeeping; the streams' notices and the time are told to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from flowwatch.coverage_node import Gap, NodeLedger, Outage, StoredNode
from flowwatch.coverage_seen import Verdict
from flowwatch.coverage_windows import LONGEST, Windows, pieces
from flowwatch.model import NodeCoverage
from flowwatch.receive import Closed, Heard, Left, Listed, Notice, Opened, Shed

LOSS_SOURCES = (
    "perf_event_ring_buffer",
    "observer_events_queue",
    "hubble_ring_buffer",
    "other",
    "flowwatch",
    "unreported",
)
"""Who loses events: `flow.LostEventSource` 1, 2, 3 and everything newer; our own full queue; and whoever
lost flows that a node says it saw, without a word."""
RING, OTHER, OWN, UNREPORTED = 2, 3, 4, 5
TAIL = 45.0
"""Seconds at the end of a streaming node's time that need no proof yet."""
ABSURD_LOSS = 1 << 40
"""Events; whoever says that more were lost at once says nothing that can be counted."""
FLUSH_EVERY = 15.0
"""Seconds for which minutes are added up before they are handed to the store."""
REPLAY = 10.0
"""Seconds after a stream was opened in which its server may report the one event too many of a full ring."""
UNREACHED = "the relay did not reach the node"
UNRESOLVED = 120.0
"""Seconds after which a stream that was opened again and brought no flow proves no continuity any more."""

Key = tuple[str, str]
"""(cluster, node)."""


@dataclass(slots=True)
class Minute:
    """What is added to one minute of one node in the store."""

    connected_ms: int = 0
    recovered_ms: int = 0
    flows: int = 0
    lost: list[int] = field(default_factory=lambda: [0] * len(LOSS_SOURCES))
    lost_false: int = 0


class Coverage:
    """The coverage of all nodes of all clusters. One thread uses it."""

    def __init__(self, begun: float | None = None) -> None:
        self.live = True
        """Captures have no streams: no time is vouched for, and every share is that of the events known of."""
        self.lost = dict.fromkeys(LOSS_SOURCES, 0)
        self.lost_false = 0
        """Events reported as lost that were not."""
        self.gaps = 0
        """Outages that could not be recovered."""
        self.begun = begun
        """Since when this ledger is kept; None before anything was told to it."""
        self._nodes: dict[Key, NodeLedger] = {}
        self._streams: dict[str, Opened] = {}
        """The streams that are up, and how they were opened."""
        self._windows = Windows()
        self._minutes: defaultdict[tuple[int, Key], Minute] = defaultdict(Minute)
        self._gaps: list[Gap] = []
        self._flushed = 0.0
        self._urgent = False
        """Something was lost, or a node heard of first, since minutes were last handed over."""

    # ── what is told to it ───────────────────────────────────────────────────────────────────────

    def note(self, source: str, cluster: str, notice: Notice) -> dict[str, int]:
        """Take up what happened to a stream; gives the events it says are lost, by who lost them."""
        self._begin(notice.at)
        match notice:
            case Opened():
                self._streams[source] = notice
                for name in notice.nodes:
                    self._up(cluster, name, source, notice.at)
            case Closed():
                self._streams.pop(source, None)
                for node in self._of(source):
                    self._down(node, source, notice.at, notice.reason)
            case Heard():
                self._hear(source, cluster, notice)
            case Shed():
                for name, flows in notice.nodes.items():
                    self._node(cluster, name, notice.at).seen.shed(flows)
                    self._lose((cluster, name), OWN, flows, notice.at)
                return {LOSS_SOURCES[OWN]: sum(notice.nodes.values())}
            case Left():
                self._leave(self._nodes.get((cluster, notice.node)), notice.at)
            case Listed():
                self._list(source, cluster, notice)
        return {}

    def _hear(self, source: str, cluster: str, heard: Heard) -> None:
        for report in heard.nodes:
            if report.connected:
                node = self._up(cluster, report.name, source, heard.at)
                started = heard.at - report.uptime_ns / 1e9 if report.uptime_ns else 0.0
                self._settle(node, node.heard(heard.at, report.seen_flows, started), heard.at)
            else:
                self.node_is(source, cluster, report.name, False, heard.at, heard.at)

    def _list(self, source: str, cluster: str, listed: Listed) -> None:
        for node in list(self._nodes.values()):
            if node.cluster == cluster and node.name not in listed.nodes and node.sources <= {source}:
                self._leave(node, listed.at)
        for name in listed.nodes:
            self._node(cluster, name, listed.at).expect(listed.at)

    def node_is(self, source: str, cluster: str, name: str, streaming: bool, at: float, now: float) -> None:
        """A relay says that it reaches a node, or that it did not at some time. It says the latter late, and does
        not say that it reaches the node again: flows may have gone on since, with or without what was between."""
        self._begin(now)
        if streaming:
            self._up(cluster, name, source, now)
            return
        node = self._node(cluster, name, now)
        node.expect(now)
        if source in node.sources and node.outage is None and node.ours(node.cursor) > at:
            if node.repeated < at:
                self._vouch(node, min(node.proved, now))
                since, until = node.seen.around(node.theirs(at))
                self.gaps += 1
                self._gaps.append(Gap(cluster, name, since, min(until, node.cursor), UNREACHED))
                self._withdraw(node, node.ours(since), min(node.ours(until), node.booked))
            return
        self._down(node, source, at, UNREACHED)

    def repeats(self, cluster: str, name: str, now: float) -> None:
        """A server repeats flows of a node: whatever happened, it goes on from before."""
        self._nodes[cluster, name].repeated = now

    def first(self, source: str, cluster: str, name: str, time: float, now: float) -> None:
        """The first flow of a node in a batch, repeated or not: shows whether anything was missed."""
        node = self._up(cluster, name, source, now)
        outage, node.outage = node.outage, None
        if outage is None:
            return
        node.watch_clock(time, now)
        if outage.seamless or time <= (outage.cursor or node.theirs(outage.start)):
            node.resume(outage.start, outage.reopened)
        else:
            self._give_up(node, outage, time)
            node.resume(min(max(node.ours(time), outage.start), outage.reopened), outage.reopened)

    def received(self, cluster: str, name: str, newest: float, seconds: Mapping[int, int], now: float) -> Verdict:
        """Count fresh flows of a node by the second of their time; `newest` is the time of the newest. Gives what
        they show of the node's own count: losses that nobody reported, and reports that were false."""
        node = self._nodes[cluster, name]
        node.received(newest, now)
        for second, flows in seconds.items():
            node.flows += flows
            node.seen.received(second, flows)
            self._minutes[second // 60, node.key].flows += flows
            self._windows.count(node.number, second, flows=flows)
        return self._settle(node, node.seen.settle(newest), newest)

    def lose(self, source: str, cluster: str, name: str, who: int, events: int, at: float, now: float) -> str:
        """Count events that never reached us, by `flow.LostEventSource`; gives who lost them, or nothing where the
        report is known to be false: a server that reads all of a full ring reports one event too many, once."""
        index = who - 1 if 1 <= who <= RING + 1 else OTHER
        node = self._node(cluster, name, now)
        stream = self._streams.get(source)
        replays = stream is not None and stream.since is not None and now - stream.at < REPLAY
        if index == RING and events == 1 and replays and node.spurious != (source, stream.at if stream else 0.0):
            node.spurious = (source, stream.at if stream else 0.0)
            self._minutes[int(at // 60), node.key].lost_false += 1
            self.lost_false += 1
            return ""
        if index == RING:
            node.seen.claimed(events)
        self._lose(node.key, index, events, at)
        return LOSS_SOURCES[index]

    # ── what it says ─────────────────────────────────────────────────────────────────────────────

    def nodes(self) -> tuple[NodeCoverage, ...]:
        """Every node that is expected, by cluster and name."""
        return tuple(
            NodeCoverage(
                node.cluster, node.name, bool(node.sources), node.flows, node.lost, node.cursor,
                node.outage.reason if node.outage and not node.sources else "",
            )
            for node in sorted(self._nodes.values(), key=lambda node: node.key)
            if not node.gone
        )  # fmt: skip

    def interrupted(self) -> bool:
        """Is any node that is expected not streaming now?"""
        return not self._nodes or any(not node.sources for node in self._nodes.values() if not node.gone)

    def share(self, since: float, now: float) -> float:
        """The share (0…1) of what happened from `since` until now that we can vouch for. Time before the ledger
        was begun is not vouched for, and nothing is before any node was heard of."""
        if self.begun is None or now <= since or not self._nodes:
            return 0.0
        self.advance(now)
        expected = np.array([node.expected(now, TAIL) for node in self._nodes.values()])
        kept = self._windows.share(max(since, self.begun), now, expected)
        if kept is None:  # every stream has only just come up, or nothing is expected at all
            kept = 1.0 if any(node.sources for node in self._nodes.values()) else 0.0
        return kept * min((now - max(since, self.begun)) / (now - since), 1.0)

    def shares(self, now: float) -> Callable[[float], float]:
        """The share since a moment, for many moments; those within one minute share the answer, and no window is
        shorter than a minute, unless the ledger is."""
        if not self.live:
            delivered = self.delivered()
            return lambda _: delivered
        begun = self.begun if self.begun is not None else now
        known: dict[int, float] = {}

        def since(moment: float) -> float:
            minute = int(min(moment, now - 60.0) // 60)
            if minute not in known:
                known[minute] = self.share(max(minute * 60.0, begun), now)
            return known[minute]

        return since

    def delivered(self) -> float:
        """The share (0…1) of events that came, of all that are known of; for captures, which have no streams."""
        if not self._nodes:
            return 0.0
        shares = [node.flows / max(node.flows + node.lost, 1) if node.lost else 1.0 for node in self._nodes.values()]
        return sum(shares) / len(shares)

    def advance(self, now: float) -> None:
        """Vouch for what is proved by now, and give up waiting for what will not be proved any more."""
        if not self.live:
            return
        for node in self._nodes.values():
            outage = node.outage
            if node.sources and outage is None:
                self._vouch(node, min(node.proved, now))
            elif outage and outage.reopened and now - outage.reopened > UNRESOLVED:
                if not outage.seamless:
                    self._give_up(node, outage, node.theirs(outage.reopened))
                node.resume(outage.start if outage.seamless else outage.reopened, outage.reopened)
                node.outage = None

    # ── to the store and back ────────────────────────────────────────────────────────────────────

    def drain(
        self, now: float, everything: bool = False
    ) -> tuple[list[tuple[int, Key, Minute]], list[Gap], list[StoredNode]]:
        """What the store does not have yet: additions to minutes, gaps, and how every node stands. Minutes wait a
        little, so that there are not as many rows as commits, unless there is news or `everything` is asked."""
        self.advance(now)
        minutes: list[tuple[int, Key, Minute]] = []
        gaps, self._gaps = self._gaps, []
        if everything or gaps or self._urgent or now - self._flushed >= FLUSH_EVERY:
            self._flushed, self._urgent = now, False
            minutes = [(minute, key, amounts) for (minute, key), amounts in sorted(self._minutes.items())]
            self._minutes = defaultdict(Minute)
            for node in self._nodes.values():
                node.flushed = node.booked
        changed = [stored for node in self._nodes.values() if (stored := node.changed(now)) is not None]
        return minutes, gaps, changed

    def restore(self, nodes: Iterable[StoredNode], windows: Iterable[Mapping[str, float]], begun: float | None) -> None:
        """Go on from what an earlier run stored: nobody was watching since each node's last proof."""
        self.begun = begun
        for stored in nodes:
            node = self._node(stored.cluster, stored.node, stored.since)
            node.restore(stored)
            self._vouch(node, stored.proved)  # what was proved and not written down yet
        for row in windows:
            known = self._nodes.get((str(row["cluster"]), str(row["node"])))
            if known is None:
                continue
            at = float(row["start"])
            self._windows.cover(known.number, at, at + row["covered"])
            self._windows.count(known.number, at, flows=int(row["flows"]), lost=int(row["lost"]))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _begin(self, now: float) -> None:
        if self.begun is None:
            self.begun = now

    def _node(self, cluster: str, name: str, now: float) -> NodeLedger:
        node = self._nodes.get((cluster, name))
        if node is None:
            node = self._nodes[cluster, name] = NodeLedger(cluster, name, len(self._nodes), now)
            self._windows.grow(len(self._nodes))
            self._urgent = True
        return node

    def _of(self, source: str) -> Iterator[NodeLedger]:
        return (node for node in list(self._nodes.values()) if source in node.sources)

    def _up(self, cluster: str, name: str, source: str, at: float) -> NodeLedger:
        self._begin(at)
        node = self._node(cluster, name, at)
        if source not in node.sources:
            stream = self._streams.get(source)
            node.up(source, at, seamless=stream is not None and stream.seamless)
        return node

    def _down(self, node: NodeLedger, source: str, at: float, reason: str) -> None:
        if node.sources == {source} and node.outage is None:
            self._vouch(node, min(node.proved, at))
        node.down(source, at, reason)

    def _leave(self, node: NodeLedger | None, at: float) -> None:
        if node is None or node.gone:
            return
        for source in list(node.sources):
            self._down(node, source, at, "the node left the cluster")
        # What happened between its last flow and its end is nobody's loss that could be avoided, yet it was not seen.
        if node.outage is not None and at - node.outage.start > TAIL:
            self._give_up(node, node.outage, node.theirs(at))
        node.leave(at)

    def _vouch(self, node: NodeLedger, until: float) -> None:
        """Account for a node's time up to here: as recovered while a stream was down, as connected while it was up."""
        if until <= node.booked or not self.live:
            return
        node.booked = max(node.booked, until - LONGEST)  # a clock that was set right makes no work for years
        border = min(max(node.reopened, node.booked), until)
        for at, seconds in pieces(node.booked, border, 60.0):
            self._minutes[int(at // 60), node.key].recovered_ms += round(seconds * 1000)
        for at, seconds in pieces(border, until, 60.0):
            self._minutes[int(at // 60), node.key].connected_ms += round(seconds * 1000)
        self._windows.cover(node.number, node.booked, until)
        node.booked = until

    def _withdraw(self, node: NodeLedger, start: float, end: float) -> None:
        """Vouch no longer for time that turned out not to have been seen."""
        for at, seconds in pieces(start, end, 60.0):
            self._minutes[int(at // 60), node.key].connected_ms -= round(seconds * 1000)
        self._windows.cover(node.number, start, end, -1.0)

    def _give_up(self, node: NodeLedger, outage: Outage, until: float) -> None:
        """Write down a gap that nothing will ever fill, up to this time of the node's."""
        self.gaps += 1
        since = outage.cursor or node.theirs(outage.start)
        self._gaps.append(Gap(node.cluster, node.name, since, max(until, since), outage.reason))

    def _settle(self, node: NodeLedger, verdict: Verdict, at: float) -> Verdict:
        if verdict.unseen:
            self._lose(node.key, UNREPORTED, verdict.unseen, at)
        if verdict.false:
            self._false(node.key, verdict.false, at)
        return verdict

    def _lose(self, key: Key, index: int, events: int, at: float) -> None:
        events = min(events, ABSURD_LOSS)
        self._urgent = True
        self._minutes[int(at // 60), key].lost[index] += events
        self.lost[LOSS_SOURCES[index]] += events
        node = self._nodes[key]
        node.lost += events
        self._windows.count(node.number, at, lost=events)

    def _false(self, key: Key, events: int, at: float) -> None:
        """Take back losses of the ring that a node's own numbers disprove."""
        self._urgent = True
        minute = self._minutes[int(at // 60), key]
        minute.lost[RING] -= events
        minute.lost_false += events
        self.lost[LOSS_SOURCES[RING]] -= events
        self.lost_false += events
        node = self._nodes[key]
        node.lost -= events
        self._windows.count(node.number, at, lost=-events)
