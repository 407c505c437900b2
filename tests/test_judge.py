"""The square, column by column."""

from __future__ import annotations

import numpy as np
import pytest

from flowwatch.judge import DeclaredCode, Seen, judge
from flowwatch.model import Square

SECOND = 1_000_000_000


def squares(
    declared: DeclaredCode,
    *,
    to_pod: bool = True,
    sent: int = 0,
    received: int = 0,
    refused: int = 0,
    kept: int = 0,
    violated: bool = False,
    undecided: bool = False,
    after: float = 60,
) -> set[Square]:
    """The squares of one edge of which so many flows were seen: `sent` and `received` forwarded by the
    client's and the server's side, `kept` and `refused` dropped by them."""
    column = [np.array([value], dtype=np.int64) for value in (declared, sent, received, kept, refused, SECOND)]
    seen = Seen(column[0], np.array([to_pod]), *column[1:], np.array([violated]), np.array([undecided]))
    judged = judge(seen, int((1 + after) * SECOND), 5 * SECOND)
    return {square for square, members in judged.squares(column[0]).items() if members[0]}


CASES = [
    (Square.EXPECTED, DeclaredCode.YES, {"received": 1}),
    (Square.EXPECTED, DeclaredCode.YES, {"sent": 1, "received": 1}),
    (Square.UNEXPECTED, DeclaredCode.NO, {"received": 1}),
    (Square.UNEXPECTED, DeclaredCode.NO, {"sent": 1, "to_pod": False, "after": 0}),
    (Square.UNEXPECTED, DeclaredCode.NO, {"sent": 1}),
    (Square.BLOCKED, DeclaredCode.YES, {"refused": 1}),
    (Square.BLOCKED, DeclaredCode.YES, {"kept": 1}),
    (Square.BLOCKED, DeclaredCode.YES, {"sent": 3, "refused": 1}),
    (Square.DENIED, DeclaredCode.NO, {"kept": 1}),
    (Square.DENIED, DeclaredCode.NO, {"sent": 3, "refused": 1}),
    (Square.UNKNOWN, DeclaredCode.UNKNOWN, {"received": 1}),
    (Square.UNEXPECTED, DeclaredCode.YES, {"received": 1, "violated": True}),
    (Square.UNKNOWN, DeclaredCode.YES, {"received": 1, "undecided": True}),
    (Square.BLOCKED, DeclaredCode.YES, {"refused": 1, "undecided": True}),
]


@pytest.mark.parametrize(("square", "declared", "seen"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_one_square(square: Square, declared: DeclaredCode, seen: dict[str, int]) -> None:
    """What was declared and what was seen give exactly one square."""
    assert squares(declared, **seen) == {square}  # type: ignore[arg-type]


def test_waiting_for_the_receiving_side() -> None:
    """Between pods, the sending side's word waits until it has settled."""
    assert squares(DeclaredCode.NO, sent=1, after=4.9) == set()
    assert squares(DeclaredCode.NO, sent=1, after=5) == {Square.UNEXPECTED}


def test_both_at_once() -> None:
    """An edge that passed and was dropped is in both squares."""
    assert squares(DeclaredCode.NO, received=1, kept=1) == {Square.UNEXPECTED, Square.DENIED}
    assert squares(DeclaredCode.YES, received=1, kept=1) == {Square.EXPECTED, Square.BLOCKED}


def test_outside_what_is_governed() -> None:
    """An edge the allowlist does not speak about is in no square."""
    assert squares(DeclaredCode.UNGOVERNED, received=1, kept=1) == set()


def test_nothing_seen_is_no_square() -> None:
    """Audited flows alone prove neither."""
    assert squares(DeclaredCode.NO) == set()
