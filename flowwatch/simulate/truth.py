"""What a run contains, so that what is found in it can be held against it.

The plan comes from the scenes; the counts grow with every message that is sent. `lines` is the
form of `--truth`: one JSON object for each violation and trap, and one with the totals at the end.

Ends are named as flowwatch prints them. A client outside the cluster is `world`, whatever its
address. `flows` counts all flows of a connection, replies and second reports among them, but not
the name lookup before it; `connections` counts attempts, so retransmits do not add to it.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowwatch.hubble import flow_pb2
from flowwatch.simulate.cases import Case, CaseClass
from flowwatch.simulate.messages import DROP, L7, POLICY_VERDICT, SOCKET, TRACE
from flowwatch.simulate.stage import Event
from flowwatch.simulate.traffic import Scenes

UUIDS = 256
"""How many uuids are remembered of a case, the newest."""

_EVENT_NAMES = {DROP: "drop", TRACE: "trace", POLICY_VERDICT: "policy-verdict", SOCKET: "socket", L7: "l7"}
_NANOSECONDS = 1e9


@dataclass(slots=True)
class Tally:
    """One case and what was sent of it. Times are seconds since the epoch; `first` 0 if nothing is planned yet."""

    case: Case
    offset: float
    """Seconds after the start at which it is planned to begin; for expected edges 0."""
    first: float = 0.0
    last: float = 0.0
    connections: int = 0
    flows: int = 0
    uuids: deque[str] = field(default_factory=lambda: deque(maxlen=UUIDS))


@dataclass(slots=True)
class Totals:
    """What was sent in all."""

    messages: int = 0
    flows: int = 0
    lost: int = 0
    """The sum over the LostEvents."""
    verdicts: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    nodes: Counter[str] = field(default_factory=Counter)
    """Flows by node."""


class Truth:
    """The truth of one run. Safe to use from any thread."""

    def __init__(self, scenes: Scenes) -> None:
        self._lock = threading.Lock()
        every = (*scenes.violations, *scenes.traps, *scenes.expected)
        self._tallies = {scene.case.id: Tally(scene.case, scene.first) for scene in every}
        self._kinds: Counter[tuple[flow_pb2.Verdict, int, str]] = Counter()
        self._messages = 0
        self._lost = 0

    def begin(self, start: float) -> None:
        """The run begins; from now on planned beginnings are moments."""
        with self._lock:
            for tally in self._tallies.values():
                if tally.case.case_class is not CaseClass.EXPECTED:
                    tally.first = start + tally.offset

    def count(self, events: Iterable[Event]) -> None:
        """Messages were sent."""
        with self._lock:
            for event in events:
                self._messages += 1
                self._lost += event.lost
                if event.template is None:
                    continue
                report = event.template.report
                self._kinds[report.verdict, report.event, event.node] += 1
                if event.case is not None:
                    _add(self._tallies[event.case.id], event)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    @property
    def violations(self) -> list[Tally]:
        """The violations, in the order in which they begin."""
        return self._of(CaseClass.VIOLATION)

    @property
    def traps(self) -> list[Tally]:
        """The traps, in the order in which they begin."""
        return self._of(CaseClass.TRAP)

    @property
    def expected(self) -> list[Tally]:
        """The expected edges."""
        return self._of(CaseClass.EXPECTED)

    @property
    def totals(self) -> Totals:
        """What was sent until now."""
        with self._lock:
            totals = Totals(messages=self._messages, lost=self._lost)
            for (verdict, event, node), count in self._kinds.items():
                totals.flows += count
                totals.verdicts[flow_pb2.Verdict.Name(verdict)] += count
                totals.events[_EVENT_NAMES[event]] += count
                totals.nodes[node] += count
        return totals

    def lines(self) -> Iterator[str]:
        """The truth as JSON, line by line without line breaks."""
        for tally in (*self.violations, *self.traps):
            yield json.dumps(_row(tally), ensure_ascii=False)
        totals = self.totals
        expected = self.expected
        yield json.dumps(
            {
                "class": "totals",
                "messages": totals.messages,
                "flows": totals.flows,
                "verdicts": dict(sorted(totals.verdicts.items())),
                "events": dict(sorted(totals.events.items())),
                "nodes": dict(sorted(totals.nodes.items())),
                "lost": totals.lost,
                "declared_edges": len(expected),
                "declared_edges_seen": sum(1 for tally in expected if tally.flows),
            }
        )

    def write(self, path: Path) -> None:
        """Replace a file by the truth as it is now; who reads it sees the old or the new, never a part."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")
        draft.replace(path)

    def _of(self, case_class: CaseClass) -> list[Tally]:
        with self._lock:
            return [_copy(tally) for tally in self._tallies.values() if tally.case.case_class is case_class]


def _add(tally: Tally, event: Event) -> None:
    moment = event.time / _NANOSECONDS
    if not tally.flows:
        tally.first = moment
    tally.last = moment
    tally.flows += 1
    tally.connections += event.opens
    tally.uuids.append(event.uuid)


def _copy(tally: Tally) -> Tally:
    return Tally(
        tally.case, tally.offset, tally.first, tally.last, tally.connections, tally.flows, tally.uuids.copy()
    )  # fmt: skip


def _row(tally: Tally) -> dict[str, Any]:
    case = tally.case
    return {
        "id": case.id,
        "class": case.case_class,
        "square": case.square,
        "kind": case.kind,
        "source": case.source,
        "destination": case.destination,
        "port": case.port,
        "protocol": case.protocol.name,
        "service": case.service,
        "edge": case.edge,
        "begins_after": tally.offset,
        "first": round(tally.first, 6) or None,
        "last": round(tally.last, 6) or None,
        "connections": tally.connections,
        "flows": tally.flows,
        "uuids": list(tally.uuids),
    }
