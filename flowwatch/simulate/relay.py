"""`observer.Observer` as hubble-relay serves it: the streams of all nodes, merged.

The nodes' streams are merged through a buffer that emits its oldest message when it is full, and
all of them when nothing came for a second. A node's stream that fails is reported late and opened
again with the original request, so that history comes again; a node that returns is not announced.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from flowwatch.hubble import observer_pb2, relay_pb2
from flowwatch.simulate.agent import Agent
from flowwatch.simulate.faults import Mode
from flowwatch.simulate.gate import Call, Gate
from flowwatch.simulate.messages import RELAY_NAME, VERSION, node_status
from flowwatch.simulate.ring import Cursor, Item, Query
from flowwatch.simulate.service import BATCH, PATIENCE, Observer, Source

SORT_BUFFER = 100
DRAIN_AFTER = 1.0
"""Seconds without a message after which the buffer is emptied."""
REJOIN_EVERY = 2.0
"""Seconds between looks for nodes that can be reached again."""
AGGREGATE = 10.0
"""Seconds for which equal errors are collected."""
_ERROR = "rpc error: code = Unavailable desc = error reading from server: EOF"
_LISTED = 10


@dataclass(slots=True)
class Peer:
    """One node's stream within a stream of the relay."""

    agent: Agent
    cursor: Cursor
    cuts: int


@dataclass(slots=True)
class Merge:
    """The state of one stream: which nodes it reads, what waits to be sorted, which errors to be told."""

    query: Query
    call: Call
    size: int
    peers: dict[str, Peer] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    """Nodes whose streams ended well: they are not opened again."""
    waiting: list[Item] = field(default_factory=list)
    known_until: float = math.inf
    """The time up to which all nodes were read; where one has more to read, others must wait for it."""
    errors: list[tuple[float, int, list[str]]] = field(default_factory=list)
    """When to tell (monotonic), when it happened (ns), and of which nodes."""

    def join(self, agents: Sequence[Agent]) -> None:
        """Open the streams of nodes that can be reached and are not read."""
        for agent in agents:
            name = agent.node.name
            if agent.reachable and name not in self.peers and name not in self.finished:
                cuts, cursor = agent.gate.cuts, agent.ring.open(self.query)
                self.call.joined(cursor)
                self.peers[name] = Peer(agent, cursor, cuts)

    def read(self, now: int) -> list[Item]:
        """What the nodes have sent; also notices whose streams ended."""
        items: list[Item] = []
        self.known_until = math.inf
        for name, peer in list(self.peers.items()):
            gate = peer.agent.gate
            if gate.cuts != peer.cuts or gate.streams is Mode.EOF:
                del self.peers[name]
                if Mode.EOF in (gate.streams, gate.cut_by):
                    self.finished.add(name)
                else:
                    self._failed(peer.agent.node.known_as, now)
            elif not gate.silent:
                fresh = peer.cursor.read(BATCH, now)
                items += fresh
                if fresh and peer.cursor.behind:
                    self.known_until = min(self.known_until, fresh[-1].time)
                if peer.cursor.done:
                    del self.peers[name]
                    self.finished.add(name)
        return items

    def _failed(self, name: str, now: int) -> None:
        if self.errors:
            self.errors[-1][2].append(name)
        else:
            self.errors.append((time.monotonic() + AGGREGATE, now, [name]))

    def due(self, *, all_of_them: bool) -> list[Item]:
        """Errors that are to be told by now."""
        if not self.errors or not (all_of_them or self.errors[0][0] <= time.monotonic()):
            return []
        _, at, names = self.errors.pop()
        return [Item(at, RELAY_NAME, -1, node_status(relay_pb2.NODE_ERROR, names, at, _ERROR))]

    def sort(self, items: list[Item]) -> list[Item]:
        """Take messages in, and give the oldest that the buffer has no room for."""
        self.waiting += items
        self.waiting.sort(key=attrgetter("time"))
        known = bisect_right(self.waiting, self.known_until, key=attrgetter("time"))
        room = max(min(len(self.waiting) - self.size, known), 0)
        out, self.waiting = self.waiting[:room], self.waiting[room:]
        return out

    def drain(self) -> list[Item]:
        """All that waits."""
        out, self.waiting = self.waiting, []
        return out


