"""Whatever is cut, restarted, overwritten or killed: every flow is taken in once, or the ledger says it was not seen.

The arrivals, cursors, replays and the ledger are driven through random schedules against a naive model of
nodes with rings (`tests/support/ring_model.py`), crashes of flowwatch itself included: what was not
committed is forgotten with its cursors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.arrivals import Arrivals, RecentKeys
from flowwatch.counts import Counts
from flowwatch.coverage_node import Gap, StoredNode
from flowwatch.cursors import Cursor
from flowwatch.decode import best_decoder
from flowwatch.receive import Batch, Closed, Heard, NodeReport, Opened
from flowwatch.stream_rows import recent_keys, recent_rows
from tests.support.ring_model import STEP, Node, Stream

BEGIN = 1_790_000_000.0


@dataclass
class Stored:
    """What survives a crash."""

    uuids: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    nodes: dict[str, StoredNode] = field(default_factory=dict)
    cursors: dict[tuple[str, str], Cursor] = field(default_factory=dict)
    recent: list[pa.Table] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    connected: dict[str, float] = field(default_factory=dict)


class World:
    """One flowwatch and its nodes, with a stream each or one relay for all."""

    def __init__(self, nodes: list[Node]) -> None:
        self.now = BEGIN
        self.nodes = nodes
        self.streams: dict[str, Stream] = {}
        self.stored = Stored()
        self.decoder = best_decoder()
        self.numbers = {node.name: at for at, node in enumerate(nodes)}
        self.taken: list[str] = []
        self.lost: dict[str, int] = {}
        self.arrivals = self.make()

    def make(self) -> Arrivals:
        """A flowwatch that goes on from what is stored."""
        made = Arrivals(self.decoder, lambda _, name: self.numbers[name])
        stored = list(self.stored.nodes.values())
        begun = min((node.since for node in stored), default=None)
        made.cursors.restore(self.stored.cursors.values(), begun)
        made.coverage.restore(stored, (), begun)
        if self.stored.recent:
            recent = recent_keys(pa.concat_tables(self.stored.recent))
            order = np.lexsort((recent.time, recent.node))
            made.restore(RecentKeys(recent.node[order], recent.time[order], recent.key[order]))
        return made

    # ── what can happen ──────────────────────────────────────────────────────────────────────────

    def flows(self, at: int, count: int) -> None:
        """A node emits flows."""
        for _ in range(count):
            self.now += STEP
            self.nodes[at].emit(self.now)

    def deliver(self, at: int, most: int) -> None:
        """Some of what a node's stream has arrives."""
        node = self.nodes[at]
        stream = self.streams.get(node.name)
        if stream is not None:
            stream.read()
            self.take(node, stream.take(most))

    def open(self, at: int) -> None:
        """A stream comes up."""
        node = self.nodes[at]
        if node.name not in self.streams:
            since = self.arrivals.cursors.since(node.name)
            self.streams[node.name] = Stream.open(node, since)
            self.take(node, [], Opened(self.now, since, (node.name,)))

    def cut(self, at: int) -> None:
        """A stream breaks; what was on its way is gone."""
        node = self.nodes[at]
        if self.streams.pop(node.name, None) is not None:
            self.take(node, [], Closed(self.now, self.now, "cut"))

    def ask(self, at: int) -> None:
        """A node answers how much it has seen."""
        node = self.nodes[at]
        if node.name in self.streams:
            uptime = int((self.now - (node.started or BEGIN - 1000)) * 1e9)
            self.take(node, [], Heard(self.now, (NodeReport(node.name, True, node.seen, uptime, 0, node.capacity),)))

    def restart_agent(self, at: int) -> None:
        """An agent restarts; its stream breaks and its ring is lost."""
        self.cut(at)
        self.now += STEP
        self.nodes[at].restart(self.now)

    def commit(self) -> None:
        """Everything taken in so far becomes durable at once."""
        stored, arrivals = self.stored, self.arrivals
        stored.uuids += self.taken
        self.taken = []
        recent, _ = arrivals.drain(self.now)
        if recent is not None:
            stored.recent.append(recent_rows(recent))
        stored.cursors |= {(each.source, each.node): each for each in arrivals.cursors.drain()}
        minutes, gaps, nodes = arrivals.coverage.drain(self.now)
        stored.gaps += gaps
        stored.nodes |= {node.node: node for node in nodes}
        stored.lost = {name: stored.lost.get(name, 0) + count for name, count in self.lost.items()} | {
            name: count for name, count in stored.lost.items() if name not in self.lost
        }
        self.lost = {}
        for _, (_, node), amounts in minutes:
            seconds = (amounts.connected_ms + amounts.recovered_ms) / 1000
            stored.connected[node] = stored.connected.get(node, 0.0) + seconds

    def crash(self) -> None:
        """flowwatch dies and starts again: what was not committed never happened."""
        self.taken, self.lost, self.streams = [], {}, {}
        self.now += STEP
        self.arrivals = self.make()

    def take(self, node: Node, messages: list[bytes], *notices: object) -> None:
        """flowwatch ingests."""
        counts = Counts()
        batch = Batch(node.name, "c", messages, notices)  # type: ignore[arg-type]
        for columns in self.arrivals.take(batch, counts, self.now):
            self.taken += columns.uuid.to_pylist()
        if counts.lost["hubble_ring_buffer"]:
            self.lost[node.name] = self.lost.get(node.name, 0) + counts.lost["hubble_ring_buffer"]

    def settle(self) -> None:
        """Everything comes up, and all there is arrives."""
        for at, node in enumerate(self.nodes):
            self.open(at)
            self.flows(at, 2)
            self.deliver(at, 10**6)
            assert not self.streams[node.name].queue
        self.commit()


