"""What the tests measure work with: it counts every turn of a loop, and the same each time."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from tests.support.effort import TWICE, effort
from tests.support.patience import ends, hang_guard


def pairs(count: int) -> int:
    """Work that grows with the square of its input, without a call."""
    found = 0
    for one in range(count):
        for other in range(count):
            if one == other:
                found += 1
    return found


@pytest.mark.parametrize(
    "work",
    [
        lambda count: [one for one in range(count)],  # noqa: C416
        lambda count: sum(one for one in range(count)),
        lambda count: [len("x") for _ in range(count)],
    ],
)
def test_linear_work_is_linear(work: Callable[[int], object]) -> None:
    """Loops of every kind count with each of their turns."""
    few, many = effort(lambda: work(1000)), effort(lambda: work(2000))
    assert few >= 1000
    assert 1.9 < many / few < TWICE


def test_quadratic_work_is_not_linear() -> None:
    """It is noticed although nothing is called."""
    assert effort(lambda: pairs(80)) > 1.5 * TWICE * effort(lambda: pairs(40))


def test_the_same_work_is_the_same_effort() -> None:
    """Nothing but the work is counted."""
    assert len({effort(lambda: pairs(20)) for _ in range(5)}) == 1


def test_tracing_ends_with_the_work() -> None:
    """Also when the work fails."""
    before = sys.gettrace(), sys.getprofile()
    with pytest.raises(ZeroDivisionError):
        effort(lambda: 1 / 0)
    assert (sys.gettrace(), sys.getprofile()) == before


def test_work_without_an_end_is_broken_off() -> None:
    """Although it is one call of one function in C."""
    with pytest.raises(AssertionError, match="hangs"), hang_guard(0.2):
        re.fullmatch("(a+)+", "a" * 64 + "!")
    with hang_guard(0.2):
        assert re.fullmatch("a+", "a" * 64)


def test_an_error_is_handed_on() -> None:
    """What fails in the thread fails the test."""
    with pytest.raises(ZeroDivisionError):
        ends(lambda: 1 / 0, "nothing")
