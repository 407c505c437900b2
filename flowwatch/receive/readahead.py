"""Runs an iterator in a thread of its own, a few items ahead of whoever uses them.

So a source may block for as long as it likes while its user hears every tick that there is
nothing, and unpacking goes on while what was unpacked is being read.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")

AHEAD = 4
"""Items held at most. More than a thread adds between being told to end and ending."""


class _End:
    """Stands after the last item, with what ended the iterator if it was an error."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ReadAhead(Generic[Item]):
    """Iterates over `produce()`, yielding None for every `tick` seconds without an item.

    What `produce` raises is raised here, after the items before it. To be closed after use;
    a producer that blocks at that time is left to end by itself.
    """

    def __init__(self, produce: Callable[[], Iterator[Item]], *, tick: float) -> None:
        self._produce = produce
        self._tick = tick
        self._items: queue.Queue[Item | _End] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flowwatch-read", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item | None]:
        while True:
            try:
                item = self._items.get(timeout=self._tick)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def close(self) -> None:
        """Let the thread end, and wait a little for it."""
        self._closed.set()
        with suppress(queue.Empty):
            while True:
                self._items.get_nowait()
        self._thread.join(self._tick)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._produce():
                self._items.put(item)
                if self._closed.is_set():
                    break
        except BaseException as caught:  # handed on, to be raised where it is waited for
            error = caught
        self._items.put(_End(error))
