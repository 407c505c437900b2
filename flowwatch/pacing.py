"""How often a quick look will do before everything is looked at again.

Whoever reacts to changes one at a time (here: judging only what is new) may drift from the truth
without noticing. So after a few quick evaluations in a row, or a while after the last full one, a full
one is forced. This module counts and compares; what either evaluation does is none of its business.
"""

from __future__ import annotations

from enum import StrEnum

LIMIT = 5
"""Quick evaluations in a row."""
WINDOW = 300.0
"""Seconds from one full evaluation to the next, at most."""


class Evaluation(StrEnum):
    """How much is looked at."""

    INCREMENTAL = "incremental"
    """Only what changed."""
    FULL = "full"
    """Everything."""


class Pacer:
    """Says of each evaluation whether it must be a full one. One thread uses it.

    The first is full, for nothing is known before it. A clock that was set back says nothing
    about how much time went by, so that forces a full one, too.
    """

    def __init__(self, limit: int = LIMIT, window: float = WINDOW) -> None:
        """`limit` quick evaluations at most between two full ones, which are less than `window` seconds apart
        unless nobody asks. Raises ValueError where either is negative."""
        if limit < 0 or not window >= 0:
            raise ValueError(f"limit and window must not be negative, not {limit} and {window}")
        self._limit = limit
        self._window = window
        self._count = 0
        self._last_full: float | None = None

    def next(self, now: float) -> Evaluation:
        """What the evaluation that begins at `now` (seconds) must be; it is taken to happen."""
        if self._count < self._limit and self._is_recent(now):
            self._count += 1
            return Evaluation.INCREMENTAL
        self._count = 0
        self._last_full = now
        return Evaluation.FULL

    def _is_recent(self, now: float) -> bool:
        return self._last_full is not None and 0 <= now - self._last_full < self._window
