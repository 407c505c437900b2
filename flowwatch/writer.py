"""The writer: commits what the engine drains, in order, in a thread of its own.

    ingest ─► put ─► bounded queue ─► run ─► store

It never gives a drain up while it runs, because later ones build on its numbers; it says instead that
the store refuses, so that whoever drains can go on judging and decide what to shed. When a file is found
damaged it begins a new one, to which the engine must hand over everything it knows: the `generation`
counts these. Between commits it forgets what has passed its retention.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

import pyarrow as pa

from flowwatch.config import StoreSettings
from flowwatch.errors import DamagedError, StoreError
from flowwatch.metrics import Metrics
from flowwatch.store import Store
from flowwatch.store_retention import Keep

log = logging.getLogger("flowwatch.writer")

QUEUED = 2
"""Drains that wait at most; with the one being written that is all the memory the writer holds."""
IDLE = 1.0
"""Seconds after which a writer with nothing to do shows a sign of life."""
RETRY = 1.0
SLOW = 10.0
"""Seconds after which a commit under way is called slow."""
LOOK_EVERY = 10.0
"""Seconds between two looks for something to forget."""
MOST_KEPT = 1_000_000
"""Flow rows that are kept for a new file; of more the oldest are given up, and counted."""
FACTS = ("append_flows", "append_edge_activity", "append_coverage", "append_gaps", "append_evidence")
"""What a drain says of traffic. The rest gives its numbers their meaning, and is handed over anew to a new file."""

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
        self.generation = 0
        """How many files were begun anew. What is put must be everything the engine knows, once after each."""
        self._store = store
        self._keep = Keep(settings.retention, settings.retention_minutes, settings.retention_hours, settings.max_size)
        self._metrics = metrics
        self._clock = clock
        self._drains: queue.Queue[tuple[Tables, int] | None] = queue.Queue(maxsize=QUEUED)
        self._kept: list[Tables] = []
        self._put_rows = 0
        self._done_rows = 0
        self._stopping = threading.Event()
        self._refusal = store.refusal
        self._alive = self._look = clock()
        self._looked: float | None = None
        """The moment that the look under way means."""
        self._begun: float | None = None
        if store.aside:
            metrics.store_set_aside()

    @property
    def full(self) -> bool:
        """Whether `put` would have to wait."""
        return self._drains.full()

    @property
    def pending_rows(self) -> int:
        """Flow rows that were put and are not committed."""
        return self._put_rows - self._done_rows

    @property
    def error(self) -> str:
        """Why the store does not take what it is given; empty while it does."""
        begun = self._begun
        if self._refusal or begun is None or self._clock() - begun < SLOW:
            return self._refusal
        return f"slow: the commit under way takes longer than {SLOW:.0f} s"

    @property
    def beat(self) -> float:
        """When the thread last showed a sign of life. Waiting for a disk is one: `error` speaks of that."""
        return self._alive if self._begun is None else self._clock()

    def put(self, tables: Tables, generation: int = 0) -> None:
        """Give a drain to be committed after all that were given before; waits while the queue is full.
        `generation` is what it was when the drain was made."""
        self._put_rows += _flows(tables)
        self._drains.put((tables, generation))

    def finish(self) -> None:
        """Say that nothing more will be put: `run` returns when all of it is committed."""
        self._drains.put(None)

    def stop(self) -> None:
        """Try what is refused no longer: `run` gives each remaining drain one chance."""
        self._stopping.set()

    def run(self) -> None:
        """Commit until told that it is finished; forget in between."""
        while True:
            self._alive = self._clock()
            try:
                given = self._drains.get(timeout=0.0 if self._clock() >= self._look else IDLE)
            except queue.Empty:
                pass
            else:
                if given is None:
                    return
                self._take(*given)
            self.look()

    def _take(self, tables: Tables, generation: int) -> None:
        """Commit a drain. One that was made for a file that is no more leaves its facts to the next."""
        if generation == self.generation:
            tables, self._kept = _together([*self._kept, tables]), []
            if self._commit(tables) or generation == self.generation:
                self._done_rows += _flows(tables)
                return
        self._kept.append({name: tables[name] for name in FACTS if name in tables})
        while sum(map(_flows, self._kept)) > MOST_KEPT:
            lost = _flows(self._kept.pop(0))
            self._done_rows += lost
            self._metrics.lost("flowwatch", lost)

    def _commit(self, tables: Tables) -> bool:
        """Commit, trying again for as long as it takes: later commits build on this one's numbers.
        False when it was given up, at the end or because a new file was begun."""
        while True:
            started = time.perf_counter()
            self._alive = self._begun = self._clock()
            try:
                rows = self._store.commit(tables)
            except StoreError as error:
                if self._refused(error):
                    return False
                if self._stopping.wait(RETRY):
                    log.error("stopped with rows that could not be stored: %s", error)
                    return False
                continue
            finally:
                self._begun = None
            if self._refusal:
                log.info("the store works again")
            self._refusal = ""
            self.rows_stored += rows
            seconds = time.perf_counter() - started
            self._metrics.committed(rows, seconds)
            self._metrics.spent("store", seconds)
            self._metrics.store_size(self._store.size())
            return True

    def _refused(self, error: StoreError) -> bool:
        """Tell that the store refuses. True when the file is damaged and a new one can be begun."""
        if not self._refusal:
            log.error("the store refuses, trying again until it does not: %s", error)
        self._refusal = str(error)
        self._metrics.store_failed()
        if not isinstance(error, DamagedError):
            return False
        try:
            aside = self._store.set_aside()
        except StoreError as worse:
            self._refusal = str(worse)
            return False
        log.error("set aside as %s, a new file is begun", aside)
        self._metrics.store_set_aside()
        self.rows_stored = 0
        self.generation += 1
        return True

    def look(self) -> None:
        """Forget a slice of what is too old or too much, if it is time, and nothing waits to be written."""
        if self._clock() >= self._look and not self.full and not self._refusal:
            self._retain()

    def _retain(self) -> None:
        """Forget one slice of what is too old or too much; go on at once where there is more. All slices of one
        look mean the same moment, or there would always be a little more."""
        started = time.perf_counter()
        self._begun = now = self._clock()
        self._looked = now if self._looked is None else self._looked
        try:
            done = self._store.retain(self._keep, self._looked)
        except DamagedError as error:
            self._refused(error)
            return
        except StoreError as error:
            self._metrics.store_failed()
            log.error("what is old could not be forgotten: %s", error)
            done = None
        finally:
            self._begun = None
        if not (done and done.more):
            self._look, self._looked = now + LOOK_EVERY, None
        if done:
            self._metrics.retained(done.table, done.rows, time.perf_counter() - started)
            self.rows_stored -= done.rows if done.table == "flows" else 0
        with contextlib.suppress(StoreError):
            self._metrics.store_used(self._store.used())


def _flows(tables: Tables) -> int:
    return len(tables["append_flows"]) if "append_flows" in tables else 0


def _together(drains: Sequence[Tables]) -> Tables:
    """The last drain, with the facts of those before it."""
    *before, tables = drains
    for name in FACTS:
        parts = [drain[name] for drain in before if name in drain]
        if parts:
            tables = {**tables, name: pa.concat_tables([*parts, tables[name]] if name in tables else parts)}
    return tables
