"""The simulated Hubble: its servers on loopback, and the thread that lets the traffic happen.

At a rate, messages appear when their time has come, whether anybody listens or not. At rate 0
nothing paces them: they are made when the fastest client asks for more, and dated then. By default
the run begins with the first client, so that whoever looks sees everything from the start.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import grpc

from flowwatch.errors import FlowwatchError
from flowwatch.simulate.agent import Agent
from flowwatch.simulate.cluster import Cluster, make_cluster
from flowwatch.simulate.endpoint import Endpoint, Tls
from flowwatch.simulate.faults import Fault, Mode
from flowwatch.simulate.gate import Gate, flush
from flowwatch.simulate.harm import Harm, Target
from flowwatch.simulate.journal import Evidence, Journal
from flowwatch.simulate.localsocket import LocalSocket
from flowwatch.simulate.peers import PeerBook
from flowwatch.simulate.proxy import Proxy
from flowwatch.simulate.relay import SORT_BUFFER, RelayObserver
from flowwatch.simulate.ring import CAPACITY, LOST_INTERVAL, Cursor, Item, Rings
from flowwatch.simulate.schedule import Timetable
from flowwatch.simulate.service import AgentObserver, Source
from flowwatch.simulate.stage import Event
from flowwatch.simulate.traffic import Script, Tick, plan, traffic
from flowwatch.simulate.truth import Truth

_CHUNK = 256
_SHORTEST_WAIT = 0.002
_WRITE_EVERY = 1.0
_FOR_EVER = 1e9


class SimulatedHubble:
    """One run, served. `start` it, `stop` it; or use it as a context manager, which gives its address.

    `rate` in flows a second, 0 for as many as the client takes. `flows` ends the traffic after so
    many; streams then stay open, silent. `truth_file` is rewritten every second. `nodes`: every
    node has a server of its own too (`node_addresses`), and `peer.Peer` tells of them; `node_tls`
    by node name. `faults` happen at their times, counted from the beginning of the run, in order
    of time. `journal` keeps `evidence`, `journal_file` writes it as well.
    """

    def __init__(
        self,
        *,
        rate: float = 200.0,
        seed: int = 1,
        listen: str = "127.0.0.1:0",
        script: Script | None = None,
        flows: int | None = None,
        at_once: bool = False,
        tls: Tls | None = None,
        truth_file: Path | None = None,
        clock: Callable[[], float] = time.time,
        cluster: Cluster | None = None,
        nodes: bool = False,
        node_tls: Mapping[str, Tls] | None = None,
        peer_socket: Path | None = None,
        capacity: int = CAPACITY,
        lost_interval: float = LOST_INTERVAL,
        sort_buffer: int = SORT_BUFFER,
        faults: Iterable[Fault] = (),
        journal: bool = False,
        journal_file: Path | None = None,
    ) -> None:
        self._rate, self._seed, self._flows = rate, seed, flows
        self._script = script or Script()
        self._at_once = at_once
        self._truth_file = truth_file
        self._clock = clock
        self._cluster = cluster or make_cluster()
        self._script.check(self._cluster)
        self._scenes = plan(self._cluster)
        self._truth = Truth(self._scenes)
        self._begun, self._stopping = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._events: Iterator[Event] = iter(())
        self._bulletins: deque[Item] = deque()
        self._threads: list[threading.Thread] = []
        names = [node.name for node in self._cluster.nodes]
        self._faults = [fault.check(names) for fault in faults] if isinstance(faults, Sequence) else faults
        self._journal = Journal(kept=journal, path=journal_file)
        self._rings = Rings(self._cluster.nodes, capacity, lost_interval)
        self._book = PeerBook(self._stopping.is_set)
        self._proxy, self._timetable = Proxy(), Timetable()
        numbers = itertools.count(1)
        tls_of = node_tls or {}
        self._agents = {
            node.name: Agent(
                self._cluster, node, self._rings.by_node[node.name], Gate(node.known_as, self._journal, numbers),
                clock(), f"{node.ip}:4244", tls=node.name in tls_of,
            )
            for node in self._cluster.nodes
        }  # fmt: skip
        source = Source(self._rings, self.begin, self._more, self._stopping.is_set, clock)
        self._relay_gate = Gate("relay", self._journal, numbers)
        agents = tuple(self._agents.values())
        relay = RelayObserver(agents, self._relay_gate, source, self._bulletins, sort_buffer)
        told = [self._book.handlers(self._relay_gate)] if nodes or peer_socket else []
        self._relay = Endpoint(self._proxy, listen, lambda: [*relay.handlers(), *told], tls)
        targets = {"": Target(self._relay_gate, self._relay)}
        host = listen.rpartition(":")[0]
        for name, agent in self._agents.items():
            observer, notify = AgentObserver(agent, source), self._book.handlers(agent.gate)
            endpoint = Endpoint(self._proxy, f"{host}:0", _both(observer, notify), tls_of.get(name)) if nodes else None
            targets[name] = Target(agent.gate, endpoint, agent)
        self._targets = targets
        self._harm = Harm(targets, self._book, self._rings, self._journal, self._timetable, clock, threading.RLock())
        self._socket = LocalSocket(
            peer_socket, _both(AgentObserver(agents[0], source), self._book.handlers(agents[0].gate))
        )

    # ── life ─────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> str:
        """Serve; return `address:port` of the relay. Raises FlowwatchError if that cannot be."""
        if self._truth_file is not None:
            self._write_truth(self._truth_file)
        self._journal.open()
        try:
            return self._serve()
        except FlowwatchError:
            self.stop()
            raise

    def _serve(self) -> str:
        self._proxy.start()
        self._timetable.start()
        address = self._relay.start()
        for target in self._targets.values():
            if target.agent is not None:
                if target.endpoint is not None:
                    target.agent.address = target.endpoint.start()
                agent = target.agent
                self._book.add(agent.node.known_as, agent.address, agent.node.server_name if agent.tls else "")
        self._socket.start()
        if self._truth_file is not None:
            self._run_thread(self._keep_writing, "truth")
        if self._rate > 0:
            self._run_thread(self._pace, "pace")
        if self._at_once:
            self.begin()
        return address

    def stop(self) -> None:
        """End all streams and threads, within a second; write the truth once more."""
        self._stopping.set()
        self._begun.set()
        self._timetable.stop()
        self._rings.wake()
        self._book.wake()
        stopping = [
            threading.Thread(target=target.endpoint.stop) for target in self._targets.values() if target.endpoint
        ]
        for thread in stopping:
            thread.start()
        self._socket.stop()
        for thread in (*stopping, *self._threads):
            thread.join()
        self._threads.clear()
        self._proxy.stop()
        flush(target.gate for target in self._targets.values())
        self._journal.close()
        if self._truth_file is not None:
            self._write_truth(self._truth_file)

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def truth(self) -> Truth:
        """What was sent, and what is planned."""
        return self._truth

    @property
    def relay_address(self) -> str:
        """Where the relay is."""
        return self._relay.address

    @property
    def node_addresses(self) -> dict[str, str]:
        """Where each node's own server is at present, by its bare name."""
        return {name: agent.address for name, agent in self._agents.items()}

    def evidence(self) -> Evidence:
        """What was emitted and what every stream was given of it, up to now. Empty unless a journal is kept."""
        flush(target.gate for target in self._targets.values())
        return self._journal.evidence()

    def inject(self, fault: Fault) -> Callable[[], None]:
        """Let a fault begin now, whatever its `at`; return what ends it. Raises FlowwatchError if it cannot be."""
        return self._harm.inject(fault)

    # ── the run ──────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Let the traffic begin, if it has not."""
        with self._lock:
            if self._begun.is_set():
                return
            now = self._clock()
            start = int(now * 1e9)
            ticks = None if self._rate > 0 else self._hurry(start)
            events = traffic(
                self._cluster, self._seed, start, self._rate, self._script, scenes=self._scenes, ticks=ticks
            )
            events = events if self._flows is None else limited(events, self._flows)
            self._events = itertools.chain(events, self._closing())
            self._truth.begin(now)
            self._begun.set()
        self._harm.plan(self._faults)

    def _hurry(self, start: int) -> Iterator[Tick]:
        """Ticks of real time, each with as many flows as make a chunk."""
        for number in itertools.count(1):
            yield Tick(max(int(self._clock() * 1e9), start), float(number * _CHUNK))

    def _closing(self) -> Iterator[Event]:
        """What comes when the traffic is over: an event of each agent itself, which makes its last flow readable."""
        now = int(self._clock() * 1e9)
        for name in self._agents:
            yield Event(now, name, b"", due=now)

    def _pace(self) -> None:
        """Let messages appear when their time has come."""
        self._begun.wait()
        chunk: list[Event] = []
        for event in self._events:
            wait = event.due / 1e9 - self._clock()
            if wait > 0 or len(chunk) >= _CHUNK:
                self._publish(chunk)
                chunk = []
                # At a rate beyond what this machine can make, there is never a moment to wait.
                if self._stopping.wait(max(wait, _SHORTEST_WAIT) if wait > 0 else 0):
                    return
            chunk.append(event)
        self._publish(chunk)

    def _more(self, cursors: Sequence[Cursor]) -> bool:
        """At rate 0: make the next messages, unless there are some that were not read."""
        if self._rate > 0:
            return False
        with self._lock:
            if any(cursor.behind for cursor in cursors):
                return True
            chunk = list(itertools.islice(self._events, _CHUNK))
            self._publish(chunk)
            return bool(chunk)

    def _publish(self, events: list[Event]) -> None:
        sent: list[Event] = []
        for event in events:
            agent = self._agents.get(event.node)
            if agent is None:
                self._bulletins.append(Item(event.time, event.node, -1, event.message))
                self._truth.count((event,))
                failure = Fault(Mode.UNAVAILABLE, self._script.failing_node, duration=_FOR_EVER)
                self._timetable.after(0, partial(self._harm.inject, failure))
            elif not agent.down:
                sent.append(event)
        self._truth.count(event for event in sent if event.message)
        if self._journal.kept:
            for name, agent in self._agents.items():
                if of_node := [event for event in sent if event.node == name]:
                    self._journal.emitted(agent.node.known_as, of_node)
        if sent:
            self._rings.append(sent)

    def _keep_writing(self) -> None:
        assert self._truth_file is not None
        while not self._stopping.wait(_WRITE_EVERY):
            # What stays wrong is reported by the last attempt, when the server stops.
            with contextlib.suppress(FlowwatchError):
                self._write_truth(self._truth_file)

    def _write_truth(self, path: Path) -> None:
        try:
            self._truth.write(path)
        except OSError as error:
            raise FlowwatchError(f"cannot write {path}: {error.strerror or error}") from error

    def _run_thread(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=f"simulated-hubble-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()


def limited(events: Iterator[Event], flows: int) -> Iterator[Event]:
    """The events up to a number of flows."""
    left = flows
    while left > 0:
        event = next(events, None)
        if event is None:
            return
        yield event
        left -= event.template is not None


def _both(observer: AgentObserver, notify: grpc.GenericRpcHandler) -> Callable[[], Sequence[grpc.GenericRpcHandler]]:
    return lambda: [*observer.handlers(), notify]
