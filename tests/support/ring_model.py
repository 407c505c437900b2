"""An independent model of a node with a ring and of streams that are cut: what came, and what never could.

Deliberately naive: lists and sets, nothing of the product's. A node numbers its flows; a stream is a
reader that starts at the oldest flow the ring still has and is not older than what was asked for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

from flowwatch.hubble import flow_pb2, observer_pb2

STEP = 0.5
"""Seconds between two flows of a node."""


@dataclass(slots=True)
class Node:
    """One node: all it ever emitted, and what its ring still has."""

    name: str
    capacity: int
    skew: float = 0.0
    emitted: list[float] = field(default_factory=list)
    ring: deque[int] = field(default_factory=deque)
    started: float = 0.0
    forgotten: int = 0
    """Flows seen before its last restart."""

    def emit(self, now: float) -> None:
        """Another flow happens."""
        self.ring.append(len(self.emitted))
        self.emitted.append(now + self.skew)
        if len(self.ring) > self.capacity:
            self.ring.popleft()

    def restart(self, now: float) -> None:
        """The agent restarts: its ring is lost and it counts anew."""
        self.ring.clear()
        self.started, self.forgotten = now, len(self.emitted)

    @property
    def seen(self) -> int:
        """What it answers when asked how many flows it has seen."""
        return len(self.emitted) - self.forgotten

    def message(self, number: int) -> bytes:
        """A flow as it goes over the wire."""
        response = observer_pb2.GetFlowsResponse(node_name=self.name)
        response.flow.uuid = self.uuid(number)
        response.flow.node_name = self.name
        response.flow.time.FromNanoseconds(self.time(number))
        response.time.FromNanoseconds(self.time(number))
        return response.SerializeToString()

    def time(self, number: int) -> int:
        """When a flow happened by the node's clock, in nanoseconds."""
        return round(self.emitted[number] * 1e9)

    def uuid(self, number: int) -> str:
        """A flow's uuid."""
        return str(UUID(bytes=self.name.encode().ljust(8) + number.to_bytes(8, "big")))

    def spurious(self, since: float) -> bytes | None:
        """The one event too many that a server reports lost when a request reads all of its full ring."""
        if len(self.ring) < self.capacity or self.emitted[self.ring[0]] < since:
            return None
        lost = flow_pb2.LostEvent(source=flow_pb2.HUBBLE_RING_BUFFER, num_events_lost=1)
        return observer_pb2.GetFlowsResponse(node_name=self.name, lost_events=lost).SerializeToString()


@dataclass(slots=True)
class Stream:
    """A follow stream of one node. What it has read from the ring is on the way until it is delivered."""

    node: Node
    position: int
    queue: deque[bytes] = field(default_factory=deque)
    lost: int = 0
    """Flows that were overwritten before this reader came to them."""

    @classmethod
    def open(cls, node: Node, since: float | None) -> Stream:
        """Ask a node to repeat what it has since a time, and to go on; without one, its newest flow alone."""
        if since is None:
            return cls(node, max(len(node.emitted) - 1, node.forgotten))
        wanted = [number for number in node.ring if node.emitted[number] >= since]
        stream = cls(node, wanted[0] if wanted else len(node.emitted))
        if (spurious := node.spurious(since)) is not None:
            stream.queue.append(spurious)
        stream.read()
        return stream

    def read(self) -> None:
        """Put on the way whatever the node has for this reader."""
        oldest = self.node.ring[0] if self.node.ring else len(self.node.emitted)
        if self.position < oldest:
            lost = flow_pb2.LostEvent(source=flow_pb2.HUBBLE_RING_BUFFER, num_events_lost=oldest - self.position)
            self.queue.append(
                observer_pb2.GetFlowsResponse(node_name=self.node.name, lost_events=lost).SerializeToString()
            )
            self.lost += oldest - self.position
            self.position = oldest
        while self.position < len(self.node.emitted):
            self.queue.append(self.node.message(self.position))
            self.position += 1

    def take(self, most: int) -> list[bytes]:
        """What arrives next."""
        return [self.queue.popleft() for _ in range(min(most, len(self.queue)))]
