"""What the nodes' servers remember: a ring of messages for each, and their merged stream.

Like a real server it keeps the newest 4095 messages of a node and forgets the rest. Unlike one, its
newest message can be read at once. A reader of the live stream who falls so far behind that
messages are gone learns how many, node by node. Safe to use from any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flowwatch.simulate.stage import Event

CAPACITY = 4095
"""Messages a node remembers."""
_STREAM = 1 << 15
"""Messages of all nodes a reader may be behind."""
_RATE_SECONDS = 60

Wanted = Callable[[Event], bool]


@dataclass(frozen=True, slots=True)
class Span:
    """Which of a node's remembered messages are asked for; times in ns, 0 for none.

    `first`: only the oldest so many of them; `last`: only the newest; neither: all.
    """

    since: int = 0
    until: int = 0
    first: int = 0
    last: int = 0


@dataclass(slots=True)
class Reader:
    """How far one reader of the live stream has come. Only its own thread uses it."""

    position: int
    seen: dict[str, int] = field(default_factory=dict)
    """Messages of each node that the reader has had or been told it lost."""


class Log:
    """The messages of one run."""

    def __init__(self, nodes: Sequence[str], capacity: int = CAPACITY) -> None:
        self._grown = threading.Condition()
        self._rings: dict[str, deque[Event]] = {node: deque(maxlen=capacity) for node in nodes}
        self._capacity = capacity
        self._counts = dict.fromkeys(nodes, 0)
        self._stream: list[tuple[Event, int]] = []
        self._total = 0
        self._per_second: deque[tuple[int, int]] = deque(maxlen=_RATE_SECONDS)

    def append(self, events: Iterable[Event]) -> None:
        """Remember messages and wake whoever waits for them."""
        with self._grown:
            counts, rings, stream = self._counts, self._rings, self._stream
            added, second = 0, 0
            for event in events:
                node = event.node
                number = counts.get(node, 0) + 1
                counts[node] = number
                ring = rings.get(node)
                if ring is not None:
                    ring.append(event)
                # A list filled once and then overwritten in a circle: any message is found at once.
                if len(stream) < _STREAM:
                    stream.append((event, number))
                else:
                    stream[(self._total + added) % _STREAM] = (event, number)
                added += 1
                second = event.time // 1_000_000_000
            self._total += added
            if added:
                self._count_second(second, added)
            self._grown.notify_all()

    def _count_second(self, second: int, added: int) -> None:
        if self._per_second and self._per_second[-1][0] == second:
            added += self._per_second.pop()[1]
        self._per_second.append((second, added))

    def wake(self) -> None:
        """Let everybody who waits look again at why they wait."""
        with self._grown:
            self._grown.notify_all()

    # ── history ──────────────────────────────────────────────────────────────────────────────────

    def open(self, span: Span, wanted: Wanted) -> tuple[list[Event], Reader]:
        """What is remembered of a span, oldest first, and a reader of all that comes after."""
        with self._grown:
            found = [event for ring in self._rings.values() for event in _select(ring, span, wanted)]
            reader = Reader(self._total, dict(self._counts))
        return sorted(found, key=lambda event: event.time), reader

    # ── the live stream ──────────────────────────────────────────────────────────────────────────

    def read(
        self, reader: Reader, most: int, timeout: float, patient: Callable[[], bool]
    ) -> tuple[list[Event], dict[str, int]]:
        """The next messages of the live stream, and how many each node lost before them.

        Waits up to `timeout` seconds for one, if `patient`; less if woken.
        """
        with self._grown:
            if reader.position >= self._total and patient():
                self._grown.wait(timeout)
            start = max(reader.position, self._total - _STREAM)
            end = min(start + most, self._total)
            taken = [self._stream[position % _STREAM] for position in range(start, end)]
            reader.position = end
        lost: dict[str, int] = {}
        seen = reader.seen
        for event, number in taken:
            gap = number - seen.get(event.node, 0) - 1
            seen[event.node] = number
            if gap:
                lost[event.node] = lost.get(event.node, 0) + gap
        return [event for event, _ in taken], lost

    def at_end(self, reader: Reader) -> bool:
        """Whether a reader has had everything there is."""
        return reader.position >= self._total

    # ── status ───────────────────────────────────────────────────────────────────────────────────

    def sizes(self) -> dict[str, tuple[int, int]]:
        """For each node: how many messages it remembers, and how many it has seen."""
        with self._grown:
            return {node: (len(ring), self._counts[node]) for node, ring in self._rings.items()}

    @property
    def capacity(self) -> int:
        """How many messages all nodes together can remember."""
        return self._capacity * len(self._rings)

    def rate(self, now: float) -> float:
        """Messages a second over the last minute."""
        with self._grown:
            counted = [(second, count) for second, count in self._per_second if second > now - _RATE_SECONDS]
        if not counted:
            return 0.0
        return sum(count for _, count in counted) / max(now - counted[0][0], 1.0)


def _select(ring: deque[Event], span: Span, wanted: Wanted) -> list[Event]:
    """The messages of one node that a span asks for. LostEvents always come and never count."""
    found: list[Event] = []
    limit, counted = span.first or span.last, 0
    for event in reversed(ring) if span.last else ring:
        if event.time < span.since or (span.until and event.time > span.until):
            continue
        if event.template is not None:
            if not wanted(event):
                continue
            counted += 1
        found.append(event)
        if limit and counted >= limit:
            break
    return found
