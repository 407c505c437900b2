"""When things are to happen: a thread that does what is due, in the order of time."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Timetable:
    """Does things at their time, one after the other. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="simulated-hubble-faults", daemon=True)

    def start(self) -> None:
        """Begin to look at the time."""
        self._thread.start()

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something in so many seconds."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._serial), do))
            self._changed.notify_all()

    def stop(self) -> None:
        """Do nothing any more; what is being done is finished first."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                _, _, do = heapq.heappop(self._due)
            do()
