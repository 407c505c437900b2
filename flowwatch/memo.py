"""A bounded memory for answers that are asked for again and again.

Forgets what was not asked for lately, at the cost of one dictionary look-up; it knows nothing of what it keeps.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

REMEMBERED = 65_536
"""How many peers are remembered before the first are forgotten; up to twice as many are held."""


class Memo(Generic[K, V]):
    """A bounded memory in two generations: what was not asked for while the younger one filled
    up is forgotten. Costs one dictionary look-up for what is in use."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """What was put under the key, if it is still remembered."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> V:
        """Remember a value, and hand it back."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = value
        return value

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
