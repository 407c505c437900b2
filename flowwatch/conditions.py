"""Status conditions: do the paths that something depends on work, as far as was seen?

A condition is a name that rules of the allowlist bear, and it says of all of them together what a
condition in the status of a Kubernetes object says: True, False or Unknown, with a reason. It rests on
what was observed, so what was not observed is Unknown and never True. Pure: the time and the earlier
conditions come in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from flowwatch.allowlist.rules import Rule, listed

Ints = npt.NDArray[np.int64]

WINDOW = 86_400.0
"""Seconds for which a path that was seen is taken to work."""
MIN_COVERAGE = 0.99


class Status(StrEnum):
    """The three values of a condition, written as Kubernetes writes them."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition has its status."""

    PATHS_FORWARDED = "PathsForwarded"
    PATH_BLOCKED = "PathBlocked"
    NOT_OBSERVED = "NotObserved"
    NOT_OBSERVED_RECENTLY = "NotObservedRecently"
    DECLARATION_EXPIRED = "DeclarationExpired"
    COVERAGE_TOO_LOW = "CoverageTooLow"


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of the edges that one rule declares. Times in seconds since the epoch; 0: never."""

    forwarded: float = 0.0
    """When any of them was last forwarded."""
    dropped: float = 0.0
    """When one was last dropped by policy that was not forwarded since."""

    @property
    def last_seen(self) -> float:
        """When any of them was last seen at all."""
        return max(self.forwarded, self.dropped)


@dataclass(frozen=True, slots=True)
class Condition:
    """One status condition. `last_transition` is when its status last changed, in seconds since the epoch."""

    name: str
    status: Status
    reason: Reason
    message: str
    last_transition: float

    @property
    def manifest(self) -> dict[str, str]:
        """The condition as it stands in the status of a Kubernetes object."""
        moment = datetime.fromtimestamp(self.last_transition, UTC)
        return {
            "type": self.name,
            "status": str(self.status),
            "reason": str(self.reason),
            "message": self.message,
            "lastTransitionTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def declared(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    """The conditions that rules bear, each with its rules, in the order written."""
    found: dict[str, tuple[Rule, ...]] = {}
    for rule in rules:
        for name in rule.conditions:
            found[name] = (*found.get(name, ()), rule)
    return found


def observe(rule: Ints, forwarded: Ints, dropped: Ints) -> dict[int, Observed]:
    """What was seen of each rule, from columns with one element per edge: the id of the rule that declares
    it (-1: none), and when it was last forwarded and last dropped, in nanoseconds (0: never)."""
    found: dict[int, Observed] = {}
    standing = np.where(dropped > forwarded, dropped, 0)
    for number in np.unique(rule[rule >= 0]).tolist():
        edges = rule == number
        found[number] = Observed(int(forwarded[edges].max()) / 1e9, int(standing[edges].max()) / 1e9)
    return found


def evaluate(
    conditions: Mapping[str, Sequence[Rule]],
    observed: Mapping[int, Observed],
    coverage: float,
    now: float,
    *,
    before: Iterable[Condition] = (),
    window: float = WINDOW,
    min_coverage: float = MIN_COVERAGE,
) -> tuple[Condition, ...]:
    """Say of each condition whether its paths work at `now`, in the order given.

    False as soon as one path is blocked: declared, and dropped by policy since. True when every path was
    seen forwarded within `window` seconds. Unknown otherwise, and where less than `min_coverage` of what
    happened was seen: a block may be among the rest. `observed` is by rule id, `coverage` a share (0…1);
    `before` are the conditions as they were, from which those whose status is the same keep their time.
    """
    earlier = {condition.name: condition for condition in before}
    found = []
    for name, rules in conditions.items():
        status, reason, message = _evaluate(rules, observed, coverage, now, window, min_coverage)
        known = earlier.get(name)
        since = known.last_transition if known is not None and known.status is status else now
        found.append(Condition(name, status, reason, message, since))
    return tuple(found)


def _evaluate(
    rules: Sequence[Rule],
    observed: Mapping[int, Observed],
    coverage: float,
    now: float,
    window: float,
    min_coverage: float,
) -> tuple[Status, Reason, str]:
    holding = [rule for rule in rules if rule.ends > now]
    seen = {rule.id: observed.get(rule.id, Observed()) for rule in holding}
    blocked = [rule for rule in holding if seen[rule.id].dropped and seen[rule.id].dropped >= now - window]
    never = [rule for rule in holding if not seen[rule.id].forwarded]
    stale = [rule for rule in holding if rule not in never and seen[rule.id].forwarded < now - window]
    if blocked:
        return Status.FALSE, Reason.PATH_BLOCKED, f"declared but dropped by policy: {_titles(blocked)}"
    if expired := [rule for rule in rules if rule.ends <= now]:
        return Status.UNKNOWN, Reason.DECLARATION_EXPIRED, f"no longer declared: {_titles(expired)}"
    if never:
        return Status.UNKNOWN, Reason.NOT_OBSERVED, f"not seen so far: {_titles(never)}"
    if stale:
        return Status.UNKNOWN, Reason.NOT_OBSERVED_RECENTLY, f"not seen for {_span(window)}: {_titles(stale)}"
    if coverage < min_coverage:
        message = f"only {coverage:.1%} of the traffic was seen, which is less than {min_coverage:.1%}"
        return Status.UNKNOWN, Reason.COVERAGE_TOO_LOW, message
    every = "its path was" if len(rules) == 1 else f"all {len(rules)} paths were"
    return Status.TRUE, Reason.PATHS_FORWARDED, f"{every} seen forwarded"


def _titles(rules: Sequence[Rule]) -> str:
    return listed([rule.title for rule in rules], "; ")


def _span(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:g}h"
    return f"{seconds / 60:g}m" if seconds >= 60 else f"{seconds:g}s"
