"""Judge captures with the engine the daemon uses; time is the flows' own.

Ends when the captures do. At the end everything has settled: nothing more can come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from flowwatch.engine import Engine
from flowwatch.model import Finding, Square
from flowwatch.receive import Receiver
from flowwatch.store import Store

FOR_EVER = 1e9
"""Seconds; a finding of a capture stays a finding to its end."""


@dataclass(slots=True)
class Replayed:
    """What a replay came to."""

    findings: list[Finding] = field(default_factory=list)
    squares: dict[Square, int] = field(default_factory=dict)
    """Edges in each square."""
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    flows: int = 0
    messages: int = 0
    broken: int = 0
    """Lines, frames and messages that could not be read."""
    lost: Counter[str] = field(default_factory=Counter)
    coverage: float = 1.0
    unused_rules: tuple[str, ...] = ()


def replay(
    receiver: Receiver,
    engine: Engine,
    settle: float,
    store: Store | None = None,
    told: Callable[[int], None] | None = None,
) -> Replayed:
    """Take a receiver's messages through the engine until it ends; `told` hears the number of flows
    so far. Rows go to `store` where one is given, and nowhere else."""
    result = Replayed()
    engine.coverage.live = False
    undecodable = 0
    for batch in receiver.batches():
        if not batch.messages:
            continue
        counts = engine.ingest(batch, engine.newest)
        result.messages += counts.messages
        result.flows += counts.flows
        undecodable += counts.undecodable
        result.verdicts.update(counts.verdicts)
        result.classes.update(counts.classes)
        result.lost.update(counts.lost)
        if store is None:
            engine.forget_rows()
        else:
            store.commit(engine.drain(engine.newest))
        if told:
            told(result.flows)
    end = engine.newest + settle
    result.findings = engine.current(end)
    result.squares = engine.findings.counts(end)
    result.broken = receiver.status.broken + undecodable
    result.coverage = engine.coverage.delivered()
    result.unused_rules = engine.unused_rules()
    if store is not None:
        store.commit(engine.drain(end, result.findings, last=True))
    return result
