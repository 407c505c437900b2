"""Doing faults: to the servers, the agents behind them, and what the cluster says of its nodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from flowwatch.simulate.agent import Agent
from flowwatch.simulate.endpoint import Endpoint
from flowwatch.simulate.faults import LASTING, Fault, Mode
from flowwatch.simulate.gate import Gate
from flowwatch.simulate.journal import Journal
from flowwatch.simulate.peers import PeerBook
from flowwatch.simulate.ring import Rings
from flowwatch.simulate.schedule import Timetable


@dataclass(slots=True, eq=False)
class Target:
    """What a fault can be done to: the relay, or an agent, which may have no server of its own."""

    gate: Gate
    endpoint: Endpoint | None = None
    agent: Agent | None = None


@dataclass(slots=True, eq=False)
class Harm:
    """Does faults at once or at their time. The relay's name among the `targets` is empty; `clock` is in seconds."""

    targets: Mapping[str, Target]
    book: PeerBook
    rings: Rings
    journal: Journal
    timetable: Timetable
    clock: Callable[[], float]
    lock: threading.RLock

    def inject(self, fault: Fault) -> Callable[[], None]:
        """Let a fault begin now; return what ends it before its time. Raises FlowwatchError if it cannot happen.

        When this returns, connections are broken; streams that end by the server's word do so within moments.
        """
        fault = fault.check([name for name in self.targets if name])
        names = list(self.targets) if fault.node == "*" else [fault.node]
        faults = [replace(fault, node=name) for name in names]
        with self.lock:
            lifts = [self._begin(each) for each in faults]

        def lift() -> None:
            for each in lifts:
                each()

        if fault.duration is None and fault.mode not in LASTING:
            lift()
        elif fault.duration is not None:
            self.timetable.after(fault.duration, lift)
        return lift

    def plan(self, faults: Iterable[Fault]) -> None:
        """Let faults happen at their times, counted from now. They are asked for one by one, in order of time."""
        began = self.clock()
        self._next(iter(faults), began)

    def _next(self, faults: Iterator[Fault], began: float) -> None:
        fault = next(faults, None)
        if fault is None:
            return

        def do() -> None:
            self.inject(fault)
            self._next(faults, began)

        self.timetable.after(max(fault.at - (self.clock() - began), 0.0), do)

    def _begin(self, fault: Fault) -> Callable[[], None]:
        target = self.targets[fault.node]
        gate, endpoint, agent = target.gate, target.endpoint, target.agent
        clients = [call.peer for call in gate.calls(fault.stream)]
        self.journal.fault(str(fault), on=True)
        gate.warn(fault)
        if agent is not None and fault.mode in (Mode.RESTART, Mode.LEAVE):
            agent.down += 1
        if agent is not None and fault.mode is Mode.LEAVE:
            agent.away += 1
            self.book.remove(agent.node.known_as)
        if endpoint is not None:
            endpoint.begin(fault, clients)
            if agent is not None and fault.mode is Mode.MOVE:
                agent.address = endpoint.move()
                self._announce(agent)
        gate.begin(fault)
        self._wake()
        over = threading.Event()

        def end() -> None:
            with self.lock:
                if not over.is_set():
                    over.set()
                    self._end(fault, target, clients)

        return end

    def _end(self, fault: Fault, target: Target, clients: list[str]) -> None:
        gate, endpoint, agent = target.gate, target.endpoint, target.agent
        if agent is not None and fault.mode in (Mode.RESTART, Mode.LEAVE):
            agent.down -= 1
            if not agent.down:
                agent.restart(self.clock())
                self.journal.note("restarted", node=agent.node.known_as, **{"from": agent.ring.begun})
        if fault.mode is Mode.HALF_OPEN:
            gate.warn(fault)
        if endpoint is not None:
            endpoint.end(fault, clients)
        gate.end(fault)
        if agent is not None and fault.mode is Mode.LEAVE:
            agent.away -= 1
            self._announce(agent)
        self.journal.fault(str(fault), on=False)
        self._wake()

    def _announce(self, agent: Agent) -> None:
        if agent.member:
            self.book.add(agent.node.known_as, agent.address, agent.node.server_name if agent.tls else "")

    def _wake(self) -> None:
        self.rings.wake()
        self.book.wake()
