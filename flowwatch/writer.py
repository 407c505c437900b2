"""The writer: commits what the engine drains, in order, in a thread of its own.

    ingest ─► put ─► bounded queue ─► run ─► store

It never gives a drain up while it runs, because later ones build on its numbers; it says instead that
the store refuses, so that whoever drains can go on judging and decide what to shed. Between commits it
forgets what has passed its retention.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

import pyarrow as pa

from flowwatch.config import StoreSettings
from flowwatch.errors import StoreError
from flowwatch.metrics import Metrics
from flowwatch.store import Store

log = logging.getLogger("flowwatch.writer")

QUEUED = 2
"""Drains that wait at most; with the one being written that is all the memory the writer holds."""
IDLE = 1.0
"""Seconds after which a writer with nothing to do shows a sign of life."""
RETRY = 1.0
RETAIN_EVERY = 600.0

Tables = dict[str, pa.Table]


class Writer:
    """The one thread that writes to a store. `put`, `full` and `finish` from one other thread;
    `run` is the body of the writer's own."""

    def __init__(
        self, store: Store, settings: StoreSettings, metrics: Metrics, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives seconds since 1970; retention is counted by it."""
        self.rows_stored = store.count_flows()
        """Flow rows in the file."""
        self.error = ""
        """Why the store refuses what it is given; empty while it does not."""
        self.beat = clock()
        """When the thread last showed a sign of life."""
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._drains: queue.Queue[Tables | None] = queue.Queue(maxsize=QUEUED)
        self._stopping = threading.Event()

    @property
    def full(self) -> bool:
        """Whether `put` would have to wait."""
        return self._drains.full()

    def put(self, tables: Tables) -> None:
        """Give a drain to be committed after all that were given before; waits while the queue is full."""
        self._drains.put(tables)

    def finish(self) -> None:
        """Say that nothing more will be put: `run` returns when all of it is committed."""
        self._drains.put(None)

    def stop(self) -> None:
        """Try what is refused no longer: `run` gives each remaining drain one chance."""
        self._stopping.set()

    def run(self) -> None:
        """Commit until told that it is finished."""
        retained = self._clock()
        while True:
            self.beat = self._clock()
            try:
                tables = self._drains.get(timeout=IDLE)
            except queue.Empty:
                continue
            if tables is None:
                return
            self._commit(tables)
            if self._clock() - retained >= RETAIN_EVERY:
                retained = self._clock()
                self._retain(retained)

    def _commit(self, tables: Tables) -> None:
        """Commit, trying again for as long as it takes: later commits build on this one's numbers."""
        while True:
            begun = time.perf_counter()
            self.beat = self._clock()
            try:
                rows = self._store.commit(tables)
            except StoreError as error:
                if not self.error:
                    log.error("the store refuses, trying again until it does not: %s", error)
                self.error = str(error)
                self._metrics.store_failed()
                if self._stopping.wait(RETRY):
                    log.error("stopped with rows that could not be stored: %s", error)
                    return
                continue
            seconds = time.perf_counter() - begun
            if self.error:
                log.info("the store works again")
            self.error = ""
            self.rows_stored += rows
            self._metrics.committed(rows, seconds)
            self._metrics.spent("store", seconds)
            self._metrics.store_size(self._store.size())
            return

    def _retain(self, now: float) -> None:
        try:
            self._store.retain(now - self._settings.retention)
        except StoreError as error:
            self._metrics.store_failed()
            log.error("old flows could not be deleted: %s", error)
