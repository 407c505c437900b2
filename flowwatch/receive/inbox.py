"""What was received and not worked on yet: one bounded memory for any number of streams.

Each stream has a lane, written by its own thread, in which messages and notices keep their order.
Whoever works takes from the lanes in turn. When work falls behind, the streams that hold most wait
first, for as long as a burst may last, so that a replay after a reconnect costs nothing. When that
does not help, whole oldest batches of the fullest lane are given up, counted by node and reported
by a `Shed` notice in their place: nothing waits for ever, and nothing goes missing silently.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from flowwatch.receive import Batch, Notice, Shed
from flowwatch.receive.rawnames import is_flow, node_of

PATIENCE = 10.0
"""Seconds that streams may be kept waiting before anything is given up."""
PER_LANE = 0.01
"""Seconds between two batches for each lane there is, so that many quiet streams do not make many tiny batches."""
HANDED = 2
"""Whole batches that a lane of handed batches holds."""

_OBJECT = 64
"""Bytes that a message costs beside its content."""
_STEP = 32 * 1024
"""Bytes after which a lane's growth is looked at."""


class Inbox:
    """The lanes of all streams, at most about `budget` bytes in them.

    `clock` dates what was given up. A batch is `batch_size` messages of one lane, or what came within
    `interval` seconds. `patience` is 0 where nothing shall ever wait.
    """

    def __init__(
        self,
        *,
        budget: int,
        batch_size: int,
        interval: float,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.batch_size = batch_size
        self.step = max(1, min(_STEP, budget // 16))
        self.closed = False
        self._budget = budget
        self._interval = interval
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._lanes: list[Lane | HandedLane] = []
        self._turn = 0
        self._total = 0
        self._behind_since: float | None = None

    @property
    def held(self) -> tuple[int, int]:
        """Messages and bytes of messages that wait."""
        with self._lock:
            lanes = self._flow_lanes()
            return sum(lane.messages for lane in lanes), sum(lane.size for lane in lanes)

    def lane(self, source: str, cluster: str) -> Lane:
        """A new lane for a stream."""
        with self._lock:
            lane = Lane(self, source, cluster)
            self._lanes.append(lane)
            return lane

    def handed_lane(self) -> HandedLane:
        """A new lane for whole batches, whose maker waits for as long as it takes."""
        with self._lock:
            lane = HandedLane(self)
            self._lanes.append(lane)
            return lane

    def take(self, timeout: float) -> Batch | None:
        """The next lane's oldest messages with the notices before them; None after `timeout` seconds without any."""
        end = time.monotonic() + timeout
        with self._lock:
            while True:
                now = time.monotonic()
                if (lane := self._next(now)) is not None:
                    batch = lane.cut(now)
                    self._room.notify_all()
                    return batch
                if now >= end or self.closed:
                    return None
                self._ready.wait(min(end - now, self._interval))

    def close(self) -> None:
        """Let nobody wait any more. What is held can still be taken."""
        with self._lock:
            self.closed = True
            self._ready.notify_all()
            self._room.notify_all()

    # What lanes ask of it.

    def note(self, lane: Lane, notice: Notice) -> None:
        """Put a notice behind the messages that came before it."""
        with self._lock:
            lane.append(notice)
            self._ready.notify()

    def hand(self, lane: HandedLane, batch: Batch) -> bool:
        """Put a whole batch, waiting for room; False once nobody takes any more."""
        with self._lock:
            while len(lane.items) >= HANDED and not self.closed:
                self._room.wait()
            if self.closed:
                return False
            lane.items.append(batch)
            self._ready.notify()
            return True

    def grown(self, lane: Lane) -> None:
        """Hear that a lane has grown by a step: wake who takes; wait or give up where there is too much."""
        with self._lock:
            self._total += lane.counted()
            if len(lane.items) >= self.batch_size:
                self._ready.notify()
            self._wait_for_room(lane)
            while self._total > self._budget and self._shed():
                pass

    def gone(self, weight: int) -> None:
        """Hear that messages were taken; under the lock."""
        self._total -= weight
        if self._total <= self._budget // 4:
            self._behind_since = None

    def _wait_for_room(self, lane: Lane) -> None:
        """Let a lane that holds more than its share of half the budget wait."""
        soft = self._budget // 2
        while self._total > soft and not self.closed:
            now = time.monotonic()
            if self._behind_since is None:
                self._behind_since = now
            left = self._behind_since + self._patience - now
            if left <= 0 or lane.weight <= soft // len(self._lanes):
                return
            self._ready.notify()
            self._room.wait(left)

    def _shed(self) -> bool:
        fullest = max(self._flow_lanes(), key=lambda lane: lane.weight)
        before = fullest.weight
        if not fullest.shed(self._clock(), keep=self._budget // (8 * len(self._lanes))):
            return False
        self._total -= before - fullest.weight
        return True

    def _flow_lanes(self) -> list[Lane]:
        return [lane for lane in self._lanes if isinstance(lane, Lane)]

    def _next(self, now: float) -> Lane | HandedLane | None:
        """The first lane in turn that has something for long enough, or enough of it."""
        pace = 0.0 if self.closed else max(self._interval, PER_LANE * len(self._lanes))
        for _ in range(len(self._lanes)):
            self._turn %= len(self._lanes)
            lane = self._lanes[self._turn]
            if lane.over and not lane.items:
                del self._lanes[self._turn]
                if not self._lanes:
                    return None
                continue
            self._turn += 1
            if lane.is_ripe(now, pace):
                return lane
        return None


class Lane:
    """The messages and notices of one stream in the order in which they came.

    `fill` is for one thread, the stream's own. Appending to a list, and cutting a part of it off, are each
    one step that no other thread can see half done, so that a message costs an append and no lock.
    """

    def __init__(self, inbox: Inbox, source: str, cluster: str) -> None:
        self.source = source
        self.cluster = cluster
        self.items: list[bytes | Notice] = []
        self.received = 0
        """Messages received since the beginning."""
        self.last_message = 0.0
        """Monotonic time of the last one; 0 before the first."""
        self.over = False
        self._inbox = inbox
        self._put = 0
        self._counted = 0
        self._gone = 0
        self._notices = 0
        self._kept = 0
        self._taken_at = 0.0

    @property
    def weight(self) -> int:
        """Bytes that this lane costs."""
        return self._put - self._gone

    @property
    def messages(self) -> int:
        """Messages held."""
        return len(self.items) - self._notices

    @property
    def size(self) -> int:
        """Bytes of the messages held."""
        return self.weight - _OBJECT * self.messages

    def fill(self, messages: Iterable[bytes], clock: Callable[[], float]) -> None:
        """Put every message. After the inbox was closed it takes one more, wherever that leads, and returns."""
        inbox, append = self._inbox, self.items.append
        put = self._put
        mark = self._counted + inbox.step
        for message in messages:
            self.last_message = clock()
            put += len(message) + _OBJECT
            # Counted first: what is taken was always counted before.
            self._put = put
            append(message)
            self.received += 1
            if put >= mark or inbox.closed:
                if inbox.closed:
                    return
                inbox.grown(self)
                mark = put + inbox.step

    def note(self, notice: Notice) -> None:
        """Put a notice; for any thread."""
        self._inbox.note(self, notice)

    def end(self) -> None:
        """Let the lane be forgotten once it is empty; nothing may be put any more."""
        self.over = True

    # Under the inbox's lock.

    def append(self, notice: Notice) -> None:
        """Put a notice."""
        self._notices += 1
        self.items.append(notice)

    def counted(self) -> int:
        """The growth since the last call, in bytes."""
        put = self._put
        growth, self._counted = put - self._counted, put
        return growth

    def is_ripe(self, now: float, pace: float) -> bool:
        """Whether there is a full batch, a notice, or something after `pace` seconds."""
        held = len(self.items)
        return held >= self._inbox.batch_size or self._notices > 0 or (held > 0 and now - self._taken_at >= pace)

    def cut(self, now: float) -> Batch:
        """Take the leading notices and then messages up to the next notice, at most a batch."""
        items, notices = self.items, 0
        if self._notices:
            while notices < len(items) and not isinstance(items[notices], bytes):
                notices += 1
        end = min(len(items), notices + self._inbox.batch_size)
        head = items[:end]
        if self._notices > notices:
            end = next((at for at in range(notices, end) if not isinstance(head[at], bytes)), end)
        del items[:end]
        messages: list[bytes] = head[notices:end]  # type: ignore[assignment]  # what is no notice
        self._notices -= notices
        self._kept = max(0, self._kept - end)
        self._taken_at = now
        weight = sum(map(len, messages)) + _OBJECT * len(messages)
        self._gone += weight
        self._inbox.gone(weight - self.counted())
        return Batch(self.source, self.cluster, messages, tuple(head[:notices]))  # type: ignore[arg-type]

    def shed(self, at: float, keep: int) -> bool:
        """Give up the oldest batch of flows; False if there is none. What says how nodes are, or what was lost
        elsewhere, stays where it is while it is less than `keep` bytes, and so do notices."""
        items, begin = self.items, self._kept
        end = min(begin + self._inbox.batch_size, len(items) - 1)
        window = items[begin:end]
        nodes: Counter[str] = Counter()
        kept: list[bytes | Notice] = []
        gap = 0
        room = keep - sum(len(item) + _OBJECT for item in items[:begin] if isinstance(item, bytes))
        weight = 0
        for item in window:
            if isinstance(item, bytes):
                cost = len(item) + _OBJECT
                if is_flow(item) or cost > room:
                    gap = gap if nodes else len(kept)
                    nodes[node_of(item)] += 1
                    weight += cost
                    continue
                room -= cost
            kept.append(item)
        if not nodes:
            self._kept = begin + len(kept)
            return bool(window)
        head, tail = kept[:gap], kept[gap:]
        before = head[-1] if head else items[begin - 1] if begin else None
        if isinstance(before, Shed):
            nodes.update(before.nodes)
            if not head:
                begin -= 1
            head = head[:-1]
            self._notices -= 1
        self._notices += 1
        items[begin:end] = kept = [*head, Shed(at, dict(nodes)), *tail]
        self._kept = begin + len(kept)
        self._gone += weight
        return True


class HandedLane:
    """Whole batches of a source that can wait, such as a file."""

    def __init__(self, inbox: Inbox) -> None:
        self.items: list[Batch] = []
        self.over = False
        self._inbox = inbox

    def hand(self, batch: Batch) -> bool:
        """Put a batch, waiting for room; False once nobody takes any more."""
        return self._inbox.hand(self, batch)

    def end(self) -> None:
        """Let the lane be forgotten once it is empty."""
        self.over = True

    def is_ripe(self, _now: float, _pace: float) -> bool:
        """Whether there is a batch."""
        return bool(self.items)

    def cut(self, _now: float) -> Batch:
        """Take the oldest batch."""
        return self.items.pop(0)
