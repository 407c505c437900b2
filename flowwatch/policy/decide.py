"""The decision procedure: from the entries that match to a verdict. Pure functions over masks of entries.

Tiers are walked in order and within a tier priorities; at one priority a deny comes first, then a pass, then an
allow. Entries of which it is not known whether they match lead to every verdict they could lead to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from flowwatch.policy.entries import Effect, Entry, Tier


class Ending(StrEnum):
    """How entries may leave a connection."""

    ALLOW = "allow"
    DENY = "deny"
    REFUSED = "deny-l7"
    """The connection is allowed, its request is not."""
    UNTOLD = "unknown"
    """The connection is allowed; whether its request is cannot be told."""
    OPEN = "open"
    """No entry decides."""


@dataclass(frozen=True, slots=True)
class Level:
    """The entries of one tier and priority, as masks by what they do."""

    tier: Tier
    every: int
    allow: int
    deny: int
    passes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the entries say: `effect` None where none decides. `deciding` is the mask of those that do."""

    effect: Effect | None
    deciding: int = 0


def levels_of(entries: Sequence[Entry]) -> tuple[Level, ...]:
    """The levels in the order of evaluation; an entry's bit is its index."""
    masks: dict[tuple[Tier, tuple[int, int]], list[int]] = {}
    for index, entry in enumerate(entries):
        level = masks.setdefault((entry.tier, entry.order), [0, 0, 0])
        level[entry.effect] |= 1 << index
    return tuple(
        Level(tier, allow | deny | passes, allow, deny, passes)
        for (tier, _), (allow, deny, passes) in sorted(masks.items(), key=lambda item: item[0])
    )


def settle(levels: Sequence[Level], matching: int) -> Outcome:
    """What certainly matching entries decide."""
    passed: Tier | None = None
    for level in levels:
        here = matching & level.every
        if not here or level.tier is passed:
            continue
        if here & level.deny:
            return Outcome(Effect.DENY, here & level.deny)
        if here & level.passes:
            passed = level.tier
        else:
            return Outcome(Effect.ALLOW, here & level.allow)
    return Outcome(None)


@dataclass(frozen=True, slots=True)
class Requests:
    """What allowing entries do with the request at hand: `through` lets it pass, of `untold` that cannot be told, and
    all others hold it back."""

    through: int
    untold: int = 0

    def endings(self, certain: int, perhaps: int) -> set[Ending]:
        """How a connection may end that some entries allow, and that others may allow."""
        if certain & self.through:
            return {Ending.ALLOW}
        held = ~(self.through | self.untold)
        found: set[Ending] = set()
        if certain & self.untold:
            found.add(Ending.UNTOLD)
        elif certain or perhaps & held:
            found.add(Ending.REFUSED)
        if perhaps & self.through:
            found.add(Ending.ALLOW)
        if perhaps & self.untold:
            found.add(Ending.UNTOLD)
        return found


ANY_REQUEST = Requests(-1)


def possible(levels: Sequence[Level], certain: int, perhaps: int, requests: Requests = ANY_REQUEST) -> set[Ending]:
    """Every ending that is possible where some entries may match or not."""
    found: set[Ending] = set()
    passed: Tier | None = None
    for number, level in enumerate(levels):
        if level.tier is passed:
            continue
        if certain & level.deny:
            return found | {Ending.DENY}
        if perhaps & level.deny:
            found.add(Ending.DENY)
        if certain & level.passes:
            passed = level.tier
            continue
        if perhaps & level.passes:
            rest = next((at for at in range(number, len(levels)) if levels[at].tier is not level.tier), len(levels))
            found |= possible(levels[rest:], certain, perhaps, requests)
        if (certain | perhaps) & level.allow:
            found |= requests.endings(certain & level.allow, perhaps & level.allow)
        if certain & level.allow:
            return found
    return found | {Ending.OPEN}


def is_reached(levels: Sequence[Level], certain: int, perhaps: int, deciding: int) -> bool:
    """Whether the entries that decide as far as is certain do so in any case: nothing that may match comes first."""
    passed: Tier | None = None
    doubtful: Tier | None = None
    for level in levels:
        if level.every & deciding:
            return doubtful is not level.tier
        if level.tier is passed:
            continue
        if perhaps & (level.deny | level.allow):
            return False
        if certain & level.passes:
            passed = level.tier
        elif perhaps & level.passes:
            doubtful = level.tier
    return True
