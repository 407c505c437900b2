"""The journal of a run: what every node emitted, what every stream was given of it, and how each ended.

A `Journal` is kept by the running simulator, in memory and on request as lines of JSON. `Evidence`
reads either and answers, for each node, the question that a client can be held against: which of
its flows must have been received, which may have been, which cannot have been.

Events are known by node and sequence number, which counts all events of a node from 0. A stream's
spans are pairs of sequence numbers, both included.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from flowwatch.errors import FlowwatchError
from flowwatch.simulate.stage import Event

CLEAN = frozenset({"ok", "status"})
"""Ends of streams before which everything was delivered: the server said the end itself."""


@dataclass(slots=True)
class Stream:
    """One stream as the server saw it. `server` is a node's name, or `relay`; times in ns."""

    number: int
    server: str
    since: int = 0
    follow: bool = True
    opened: int = 0
    spans: dict[str, list[list[int]]] = field(default_factory=dict)
    """What was yielded of each node, in order; what was replayed is in it again."""
    live_from: dict[str, list[int]] = field(default_factory=dict)
    """For each node the sequence number behind its history, as often as the node's stream was opened."""
    told: list[tuple[str, int]] = field(default_factory=list)
    """Ring losses it was told of: node and count."""
    held: bool = False
    """What it is given does not arrive at present."""
    cut: str = ""
    """The fault that broke it."""
    ended: str = ""
    """`ok`, `status` (an error the server told), `client` (it went away), `stopped`; empty: still up."""
    closed: int = 0

    @property
    def certain(self) -> bool:
        """Whether all that was yielded has arrived, or is about to."""
        return not self.cut and not self.held and (not self.ended or self.ended in CLEAN)


@dataclass(frozen=True, slots=True)
class Fates:
    """The flows of one node by uuid."""

    must: frozenset[str]
    """Yielded on a stream that is up or ended cleanly: must have been received."""
    may: frozenset[str]
    """Yielded, but only on streams that broke: may have been received."""
    never: frozenset[str]
    """Never yielded: cannot have been received."""


@dataclass(slots=True)
class Emitted:
    """All events of one node by sequence number. A uuid is empty for anything but a flow."""

    uuids: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)
    """LostEvents: what they count."""
    boots: list[int] = field(default_factory=lambda: [0])
    """Where each life of the agent began."""


class Evidence:
    """What a journal says. It grows by `take`, in the order of the journal's lines."""

    def __init__(self) -> None:
        self.emitted: dict[str, Emitted] = {}
        self.streams: dict[int, Stream] = {}
        self.faults: list[tuple[int, str, bool]] = []
        """When (ns), which, and whether it began or ended."""

    @classmethod
    def read(cls, path: Path) -> Evidence:
        """Read a journal that may still be growing; an unfinished last line is left out. Raises FlowwatchError."""
        evidence = cls()
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except OSError as error:
            raise FlowwatchError(f"cannot read {path}: {error.strerror or error}") from error
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                break
            try:
                evidence.take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise FlowwatchError(f"{path}:{number}: this is not a line of a journal: {error!r}") from error
        return evidence

    def nodes(self) -> list[str]:
        """The nodes that emitted something."""
        return list(self.emitted)

    def fates(self, node: str, killed: int = 0) -> Fates:
        """Which flows of a node must, may and cannot have been received, if everything under way has arrived.

        `killed` is when (ns) the client was last killed: of what it was given on streams opened
        before, it may have kept nothing.
        """
        uuids = self.emitted[node].uuids if node in self.emitted else []
        certain, possible = bytearray(len(uuids)), bytearray(len(uuids))
        for stream in self.streams.values():
            marks = certain if stream.certain and stream.opened >= killed else possible
            for first, last in stream.spans.get(node, ()):
                marks[first : last + 1] = b"\1" * (last + 1 - first)
        must = frozenset(uuid for uuid, mark in zip(uuids, certain, strict=True) if mark and uuid)
        may = frozenset(uuid for uuid, mark in zip(uuids, possible, strict=True) if mark and uuid) - must
        return Fates(must, may, frozenset(filter(None, uuids)) - must - may)

    def take(self, line: Mapping[str, Any]) -> None:
        """Take in one line."""
        match line["what"]:
            case "emitted":
                emitted = self.emitted.setdefault(line["node"], Emitted())
                emitted.uuids += line["uuids"]
                emitted.times += line["times"]
                emitted.lost |= {int(at): count for at, count in line["lost"].items()}
            case "restarted":
                self.emitted.setdefault(line["node"], Emitted()).boots.append(line["from"])
            case "opened":
                self.streams[line["stream"]] = Stream(
                    line["stream"], line["server"], line["since"], line["follow"], line["at"]
                )
            case "joined":
                self.streams[line["stream"]].live_from.setdefault(line["node"], []).append(line["live_from"])
            case "yielded":
                self.streams[line["stream"]].spans.setdefault(line["node"], []).extend(line["spans"])
            case "told":
                self.streams[line["stream"]].told.append((line["node"], line["lost"]))
            case "held":
                self.streams[line["stream"]].held = line["held"]
            case "cut":
                stream = self.streams[line["stream"]]
                stream.cut = stream.cut or line["fault"]
            case "ended":
                stream = self.streams[line["stream"]]
                stream.ended, stream.closed = line["how"], line["at"]
            case "fault":
                self.faults.append((line["at"], line["fault"], line["on"]))
            case other:
                raise ValueError(f"{other!r} happens in no journal")


