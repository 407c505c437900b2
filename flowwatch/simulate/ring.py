"""What a node's server remembers: a ring of events with the habits of Hubble's own.

The newest event cannot be read until the next one is written. What is overwritten while a reader
lags is told to it as a LostEvent, at most one a second (servers before 1.19: one for every event).
A scan that reaches the end of a full ring reads one event too far and finds it lost. Sequence
numbers count a node's events over all its lives; a restarted agent begins with an empty ring.

All rings of a run share one lock. Safe to use from any thread; a cursor is used by one thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flowwatch.hubble import flow_pb2
from flowwatch.simulate.cluster import Node
from flowwatch.simulate.messages import lost_events
from flowwatch.simulate.stage import Event

CAPACITY = 4095
"""Events a node remembers."""
LOST_INTERVAL = 1.0
"""Seconds for which a reader's losses are collected before it is told; 0: told at once, one by one."""
_RATE_SECONDS = 60
_BILLION = 1_000_000_000


def _everything(_event: Event) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Query:
    """Which events of a node are asked for, in the words of `GetFlowsRequest`; times in ns, 0 for none."""

    since: int = 0
    until: int = 0
    number: int = 0
    first: bool = False
    follow: bool = False
    passes: Callable[[Event], bool] = _everything


class Item(NamedTuple):
    """One message for a reader. `sequence` is that of its event, -1 for what is none.

    `lost` is what the message says the reader itself lost.
    """

    time: int
    node: str
    sequence: int
    message: bytes
    lost: int = 0


class Ring:
    """The ring of one node."""

    def __init__(self, node: Node, lock: threading.Condition, capacity: int, lost_interval: float) -> None:
        self.node = node
        self.capacity = capacity
        self.lost_interval = int(lost_interval * _BILLION)
        self.written = 0
        """Events written in all lives of the agent; the sequence number of the next."""
        self.begun = 0
        """The sequence number at which this life of the agent began."""
        self.flows = 0
        """Flows seen in this life."""
        self._lock = lock
        self._slots: list[Event | None] = [None] * (capacity + 1)
        self._per_second: deque[list[int]] = deque(maxlen=_RATE_SECONDS)

    @property
    def oldest(self) -> int:
        """The sequence number of the oldest event that is remembered."""
        return max(self.begun, self.written - 1 - self.capacity)

    @property
    def end(self) -> int:
        """The sequence number of the newest event, which cannot be read yet."""
        return max(self.begun, self.written - 1)

    def write(self, event: Event) -> None:
        """Add an event; the caller holds the lock."""
        self._slots[self.written % (self.capacity + 1)] = event
        self.written += 1
        if event.template is None:
            return
        self.flows += 1
        second = event.time // _BILLION
        if not self._per_second or self._per_second[-1][0] != second:
            self._per_second.append([second, 0])
        self._per_second[-1][1] += 1

    def restart(self) -> None:
        """The agent starts anew and remembers nothing."""
        with self._lock:
            self.begun, self.flows = self.written, 0
            self._per_second.clear()

    def size(self) -> int:
        """How many events it remembers."""
        with self._lock:
            return min(self.written - self.begun, self.capacity)

    def rate(self, now: float) -> float:
        """Flows a second over the last minute."""
        with self._lock:
            counted = [(second, count) for second, count in self._per_second if second > now - _RATE_SECONDS]
        return sum(count for _, count in counted) / max(now - counted[0][0], 1.0) if counted else 0.0

    def open(self, query: Query) -> Cursor:
        """A reader of what is asked for, from now on."""
        with self._lock:
            return Cursor(self, self._lock, query, self._position(query), self.end)

    def events(self, begin: int, end: int) -> list[Event]:
        """Some events that are remembered; the caller holds the lock."""
        slots, size = self._slots, self.capacity + 1
        return [event for at in range(begin, end) if (event := slots[at % size]) is not None]

    def _position(self, query: Query) -> int:
        if query.first:
            return self.oldest
        if query.follow and not query.since and not query.number:
            return max(self.end - 1, self.oldest)
        wanted = 0 if query.since else query.number
        found = 0
        for at in range(self.end - 1, self.oldest - 1, -1):
            event = self.events(at, at + 1)[0]
            if query.since and event.time < query.since:
                return at + 1
            found += event.template is not None and query.passes(event)
            if wanted and found == wanted:
                return at
        # The scan came to the end: in a full ring to the slot behind it, which is being overwritten.
        return self.oldest - 1 if self.oldest > self.begun else self.oldest


class Cursor:
    """How far one reader of one ring has come."""

    def __init__(self, ring: Ring, lock: threading.Condition, query: Query, position: int, end: int) -> None:
        self.ring = ring
        self.query = query
        self.position = position
        self.live_from = end
        """Where what was there at the opening ends."""
        self.done = False
        """Whether all that was asked for was read."""
        self._lock = lock
        self._left = 0 if query.follow else query.number
        self._missed: tuple[int, int, int] | None = None

    @property
    def behind(self) -> bool:
        """Whether there is something to read."""
        return not self.done and self.position < (self.ring.end if self.query.follow else self.live_from)

    def read(self, most: int, now: int) -> list[Item]:
        """The next messages, up to so many; `now` in ns dates what was lost."""
        ring, query = self.ring, self.query
        if self.done:
            return []
        with self._lock:
            missed = max(ring.oldest - self.position, 0)
            begin = self.position + missed
            end = min(ring.end if query.follow else self.live_from, begin + most)
            events = ring.events(begin, end)
        if missed:
            first, _, count = self._missed or (now, now, 0)
            self._missed = (first, now, count + missed)
        items: list[Item] = []
        for self.position, event in enumerate(events, begin + 1):
            if query.until and event.time > query.until:
                self.done = True
                break
            if self._missed is not None and now - self._missed[0] >= ring.lost_interval:
                items += self._tell(self._missed)
                self._missed = None
            if event.template is not None:
                if not query.passes(event):
                    continue
                self._left -= 1
            elif not event.lost:
                continue
            items.append(Item(event.time, ring.node.known_as, self.position - 1, event.message))
            if self._left == 0 and event.template is not None and query.number and not query.follow:
                self.done = True
                break
        else:
            self.position = max(begin, self.position)
            self.done = self.done or (not query.follow and self.position >= self.live_from)
        return items

    def _tell(self, missed: tuple[int, int, int]) -> list[Item]:
        first, last, count = missed
        node, single = self.ring.node, not self.ring.lost_interval
        size = 1 if single else count
        message = lost_events(flow_pb2.HUBBLE_RING_BUFFER, node.known_as, size, first, last, dated=not single)
        return [Item(last, node.known_as, -1, message, size)] * (count // size)


class Rings:
    """The rings of all nodes of a run."""

    def __init__(self, nodes: Sequence[Node], capacity: int = CAPACITY, lost_interval: float = LOST_INTERVAL) -> None:
        self.grown = threading.Condition()
        """Notified when something was written, or whoever waits should look again."""
        self.by_node = {node.name: Ring(node, self.grown, capacity, lost_interval) for node in nodes}

    def append(self, events: Iterable[Event]) -> None:
        """Write events and wake whoever waits for them."""
        with self.grown:
            for event in events:
                self.by_node[event.node].write(event)
            self.grown.notify_all()

    def wake(self) -> None:
        """Let everybody who waits look again at why they wait."""
        with self.grown:
            self.grown.notify_all()

    def wait(self, cursors: Sequence[Cursor], timeout: float) -> None:
        """Wait for something to read, until woken, at most so many seconds."""
        with self.grown:
            if not any(cursor.behind for cursor in cursors):
                self.grown.wait(timeout)