class RelayObserver(Observer):
    """A relay over the agents of a cluster. `bulletins` are what it is made to say besides."""

    metadata = (("hubble-relay-version", VERSION),)

    def __init__(
        self,
        agents: Sequence[Agent],
        gate: Gate,
        source: Source,
        bulletins: deque[Item],
        sort_buffer: int = SORT_BUFFER,
    ) -> None:
        super().__init__(gate, source)
        self._agents = agents
        self._bulletins = bulletins
        self._sort_buffer = sort_buffer

    def answers(self) -> dict[str, Callable[[], bytes]]:
        """What only agents can answer is not among them."""
        return {
            "ServerStatus": self.server_status,
            "GetNodes": self.get_nodes,
            "GetNamespaces": self._agents[0].namespaces,
        }

    # ── streams ──────────────────────────────────────────────────────────────────────────────────

    def items(self, query: Query, call: Call) -> Iterator[Item | None]:
        """Node states, then flows, as long as there is a node that may send some."""
        peers, told = query.number * len(self._agents), len(self._bulletins)
        merge = Merge(query, call, min(self._sort_buffer, peers) if peers else self._sort_buffer)
        merge.join(self._agents)
        # Only now, so that the first client misses nothing of the run.
        self.source.begin()
        yield from self._states(merge)
        fresh_at = joined_at = time.monotonic()
        while merge.peers:
            now = time.monotonic()
            if query.follow and now - joined_at >= REJOIN_EVERY:
                joined_at = now
                merge.join(self._agents)
            items = merge.read(self.source.now())
            while told < len(self._bulletins):
                yield self._bulletins[told]
                told += 1
            errors = merge.due(all_of_them=not merge.peers)
            if items or errors:
                fresh_at = now
                yield from merge.sort(items + errors)
            if not items:
                if now - fresh_at >= DRAIN_AFTER:
                    yield from merge.drain()
                yield None
                self._wait(merge, DRAIN_AFTER - (now - fresh_at) if merge.waiting else PATIENCE)
        yield from merge.drain()

    def _wait(self, merge: Merge, timeout: float) -> None:
        cursors = [peer.cursor for peer in merge.peers.values() if not peer.agent.gate.silent]
        if cursors and not self.source.more(cursors):
            self.source.rings.wait(cursors, max(min(timeout, PATIENCE), 0.001))
        elif not cursors and merge.peers:
            self.source.rings.wait((), PATIENCE)

    def _states(self, merge: Merge) -> Iterator[Item]:
        now = self.source.now()
        up = [agent.node.known_as for agent in self._agents if agent.node.name in merge.peers]
        down = [each.node.known_as for each in self._agents if each.member and each.node.name not in merge.peers]
        if up:
            yield Item(now, RELAY_NAME, -1, node_status(relay_pb2.NODE_CONNECTED, up, now))
        if down:
            yield Item(now, RELAY_NAME, -1, node_status(relay_pb2.NODE_UNAVAILABLE, down, now))

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────

    def server_status(self) -> bytes:
        """Totals over the nodes that can be reached."""
        now, members = self.source.clock(), [agent for agent in self._agents if agent.member]
        up = [agent for agent in members if agent.reachable]
        down = [agent.node.known_as for agent in members if not agent.reachable]
        response = observer_pb2.ServerStatusResponse(
            num_flows=sum(agent.ring.size() for agent in up),
            max_flows=sum(agent.ring.capacity for agent in up),
            seen_flows=sum(agent.ring.flows for agent in up),
            uptime_ns=max((agent.uptime(now) for agent in up), default=0),
            version=f"{VERSION} (simulated)",
            flows_rate=sum(agent.ring.rate(now) for agent in up),
            unavailable_nodes=down[:_LISTED],
        )
        response.num_connected_nodes.value = len(up)
        response.num_unavailable_nodes.value = len(down)
        return response.SerializeToString()

    def get_nodes(self) -> bytes:
        """Each node with its own numbers, as far as it can be asked."""
        now, response = self.source.clock(), observer_pb2.GetNodesResponse()
        for agent in self._agents:
            if not agent.member:
                continue
            node = response.nodes.add(name=agent.node.known_as, address=agent.address)
            node.tls.enabled, node.tls.server_name = agent.tls, agent.node.server_name if agent.tls else ""
            if not agent.reachable:
                node.state = relay_pb2.NODE_UNAVAILABLE
                continue
            node.state, node.version, node.uptime_ns = relay_pb2.NODE_CONNECTED, VERSION, agent.uptime(now)
            node.num_flows, node.max_flows = agent.ring.size(), agent.ring.capacity
            node.seen_flows = agent.ring.flows
        return response.SerializeToString()
