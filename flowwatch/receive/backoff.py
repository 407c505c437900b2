"""How long to wait before trying again: growing, jittered pauses.

Many clients that lost the same server must not come back at the same moment, so each pause is
drawn at random between the shortest and three times the one before (decorrelated jitter).
"""

from __future__ import annotations

from random import Random


class Backoff:
    """Pauses in seconds, each within `shortest` and `longest`."""

    def __init__(self, shortest: float, longest: float, random: Random) -> None:
        self.longest = max(shortest, longest)
        """The pause after which nothing grows any more."""
        self._shortest = shortest
        self._random = random
        self._last = shortest

    def next(self) -> float:
        """The pause after one more failure."""
        self._last = min(self.longest, self._random.uniform(self._shortest, self._last * 3))
        return self._last

    def reset(self) -> None:
        """Begin again with short pauses."""
        self._last = self._shortest