STEPS = st.one_of(
    st.tuples(st.just("flows"), st.integers(0, 1), st.integers(1, 12)),
    st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(1, 12)),
    st.tuples(st.just("open"), st.integers(0, 1)),
    st.tuples(st.just("cut"), st.integers(0, 1)),
    st.tuples(st.just("ask"), st.integers(0, 1)),
    st.tuples(st.just("restart_agent"), st.integers(0, 1)),
    st.tuples(st.just("commit")),
    st.tuples(st.just("crash")),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=40), st.sampled_from([3, 8, 31]), st.sampled_from([0.0, 40.0, -40.0]))
def test_every_flow_is_taken_once_or_accounted_for(
    schedule: list[tuple[str, int, int]], capacity: int, skew: float
) -> None:
    """The exact invariant, whatever happens in whatever order."""
    world = World([Node("a", capacity), Node("b", 31, skew)])
    world.flows(0, 1)
    world.flows(1, 1)
    world.open(0)
    world.open(1)
    for name, *arguments in schedule:
        getattr(world, name)(*arguments)
    world.settle()
    check(world)


def check(world: World) -> None:
    """No flow twice; each that is missing lies in a gap or was reported lost; no gap where nothing is missing."""
    stored = world.stored
    assert len(stored.uuids) == len(set(stored.uuids)), "stored twice"
    there = set(stored.uuids)
    for node in world.nodes:
        have = [number for number in range(len(node.emitted)) if node.uuid(number) in there]
        missing = [number for number in range(have[0], len(node.emitted)) if node.uuid(number) not in there]
        gaps = [gap for gap in stored.gaps if gap.node == node.name]
        outside = [
            number
            for number in missing
            if not any(gap.since - 1e-6 <= node.emitted[number] <= gap.until + 1e-6 for gap in gaps)
        ]
        assert len(outside) <= stored.lost.get(node.name, 0), (node.name, outside, gaps)
        for gap in gaps:
            inside = [n for n in missing if gap.since - 1e-6 <= node.emitted[n] <= gap.until + 1e-6]
            # Before any flow came there is nothing to recognise, and when the ring has just overwritten the last flow
            # that came, its successor proves nothing: in neither case is there a proof that nothing was missed.
            recognisable = have and node.emitted[have[0]] <= gap.since + 1e-6
            between = [time for time in node.emitted if gap.since + 1e-6 < time < gap.until - 1e-6]
            assert inside or node.forgotten or not recognisable or not between, (node.name, "nothing is missing", gap)
        span = world.now - BEGIN
        assert stored.connected.get(node.name, 0.0) <= span + 0.01


@pytest.mark.parametrize("capacity", [3, 31])
def test_an_undisturbed_stream_misses_nothing(capacity: int) -> None:
    """The simplest schedule of all, and the time it vouches for."""
    world = World([Node("a", capacity)])
    world.flows(0, 1)
    world.open(0)
    for _ in range(30):
        world.flows(0, 2)
        world.deliver(0, 100)
    world.settle()
    check(world)
    assert not world.stored.gaps
    assert world.stored.connected["a"] == pytest.approx(world.now - BEGIN - STEP, abs=1.0)