class Journal:
    """Keeps the evidence while the run goes on. Safe to use from any thread.

    Not `kept`, it forgets everything but which streams are open. With a `path` every line is
    written there too, and flushed.
    """

    def __init__(self, *, kept: bool = False, path: Path | None = None) -> None:
        self.kept = kept or path is not None
        self._evidence = Evidence()
        self._lock = threading.Lock()
        self._path = path
        self._file: TextIO | None = None

    def open(self) -> None:
        """Begin the file. Raises FlowwatchError."""
        if self._path is not None:
            try:
                self._file = self._path.open("w", encoding="utf-8")
            except OSError as error:
                raise FlowwatchError(f"cannot write {self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        """End the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def evidence(self) -> Evidence:
        """What is known by now: a copy."""
        copy = Evidence()
        with self._lock:
            known = self._evidence
            copy.faults = list(known.faults)
            for name, each in known.emitted.items():
                copy.emitted[name] = Emitted(list(each.uuids), list(each.times), dict(each.lost), list(each.boots))
            for number, stream in known.streams.items():
                copy.streams[number] = Stream(
                    number, stream.server, stream.since, stream.follow, stream.opened,
                    {node: [list(span) for span in spans] for node, spans in stream.spans.items()},
                    {node: list(places) for node, places in stream.live_from.items()},
                    list(stream.told), stream.held, stream.cut, stream.ended, stream.closed,
                )  # fmt: skip
        return copy

    def note(self, what: str, **facts: Any) -> None:
        """Something happened."""
        if not self.kept:
            return
        line = {"what": what, **facts}
        with self._lock:
            self._evidence.take(line)
            if self._file is not None:
                self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
                self._file.flush()

    def emitted(self, node: str, events: Sequence[Event]) -> None:
        """A node emitted events, the next ones in its sequence."""
        if self.kept:
            with self._lock:
                known = self._evidence.emitted.get(node)
                begin = len(known.uuids) if known else 0
            self.note(
                "emitted",
                node=node,
                uuids=[event.uuid for event in events],
                times=[event.time for event in events],
                lost={str(begin + at): event.lost for at, event in enumerate(events) if event.lost},
            )

    def fault(self, text: str, *, on: bool) -> None:
        """A fault begins or ends."""
        self.note("fault", at=time.time_ns(), fault=text, on=on)


def spans(sequences: Iterable[int]) -> list[list[int]]:
    """Numbers as pairs of first and last, as long as each is one more than the one before it."""
    found: list[list[int]] = []
    for number in sequences:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
