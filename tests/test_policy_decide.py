"""The decision procedure: tiers, priorities, and what may match."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from flowwatch.policy.decide import Ending, Level, Outcome, Requests, is_reached, levels_of, possible, settle
from flowwatch.policy.entries import Effect, Entry, Policy, Subject, Tier

POLICY = Policy("CiliumNetworkPolicy", "shop", "p")


def entry(effect: Effect, tier: Tier = Tier.NORMAL, priority: int = 0, number: int = 0) -> Entry:
    """An entry of which only its place in the order matters."""
    return Entry(POLICY, 1, "", True, Subject(), None, effect=effect, tier=tier, order=(priority, number))


ENTRIES = st.lists(
    st.builds(entry, st.sampled_from(Effect), st.sampled_from(Tier), st.integers(0, 2), st.integers(0, 1)), max_size=6
)


def bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def plainly(entries: list[Entry], matching: int) -> Effect | None:
    """The procedure once more, entry by entry."""
    passed: set[Tier] = set()
    for tier, order in sorted({(one.tier, one.order) for one in entries}):
        here = [
            entries[bit].effect for bit in bits(matching) if (entries[bit].tier, entries[bit].order) == (tier, order)
        ]
        if tier in passed or not here:
            continue
        if Effect.DENY in here:
            return Effect.DENY
        if Effect.PASS in here:
            passed.add(tier)
            continue
        return Effect.ALLOW
    return None


def test_a_deny_beats_an_allow_of_its_level() -> None:
    """And those that decide are told."""
    levels = levels_of([entry(Effect.ALLOW), entry(Effect.DENY), entry(Effect.DENY)])
    assert settle(levels, 0b111) == Outcome(Effect.DENY, 0b110)
    assert settle(levels, 0b001) == Outcome(Effect.ALLOW, 0b001)
    assert settle(levels, 0) == Outcome(None)


def test_levels_are_in_the_order_of_evaluation() -> None:
    """Tiers first, then priorities, then places."""
    entries = [
        entry(Effect.ALLOW, Tier.BASELINE),
        entry(Effect.DENY, Tier.ADMIN, 2),
        entry(Effect.PASS, Tier.ADMIN, 1, 1),
        entry(Effect.ALLOW, Tier.ADMIN, 1, 0),
        entry(Effect.ALLOW),
    ]
    assert levels_of(entries) == (
        Level(Tier.ADMIN, 8, 8, 0, 0),
        Level(Tier.ADMIN, 4, 0, 0, 4),
        Level(Tier.ADMIN, 2, 0, 2, 0),
        Level(Tier.NORMAL, 16, 16, 0, 0),
        Level(Tier.BASELINE, 1, 1, 0, 0),
    )


@given(ENTRIES, st.integers(0, 63))
def test_masks_decide_as_entries_do(entries: list[Entry], matching: int) -> None:
    """For every set of entries that match."""
    matching &= (1 << len(entries)) - 1
    assert settle(levels_of(entries), matching).effect == plainly(entries, matching)


@given(ENTRIES, st.integers(0, 63), st.integers(0, 63))
def test_what_is_possible_is_every_verdict_there_could_be(entries: list[Entry], certain: int, perhaps: int) -> None:
    """All ways in which what may match does or does not, and no verdict beyond them."""
    every = (1 << len(entries)) - 1
    certain &= every
    perhaps &= every & ~certain
    open_bits = bits(perhaps)
    endings = {Effect.ALLOW: Ending.ALLOW, Effect.DENY: Ending.DENY, None: Ending.OPEN}
    expected = {
        endings[plainly(entries, certain | sum(1 << bit for bit, on in zip(open_bits, chosen, strict=True) if on))]
        for chosen in product((False, True), repeat=len(open_bits))
    }
    assert possible(levels_of(entries), certain, perhaps) == expected


@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 15), st.integers(0, 15))
def test_requests_end_as_one_of_the_entries_has_it(certain: int, perhaps: int, through: int, untold: int) -> None:
    """One entry that lets the request pass is enough; all ways in which what may match does or does not."""
    perhaps &= ~certain
    untold &= ~through
    expected = set()
    for chosen in range(16):
        matching = certain | (chosen & perhaps)
        if matching & through:
            expected.add(Ending.ALLOW)
        elif matching & untold:
            expected.add(Ending.UNTOLD)
        elif matching:
            expected.add(Ending.REFUSED)
    found = Requests(through, untold).endings(certain, perhaps)
    assert (found == expected) if certain or perhaps else (found == set())


def test_what_may_match_first_may_be_what_decides() -> None:
    """Then it is not known who decided, though it is known how."""
    levels = levels_of([entry(Effect.DENY, Tier.ADMIN), entry(Effect.PASS, Tier.ADMIN, 1), entry(Effect.DENY)])
    assert not is_reached(levels, 0b100, 0b001, 0b100)
    assert is_reached(levels, 0b100, 0b010, 0b100)
    assert is_reached(levels, 0b100, 0, 0b100)
    same_tier = levels_of([entry(Effect.PASS, priority=1), entry(Effect.DENY, priority=2)])
    assert not is_reached(same_tier, 0b10, 0b01, 0b10)
