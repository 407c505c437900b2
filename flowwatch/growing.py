"""An integer array that grows: counters per edge, lookups per peer, all reachable for numpy at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class GrowingInts:
    """int64 values indexed from 0; elements never set hold `fill`."""

    def __init__(self, fill: int = 0) -> None:
        self._fill = fill
        self._data = np.full(1024, fill, dtype=np.int64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> npt.NDArray[np.int64]:
        """All elements, as a view that writes through and is valid until the next growth."""
        return self._data[: self._size]

    def grow(self, size: int) -> None:
        """Make room for elements 0…size-1."""
        if size > len(self._data):
            bigger = np.full(max(size, 2 * len(self._data)), self._fill, dtype=np.int64)
            bigger[: self._size] = self._data[: self._size]
            self._data = bigger
        self._size = max(self._size, size)

    def set(self, index: int, value: int) -> None:
        """Set one element, growing as needed."""
        self.grow(index + 1)
        self._data[index] = value
