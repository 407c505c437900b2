"""What is wrong with one server at the moment, and the streams it has open.

Faults of the connection are done to it by `proxy.py`; this is where calls learn of theirs, and
where the journal learns what became of each stream.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flowwatch.simulate.faults import BREAKING, REFUSING, REFUSING_CALLS, SILENT, Fault, Mode
from flowwatch.simulate.journal import Journal, spans
from flowwatch.simulate.ring import Cursor, Item, Query

_ENDING = BREAKING | REFUSING_CALLS | {Mode.EOF}
_UNREACHABLE = REFUSING | REFUSING_CALLS | {Mode.HALF_OPEN}
_numbers = itertools.count


@dataclass(slots=True, eq=False)
class Call:
    """One open stream of flows. `peer` is the client as gRPC names it."""

    number: int
    gate: Gate
    peer: str
    cuts: int
    """How often the server had been cut when it was opened."""
    fault: Mode | None = None
    """What is wrong with this stream alone."""
    corrupt: int = 0
    """How many undecodable messages it has yet to carry."""
    ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _yielded: dict[str, list[int]] = field(default_factory=dict)

    def mode(self) -> Mode | None:
        """What is to become of it: a mode that ends it, `stall`, or nothing."""
        if self.fault is not None:
            return self.fault
        if self.cuts != self.gate.cuts:
            return self.gate.cut_by
        return self.gate.streams

    def joined(self, cursor: Cursor) -> None:
        """A node's ring was opened for it."""
        self.gate.journal.note("joined", stream=self.number, node=cursor.ring.node.known_as, live_from=cursor.live_from)

    def yielded(self, item: Item) -> None:
        """A message is handed over."""
        if item.sequence >= 0 and self.gate.journal.kept:
            with self._lock:
                self._yielded.setdefault(item.node, []).append(item.sequence)
        elif item.lost:
            self.gate.journal.note("told", stream=self.number, node=item.node, lost=item.lost)

    def flush(self) -> None:
        """Let the journal know what was handed over."""
        with self._lock:
            yielded, self._yielded = self._yielded, {}
            for node, sequences in yielded.items():
                self.gate.journal.note("yielded", stream=self.number, node=node, spans=spans(sequences))

    def over(self, how: str) -> None:
        """It ended; the first word counts."""
        self.flush()
        with self._lock:
            if self.ended:
                return
            self.ended = True
        self.gate.journal.note("ended", stream=self.number, how=how, at=time.time_ns())


class Gate:
    """The state of one server. `numbers` counts the streams of a run. Safe to use from any thread."""

    def __init__(self, name: str, journal: Journal, numbers: Iterator[int] | None = None) -> None:
        self.name = name
        self.journal = journal
        self.cuts = 0
        """How often its streams were ended by a fault."""
        self.cut_by = Mode.RST
        self.trouble: Mode | None = None
        """The newest fault that lasts."""
        self.streams: Mode | None = None
        """What becomes of all streams: `eof`, `stall` or nothing."""
        self._numbers = numbers or _numbers(1)
        self._active: list[Fault] = []
        self._calls: dict[int, Call] = {}
        self._lock = threading.Lock()

    @property
    def reachable(self) -> bool:
        """Whether a relay can open a stream."""
        return not any(fault.mode in _UNREACHABLE for fault in self._active)

    @property
    def silent(self) -> bool:
        """Whether nothing comes from it, though nothing says why."""
        return any(fault.mode in SILENT for fault in self._active)

    def calls(self, stream: int = 0) -> list[Call]:
        """The open streams, or the one with a number."""
        with self._lock:
            return [call for call in self._calls.values() if stream in (0, call.number)]

    # ── streams ──────────────────────────────────────────────────────────────────────────────────

    def open(self, query: Query, peer: str) -> Call:
        """A stream is opened."""
        with self._lock:
            number = next(self._numbers)
            call = self._calls[number] = Call(number, self, peer, self.cuts)
            call.corrupt = self.trouble is Mode.CORRUPT
            held = any(fault.mode in (Mode.FREEZE, Mode.HALF_OPEN) and not fault.stream for fault in self._active)
        self.journal.note(
            "opened", stream=number, server=self.name, since=query.since, follow=query.follow, at=time.time_ns()
        )
        if held:
            self.journal.note("held", stream=number, held=True)
        return call

    def gone(self, call: Call) -> None:
        """The call is over on the wire."""
        call.over("client")
        with self._lock:
            self._calls.pop(call.number, None)

    def flush(self) -> None:
        """Let the journal know all that was handed over."""
        for call in self.calls():
            call.flush()

    # ── faults ───────────────────────────────────────────────────────────────────────────────────

    def warn(self, fault: Fault) -> None:
        """A fault is about to begin: what is handed over from now on may not arrive."""
        for call in self.calls(fault.stream):
            if fault.mode in BREAKING or fault.mode is Mode.HALF_OPEN:
                self.journal.note("cut", stream=call.number, fault=str(fault.mode))
            elif fault.mode is Mode.FREEZE:
                self.journal.note("held", stream=call.number, held=True)

    def begin(self, fault: Fault) -> None:
        """A fault begins."""
        calls = self.calls(fault.stream)
        if fault.mode is Mode.CORRUPT:
            for call in calls:
                call.corrupt += 1
        if fault.stream:
            for call in calls if fault.mode in _ENDING or fault.mode is Mode.STALL else ():
                call.fault = fault.mode
            return
        with self._lock:
            self._active.append(fault)
            if fault.mode in _ENDING:
                self.cut_by = fault.mode
                self.cuts += 1
            self._settle()

    def end(self, fault: Fault) -> None:
        """A fault is over."""
        with self._lock:
            if fault in self._active:
                self._active.remove(fault)
            still = any(each.mode in (Mode.FREEZE, Mode.HALF_OPEN) for each in self._active)
        for call in self.calls(fault.stream):
            if fault.stream and call.fault is Mode.STALL:
                call.fault = None
            if fault.mode is Mode.FREEZE and not still:
                self.journal.note("held", stream=call.number, held=False)
        with self._lock:
            if fault.mode is Mode.HALF_OPEN:
                # The host is back and knows nothing of its old connections.
                self.cut_by = Mode.RST
                self.cuts += 1
            self._settle()

    def _settle(self) -> None:
        modes = [fault.mode for fault in self._active]
        self.trouble = modes[-1] if modes else None
        self.streams = next((mode for mode in (Mode.EOF, Mode.STALL) if mode in modes), None)


def flush(gates: Iterable[Gate]) -> None:
    """Let the journal know all that was handed over by some servers."""
    for gate in gates:
        gate.flush()
