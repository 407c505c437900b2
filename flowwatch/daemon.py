"""The wiring: what runs in which thread, and what waits in which queue.

    receiver ─► ingest thread ─► engine ─► queue ─► writer thread ─► store
                     │ every tick
                     └─► snapshot ─► alerts ─► notifier   (event loop thread)
                            ├─► metrics, HTTP API, page   (event loop thread)
                            └─► terminal                  (whoever called `run`)

Data travels to the right only. What the threads share is the queue, which is bounded, and the newest
snapshot, which is immutable. When the writer cannot keep up or the disk refuses, rows wait in the
engine up to a limit; beyond it the oldest rows are given up and counted, while judging goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from flowwatch import __version__
from flowwatch.codes import FlowClass
from flowwatch.config import Config
from flowwatch.counts import Counts
from flowwatch.declared import DeclaredFiles
from flowwatch.enforced import EnforcedPolicies
from flowwatch.engine import Engine
from flowwatch.errors import FlowwatchError
from flowwatch.exposure import Exposure
from flowwatch.metrics import Metrics
from flowwatch.model import Finding, Snapshot
from flowwatch.pacing import Evaluation, Pacer
from flowwatch.receive import Receiver
from flowwatch.store import Store
from flowwatch.writer import Tables, Writer

log = logging.getLogger("flowwatch.daemon")

TICK = 0.5
"""Seconds between two evaluations of the findings."""
MAX_PENDING_ROWS = 1_000_000
"""Flow rows kept in memory while the store cannot take them."""
RATE_WINDOW = 5.0
STOP_PATIENCE = 25.0
"""Seconds for the last rows to be stored, within the half minute Kubernetes gives; it takes one or two."""
POSTURE_EVERY = 5.0
"""Seconds between two counts of how the edges of each namespace stand."""
RELOAD_EVERY = 2.0
"""Seconds between two looks at the files of the allowlist."""


class Daemon:
    """Receives, judges and stores until it is stopped or its source ends."""

    def __init__(
        self,
        config: Config,
        receiver: Receiver,
        store: Store,
        engine: Engine,
        declared: DeclaredFiles,
        *,
        enforced: EnforcedPolicies | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.store = store
        self.metrics = Metrics()
        self.metrics.expect_classes(flow_class.label for flow_class in FlowClass)
        self.metrics.allowlist_loaded(clock())
        pushes = bool(config.alerts.alertmanagers)
        self.metrics.pushes(edges=pushes, itself=pushes and config.alerts.own)
        self.ended = threading.Event()
        """Set when the source has ended by itself or a thread died."""
        self.failure: BaseException | None = None
        self.alert_counts: dict[str, int] = {}
        """Alerts by state, written by whoever runs them."""
        self._receiver = receiver
        self._engine = engine
        self._exposure = Exposure(engine.edges)
        self._postured = -POSTURE_EVERY
        self._pacer = Pacer()
        self._declared = declared
        self._enforced = enforced
        self._clock = clock
        self._started = clock()
        self._streamed = False
        self._totals: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._classes: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._rates: deque[tuple[float, int]] = deque()
        self._kept: deque[Tables] = deque(maxlen=1)
        self._writer = Writer(store, config.store, self.metrics, clock)
        self._generation = self._writer.generation
        self._known: set[str] = set()
        self._beat = clock()
        # With what was restored, or alerts would be taken for over until the first evaluation.
        self._snapshot = self._observe(engine.current(clock()))
        self._threads = [
            threading.Thread(target=self._guard, args=(self._ingest,), name="ingest", daemon=True),
            threading.Thread(target=self._guard, args=(self._writer.run,), name="writer", daemon=True),
        ]

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    def beats(self) -> dict[str, float]:
        """When each thread last showed a sign of life."""
        return {"ingest": self._beat, "writer": self._writer.beat}

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, deadline: float = STOP_PATIENCE) -> None:
        """Stop receiving, commit what was received, and end the threads. The store stays its maker's to close."""
        self._writer.stop()
        self._receiver.stop()
        end = time.monotonic() + deadline
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.1))

    def keep(self, tables: Tables) -> None:
        """Let the next commit run these statements as well, instead of any given before. From any one thread."""
        self._kept.append(tables)

    # ── the ingest thread ────────────────────────────────────────────────────────────────────────

    def _ingest(self) -> None:
        tick = commit = look = self._clock()
        for batch in self._receiver.batches():
            now = self._beat = self._clock()
            if batch.messages or batch.notices:
                self._note(self._engine.ingest(batch, now))
            settings = self.config.store
            if now - commit >= settings.commit_interval or self._engine.pending_rows >= settings.commit_rows:
                commit = now
                self._hand_over(now)
            if now - look >= RELOAD_EVERY:
                look = now
                self._reload(now)
            if now - tick >= TICK:
                tick = now
                self._evaluate(now)
        now = self._clock()
        self._evaluate(now)
        self._put(now, last=True)
        self._writer.finish()

    def _note(self, counts: Counts) -> None:
        metrics = self.metrics
        metrics.flows(counts.verdicts, counts.last_flow)
        metrics.classes(counts.classes)
        metrics.square_flows(counts.squares, counts.square_samples)
        metrics.policy_drops(counts.drops, counts.drop_samples)
        metrics.undecodable(counts.undecodable)
        for source, events in counts.lost.items():
            metrics.lost(source, events)
        metrics.repeated(counts.repeated, counts.lost_false)
        for stage, seconds in counts.seconds.items():
            metrics.spent(stage, seconds)
        self._totals["flows"] += counts.flows
        self._classes.update(counts.classes)
        for (verdict, _), flows in counts.verdicts.items():
            self._verdicts[verdict] += flows

    def _hand_over(self, now: float) -> None:
        """Give the writer what there is, if it can take it."""
        if not self._writer.full:
            self._put(now)
            return
        shed = self._engine.shed(max(MAX_PENDING_ROWS - self._writer.pending_rows, 0))
        if shed:
            self._lost["flowwatch"] += shed
            self.metrics.lost("flowwatch", shed)
            log.warning("gave up flow rows the store cannot take: rows=%d error=%s", shed, self._writer.error or "slow")

    def _put(self, now: float, *, last: bool = False) -> None:
        """Drain the engine to the writer; of everything it knows, where a new file was begun."""
        generation = self._writer.generation
        if generation != self._generation:
            self._generation = generation
            self._engine.renew()
        tables = self._engine.drain(now, self._snapshot.findings, last=last)
        self._writer.put(tables | self._kept.pop() if self._kept else tables, generation)

    def _reload(self, now: float) -> None:
        """Take a changed allowlist into force; a broken one leaves the last good one there."""
        before = self._declared.error
        allowlist = self._declared.reload(now)
        if allowlist is not None:
            self._engine.reload(allowlist, now)
            self.metrics.allowlist_loaded(now)
            log.info("allowlist reloaded: rules=%d edges=%d", len(allowlist.rules), len(self._engine.edges))
        elif self._declared.error != before:
            log.error("the allowlist cannot be read, the last good one stays in force: %s", self._declared.error)

    def _evaluate(self, now: float) -> None:
        # What flows change is judged as they come; what time changes is looked at now and then.
        if self._pacer.next(now) is Evaluation.FULL and self._engine.expire(now):
            log.info("rules ended: edges judged anew=%d", len(self._engine.edges))
        findings = self._engine.current(now)
        for finding in findings:
            if finding.fingerprint not in self._known:
                self.metrics.opened(finding.square)
                log.info("finding: square=%s fingerprint=%s %s", finding.square, finding.fingerprint, finding.sentence)
        self._known = {finding.fingerprint for finding in findings}
        self._snapshot = self._observe(findings)
        self.metrics.follow(self._receiver.status)
        self.metrics.observe(self._snapshot)
        self.metrics.traffic(self._exposure.advance(self._engine.rules, now))
        if not 0 <= now - self._postured < POSTURE_EVERY:
            self._postured = now
            self.metrics.posture(self._exposure.posture(self._engine.rules, now, self.config.judge.settle))

    def _observe(self, findings: Sequence[Finding]) -> Snapshot:
        now, status, engine = self._clock(), self._receiver.status, self._engine
        self._streamed = self._streamed or status.connects > 0  # nodes that leave take their count with them
        watched = now - self._started
        judge = self.config.judge
        watched_since = engine.watched_since(now)
        may_be_unused = (
            watched >= judge.unused_after and engine.coverage.share(now - judge.unused_after, now) >= judge.min_coverage
        )
        return Snapshot(
            now=now,
            started=self._started,
            version=__version__,
            cluster=self.config.cluster,
            source=self._receiver.name,
            stream=status.state,
            stream_error=status.error,
            streamed=self._streamed,
            flows=self._totals["flows"],
            flows_per_second=self._rate(now),
            verdicts=dict(self._verdicts),
            classes=dict(self._classes),
            squares={str(square): edges for square, edges in engine.findings.counts(now).items()},
            lost=engine.coverage.lost | {"flowwatch": engine.coverage.lost["flowwatch"] + self._lost["flowwatch"]},
            nodes=engine.coverage.nodes(),
            coverage=engine.coverage.share(watched_since, now),
            watched_since=watched_since,
            min_coverage=judge.min_coverage,
            coverage_gaps=engine.coverage.gaps,
            lost_false=engine.coverage.lost_false,
            findings=tuple(findings),
            gaps=(*engine.gaps(now), *self._bypassed(now)),
            enforced=self._enforced.advance(self._declared.objects, now) if self._enforced else None,
            alerts=dict(self.alert_counts),
            rules=len(engine.rules),
            unused_rules=engine.unused_rules() if may_be_unused else (),
            unused_known=may_be_unused,
            rows_stored=self._writer.rows_stored,
            pending_rows=engine.pending_rows + self._writer.pending_rows,
            store_path=str(self.store.path),
            store_error=self._writer.error,
            store_set_aside=self.store.aside,
            allowlist_error=self._declared.error,
            conditions=tuple(condition.manifest for condition in engine.conditions(now)),
        )

    def _bypassed(self, now: float) -> list[Finding]:
        coverage = self._engine.coverage
        return self._enforced.gaps(now, lambda since: coverage.share(since, now)) if self._enforced else []

    def _rate(self, now: float) -> float:
        self._rates.append((now, self._totals["flows"]))
        while self._rates[0][0] < now - RATE_WINDOW:
            self._rates.popleft()
        since, flows = self._rates[0]
        return (self._totals["flows"] - flows) / (now - since) if now > since else 0.0

    def _guard(self, work: Callable[[], None]) -> None:
        """A thread that dies ends the process with its reason: half a pipeline must not look alive."""
        try:
            work()
        except BaseException as error:
            self.failure = error
            if not isinstance(error, FlowwatchError):
                log.exception("the %s thread died", threading.current_thread().name)
        finally:
            if threading.current_thread().name == "ingest" or self.failure:
                self.ended.set()
