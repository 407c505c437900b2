"""How often each alert would have fired over a stretch of history, before anybody is paged by it.

A pure function of what was seen and of today's settings. It follows the life of alerts as `flowwatch.alerts`
has it (a finding lasts `active_for` after its last flow, an alert fires once it lasted `for`, keeps firing for
`keep_firing_for`, and beyond `group_above` alerts about one end are one), in whole spells instead of ticks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flowwatch.alerts_settings import AlertSettings
from flowwatch.alerts_text import SEVERITIES

DAY = 86_400.0
TOP = 10
"""Findings that are named."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch of time in which an edge was seen in one way, without a pause. Times in seconds since the epoch."""

    source: str
    destination: str
    service: str
    source_is_pod: bool
    destination_is_pod: bool
    declared: bool
    evidence: str
    """`forwarded`, `dropped` or `audited`."""
    side: str
    first_seen: float
    last_seen: float


@dataclass(slots=True)
class Tally:
    """What would have become of one alert name."""

    fired: int = 0
    pending_only: int = 0
    """Times it would have been over before `for` had elapsed."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """What would have happened, by alert name. `findings` counts how often each would have fired, by name and edge."""

    tallies: Mapping[str, Tally]
    findings: Mapping[tuple[str, str], int]
    days: float

    def pages_per_day(self, name: str) -> float:
        """How often it would have fired in a day, on average."""
        return self.tallies[name].fired / self.days if self.days else 0.0

    def top(self, count: int = TOP) -> list[tuple[str, str, int]]:
        """What would have fired most, as (alert, edge or shared end, times)."""
        ranked = sorted(self.findings.items(), key=lambda one: (-one[1], one[0]))
        return [(name, about, times) for (name, about), times in ranked[:count]]


@dataclass(slots=True)
class _Interval:
    """A stretch in which a finding was active."""

    start: float
    end: float
    name: str
    about: str
    ends: tuple[str, str]
    """What the finding shares with others: its destination and its source."""


@dataclass(slots=True)
class _Standing:
    """Who is active at a moment of the sweep."""

    alone: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When the findings that stand alone end, by what they share."""
    joined: dict[str, float] = field(default_factory=dict)
    """When the groups end."""


def backtest(spells: Iterable[Spell], settings: AlertSettings, since: float, until: float) -> Backtest:
    """What would have happened from `since` to `until` (seconds since the epoch)."""
    intervals = sorted(_intervals(spells, settings, until), key=lambda one: (one.start, one.about))
    alerts: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for interval, about in _grouped(intervals, settings.group_above):
        alerts[interval.name, about].append((interval.start, interval.end))
    tallies = {name: Tally() for name in SEVERITIES}
    findings: Counter[tuple[str, str]] = Counter()
    for (name, about), stretches in alerts.items():
        fired, pending = _lives(_united(stretches), settings)
        tallies[name].fired += fired
        tallies[name].pending_only += pending
        if fired:
            findings[name, about] = fired
    return Backtest(tallies, findings, max(until - since, 0.0) / DAY)


def _intervals(spells: Iterable[Spell], settings: AlertSettings, until: float) -> Iterable[_Interval]:
    every = list(spells)
    edges: dict[tuple[str, str, str], list[Spell]] = defaultdict(list)
    for spell in every:
        edges[spell.source, spell.destination, spell.service].append(spell)
    for (source, destination, service), seen in edges.items():
        about = f"{source} → {destination}:{service}"
        by_name: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for spell in seen:
            if name := _name(spell, seen):
                by_name[name].append((spell.first_seen, min(spell.last_seen + settings.active_for, until)))
        for name, stretches in by_name.items():
            ends = (f"{name} → {destination}:{service}", f"{name} {source} → …")
            for start, end in _united(stretches):
                yield _Interval(start, end, name, about, ends)


def _name(spell: Spell, seen: Sequence[Spell]) -> str:
    """The alert that a spell is evidence for; empty for none."""
    match spell.evidence:
        case "audited":
            return "FlowwatchEnforcementGap"
        case "dropped":
            return "FlowwatchDeclaredButDropped" if spell.declared else "FlowwatchDeniedAttempts"
        case "forwarded" if not spell.declared:
            only_sent = all(one.side == "egress" for one in seen if one.evidence == "forwarded")
            refused = any(one.side == "ingress" for one in seen if one.evidence == "dropped")
            if only_sent and refused and spell.destination_is_pod:
                return ""
            return "FlowwatchUnexpectedEgress" if spell.source_is_pod else "FlowwatchUnexpectedIngress"
        case _:
            return ""


def _grouped(intervals: Iterable[_Interval], limit: int) -> Iterable[tuple[_Interval, str]]:
    """Each interval with what its alert would have been about: its edge, or the end it shares with too many."""
    standing = _Standing()
    for one in intervals:
        shared = next(
            (
                end
                for end in one.ends
                if standing.joined.get(end, 0.0) > one.start
                or sum(until > one.start for until in standing.alone[end]) >= limit
            ),
            None,
        )
        if shared is None:
            for end in one.ends:
                standing.alone[end] = [until for until in standing.alone[end] if until > one.start] + [one.end]
            yield one, one.about
        else:
            standing.joined[shared] = max(standing.joined.get(shared, 0.0), one.end)
            yield one, shared.removeprefix(one.name).strip()


def _united(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    united: list[tuple[float, float]] = []
    for start, end in sorted(stretches):
        if united and start <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], end))
        else:
            united.append((start, end))
    return united


def _lives(stretches: Iterable[tuple[float, float]], settings: AlertSettings) -> tuple[int, int]:
    """How often an alert that holds in these stretches fires, and how often it never gets that far."""
    fired = pending = 0
    kept_until = float("-inf")
    for start, end in stretches:
        if start < kept_until:
            kept_until = end + settings.keep_firing_for
        elif end - start >= settings.for_:
            fired += 1
            kept_until = end + settings.keep_firing_for
        else:
            pending += 1
    return fired, pending
