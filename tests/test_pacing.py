"""After five quick evaluations or five minutes, everything is evaluated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch.pacing import Evaluation, Pacer

FULL, INCREMENTAL = Evaluation.FULL, Evaluation.INCREMENTAL
START = 1_780_000_000.0

steps = st.lists(st.floats(min_value=0, max_value=600), min_size=1, max_size=60)


def played(pacer: Pacer, moments: list[float]) -> list[Evaluation]:
    """What the pacer says at each moment."""
    return [pacer.next(moment) for moment in moments]


def moments_of(pauses: list[float]) -> list[float]:
    """The moments that lie these pauses apart."""
    moments, now = [], START
    for pause in pauses:
        now += pause
        moments.append(now)
    return moments


def test_the_first_evaluation_is_full() -> None:
    """Before it nothing is known, so there is nothing to be quick about."""
    assert Pacer().next(START) is FULL


def test_after_five_quick_ones_a_full_one_is_forced() -> None:
    """Count < 5 takes the fast path, count >= 5 forces a full evaluation, which starts the count again."""
    said = played(Pacer(), [START + second for second in range(13)])

    assert said == [FULL, *[INCREMENTAL] * 5, FULL, *[INCREMENTAL] * 5, FULL]


@pytest.mark.parametrize(("later", "said"), [(299.9, INCREMENTAL), (300.0, FULL), (301.0, FULL)])
def test_after_five_minutes_a_full_one_is_forced(later: float, said: Evaluation) -> None:
    """The time counts from the last full evaluation, however few quick ones there were."""
    assert played(Pacer(), [START, START + 1, START + later]) == [FULL, INCREMENTAL, said]


def test_quick_ones_do_not_put_off_the_full_one() -> None:
    """Five minutes after the last full evaluation, not after the last quick one."""
    said = played(Pacer(), [START, START + 200, START + 250, START + 300])

    assert said == [FULL, INCREMENTAL, INCREMENTAL, FULL]


def test_a_clock_set_back_forces_a_full_one() -> None:
    """How much time went by cannot be known then."""
    assert played(Pacer(), [START, START - 3600, START - 3599]) == [FULL, FULL, INCREMENTAL]


def test_without_a_limit_every_one_is_full() -> None:
    """A limit of 0 or a window of 0 leaves no room for quick ones."""
    assert played(Pacer(limit=0), [START, START + 1]) == [FULL, FULL]
    assert played(Pacer(window=0), [START, START]) == [FULL, FULL]


@pytest.mark.parametrize(("limit", "window"), [(-1, 300.0), (5, -1.0), (5, float("nan"))])
def test_what_cannot_be_a_pace_is_refused(limit: int, window: float) -> None:
    """Negative numbers mean nothing."""
    with pytest.raises(ValueError, match="must not be negative"):
        Pacer(limit, window)


@given(steps, st.integers(min_value=0, max_value=8), st.floats(min_value=0, max_value=1000))
def test_no_full_evaluation_is_ever_overdue(pauses: list[float], limit: int, window: float) -> None:
    """Whenever somebody asks: never more than `limit` quick ones in a row, never one `window` after the last full."""
    moments = moments_of(pauses)
    row, last_full = 0, -1.0
    for moment, said in zip(moments, played(Pacer(limit, window), moments), strict=True):
        if said is FULL:
            row, last_full = 0, moment
        else:
            row += 1
            assert row <= limit
            assert last_full >= 0
            assert moment - last_full < window


@given(steps, st.integers(min_value=0, max_value=8), st.floats(min_value=0, max_value=1000))
def test_no_full_evaluation_is_forced_without_need(pauses: list[float], limit: int, window: float) -> None:
    """A full one but for the first comes after `limit` quick ones or `window` seconds, not before."""
    moments = moments_of(pauses)
    row, last_full = 0, float("-inf")
    for moment, said in zip(moments, played(Pacer(limit, window), moments), strict=True):
        if said is FULL:
            assert row == limit or moment - last_full >= window
            row, last_full = 0, moment
        else:
            row += 1
