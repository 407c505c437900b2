"""A whole run: what happens in the cluster from a moment on, as a sequence of messages.

Pure: `traffic` reads no clock and yields the same bytes for the same arguments. Time passes in
ticks; each tick says how far it has come and how many flows ought to have been played by then. At
the start every declared edge is played once in a shuffled order; after that edges are chosen at
random by weight, and traps among them. Violations and traps keep to their own timetables.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from flowwatch.errors import FlowwatchError
from flowwatch.hubble import flow_pb2, relay_pb2
from flowwatch.model import Protocol, Square
from flowwatch.simulate.beats import SECOND
from flowwatch.simulate.cluster import Cluster, Node
from flowwatch.simulate.expected import expected
from flowwatch.simulate.messages import RELAY_NAME, lost_events, node_status
from flowwatch.simulate.noise import traps
from flowwatch.simulate.stage import Event, Scene, Stage
from flowwatch.simulate.violations import violations

TICK = 10_000_000
"""Nanoseconds between the ticks of a steady run."""
_TRAP_SHARE = 0.05
_LOSSES = 8
_FIRST_LOSS, _LOSS_EVERY = 4 * SECOND, 9 * SECOND
_LOST_BY = (
    flow_pb2.HUBBLE_RING_BUFFER,
    flow_pb2.PERF_EVENT_RING_BUFFER,
    flow_pb2.OBSERVER_EVENTS_QUEUE,
)
LOSERS = {
    "ring": flow_pb2.HUBBLE_RING_BUFFER,
    "perf": flow_pb2.PERF_EVENT_RING_BUFFER,
    "queue": flow_pb2.OBSERVER_EVENTS_QUEUE,
}
"""Short names of those who lose events."""


class Tick(NamedTuple):
    """How far time has come (ns since the epoch), and how many flows should be played by then."""

    time: int
    flows: float


@dataclass(frozen=True, slots=True)
class Script:
    """What is to happen besides the expected traffic.

    No new violation begins `violations_for` seconds after the start (None: they go on). `lost`
    events are reported lost in all. `failing_node` falls silent `failing_after` seconds after it.
    `lose` pairs who loses events (`ring`, `perf`, `queue`) with how many a second each node reports;
    `skew` pairs nodes with the seconds by which their clocks are ahead.
    """

    violations_for: float | None = None
    lost: int = 0
    failing_node: str = ""
    failing_after: float = 10.0
    lose: tuple[tuple[str, float], ...] = ()
    skew: tuple[tuple[str, float], ...] = ()

    def check(self, cluster: Cluster) -> None:
        """Raise FlowwatchError if it cannot happen in a cluster."""
        known = [node.name for node in cluster.nodes]
        for name in (self.failing_node, *(node for node, _ in self.skew)):
            if name and name not in known:
                raise FlowwatchError(f"there is no node {name!r}; the nodes are {', '.join(known)}")
        for name, _ in self.lose:
            if name not in LOSERS:
                raise FlowwatchError(f"{name!r} loses no events; it is one of {', '.join(LOSERS)}")


@dataclass(frozen=True, slots=True)
class Scenes:
    """Everything that can be played: the plan of a run."""

    expected: tuple[Scene, ...]
    violations: tuple[Scene, ...]
    traps: tuple[Scene, ...]


def plan(cluster: Cluster) -> Scenes:
    """The scenes of a cluster. Blocked edges are violations and so no expected traffic."""
    wrong = violations(cluster)
    blocked = {scene.case.edge for scene in wrong if scene.case.square is Square.BLOCKED}
    return Scenes(tuple(expected(cluster, without=blocked)), tuple(wrong), tuple(traps(cluster)))


def steady(start: int, rate: float) -> Iterator[Tick]:
    """Ticks of evenly passing time: `rate` flows a second from `start` (ns since the epoch) on, for ever."""
    for number in itertools.count(1):
        yield Tick(start + number * TICK, rate * number * TICK / SECOND)


def traffic(
    cluster: Cluster,
    seed: int,
    start: int,
    rate: float = 200.0,
    script: Script | None = None,
    *,
    scenes: Scenes | None = None,
    ticks: Iterable[Tick] | None = None,
) -> Iterator[Event]:
    """The messages of a run that begins at `start` (ns since the epoch), in the order of their times.

    `ticks` replace the steady passing of time at `rate` flows a second; the first must not be
    before `start`. Ends with the ticks, which by default never do.
    """
    return Run(cluster, seed, start, script or Script(), scenes or plan(cluster)).events(
        steady(start, rate) if ticks is None else ticks
    )


class Run:
    """One run. Its `events` can be iterated once."""

    def __init__(self, cluster: Cluster, seed: int, start: int, script: Script, scenes: Scenes) -> None:
        script.check(cluster)
        self._skews = {node: int(seconds * SECOND) for node, seconds in script.skew}
        self._stage = Stage(cluster, seed, self._skews)
        self._script = script
        self._start = start
        self._random = Random(f"choices {seed}")
        self._traps = scenes.traps
        self._expected = scenes.expected
        self._weights = list(itertools.accumulate(scene.weight for scene in scenes.expected))
        self._first_round = list(scenes.expected)
        self._random.shuffle(self._first_round)
        self._timetable = [
            (start + int(scene.first * SECOND), number, scene)
            for number, scene in enumerate((*scenes.violations, *scenes.traps))
        ]
        heapq.heapify(self._timetable)
        self._last_violation = None if script.violations_for is None else start + int(script.violations_for * SECOND)
        self._violations = frozenset(scene.case.id for scene in scenes.violations)
        self._stage.lookups = {
            ref: scene.case
            for ref, component in cluster.homelab.components.items()
            for scene in scenes.expected
            if scene.case.kind == "dns" and scene.case.source == component.title and scene.case.protocol is Protocol.UDP
        }

    def events(self, ticks: Iterable[Tick]) -> Iterator[Event]:
        """What happens, tick by tick."""
        bulletins = heapq.merge(self._losses(), self._failure(), self._rates(), key=lambda event: event.due)
        bulletin = next(bulletins, None)
        failing = self._script.failing_node
        fails_at = self._start + int(self._script.failing_after * SECOND)
        before = self._start
        for tick in ticks:
            self._advance(before, tick)
            before = tick.time
            for event in self._stage.due(tick.time):
                while bulletin is not None and bulletin.due <= event.due:
                    yield bulletin
                    bulletin = next(bulletins, None)
                if event.node != failing or event.due < fails_at:
                    yield event

    def _advance(self, before: int, tick: Tick) -> None:
        """Play what begins between two moments."""
        self._keep_timetable(tick.time)
        stage, chance = self._stage, self._random.random
        width = max(tick.time - before, 1)
        while stage.played < tick.flows:
            scene = self._choose()
            scene.act(stage, before + int(chance() * width), scene.case)

    def _choose(self) -> Scene:
        if self._first_round:
            return self._first_round.pop()
        if self._random.random() < _TRAP_SHARE:
            return self._random.choice(self._traps)
        return self._random.choices(self._expected, cum_weights=self._weights)[0]

    def _keep_timetable(self, now: int) -> None:
        while self._timetable[0][0] <= now:
            at, number, scene = self._timetable[0]
            wait = int(scene.every * SECOND * self._random.uniform(0.9, 1.1))
            heapq.heapreplace(self._timetable, (at + wait, number, scene))
            over = self._last_violation is not None and at >= self._last_violation
            if not (over and scene.case.id in self._violations):
                scene.act(self._stage, at, scene.case)

    def _losses(self) -> Iterator[Event]:
        """Reports of lost events, a few, by different nodes and for different reasons."""
        nodes = self._stage.cluster.nodes
        share, rest = divmod(self._script.lost, _LOSSES)
        for number in range(_LOSSES):
            count = share + (number < rest)
            if not count:
                return
            at = self._start + _FIRST_LOSS + number * _LOSS_EVERY
            yield self._lost(nodes[(2 * number + 3) % len(nodes)], _LOST_BY[number % len(_LOST_BY)], count, at, number)

    def _rates(self) -> Iterator[Event]:
        """Reports of events that are lost all the time, once a second by each node and each who loses some."""
        nodes, reported = self._stage.cluster.nodes, dict.fromkeys(self._script.lose, 0)
        for second in itertools.count(1) if reported else ():
            for (name, rate), before in reported.items():
                count = int(rate * second) - before
                reported[name, rate] = before + count
                for node in nodes if count else ():
                    yield self._lost(node, LOSERS[name], count, self._start + second * SECOND, second)

    def _lost(self, node: Node, source: flow_pb2.LostEventSource, count: int, at: int, number: int) -> Event:
        cpu = None if source == flow_pb2.HUBBLE_RING_BUFFER else number % 4
        told = at + self._skews.get(node.name, 0)
        message = lost_events(source, node.known_as, count, told - SECOND, told, cpu)
        return Event(told, node.name, message, lost=count, due=at)

    def _failure(self) -> Iterator[Event]:
        if self._script.failing_node:
            at = self._start + int(self._script.failing_after * SECOND)
            message = "rpc error: code = Unavailable desc = error reading from server: EOF"
            names = [node.known_as for node in self._stage.cluster.nodes if node.name == self._script.failing_node]
            yield Event(at, RELAY_NAME, node_status(relay_pb2.NODE_UNAVAILABLE, names, at, message), due=at)
