"""The path of a batch: decode → intern → classify → edges, and rows for the store at the end of it.

The same engine serves the daemon and the replay of captures. It knows no socket, no file, no thread
and no clock: messages and the time come in, rows and findings go out.
"""

from __future__ import annotations

import time as _time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowwatch.arrivals import Arrivals
from flowwatch.codes import Event, Evidence, drop_name
from flowwatch.conditions import Condition, declared, evaluate, observe
from flowwatch.counts import Counts
from flowwatch.coverage import Coverage
from flowwatch.cursors import Cursors
from flowwatch.decode import Columns, Decoder, best_decoder
from flowwatch.edges import Allowlist, Edges, NoAllowlist, Observations
from flowwatch.findings import SAMPLES, Findings
from flowwatch.intern import Interned, Interner
from flowwatch.judge import DeclaredCode
from flowwatch.model import Finding, Kind, Side
from flowwatch.noise import NoiseSettings
from flowwatch.quiet import Quiet
from flowwatch.receive import Batch
from flowwatch.rows import (
    activity_rows,
    edge_rows,
    evidence_rows,
    finding_rows,
    fingerprint_rows,
    flow_rows,
    newest_evidence,
    news_rows,
    rule_rows,
)
from flowwatch.sample_lines import describe
from flowwatch.shapes import Classes, Classifier, Flows
from flowwatch.stream_rows import Restored, stream_rows
from flowwatch.transport import carried

Ints = npt.NDArray[np.int64]

EVIDENCE_BATCHES = 64
"""So many batches of samples are thinned out to the newest, when nobody drains them."""
MOST_LINES = 200
"""Flows of a batch that are written out for people; a scan must not slow down what judges it."""
STAGES = ("decode", "intern", "classify", "judge", "rows")


class Engine:
    """Judges flows batch by batch. One thread uses it."""

    def __init__(
        self,
        *,
        cluster: str,
        clusters: Sequence[str] = (),
        allowlist: Allowlist | None = None,
        settle: float = 5.0,
        active_for: float = 900.0,
        decoder: Decoder | None = None,
        noise: NoiseSettings = NoiseSettings(),  # noqa: B008 - immutable
    ) -> None:
        """`clusters` names them all where flows come from several."""
        self._allowlist = allowlist or NoAllowlist()
        self._conditions: tuple[Condition, ...] = ()
        self._expired_until = 0.0
        self.interner = Interner(self._allowlist.address_class, clusters)
        self.arrivals = Arrivals(decoder or best_decoder(), self.interner.node)
        self.edges = Edges(self.interner, self._allowlist)
        self._quiet = Quiet(noise, self.interner, self.edges)
        self.findings = Findings(self.edges, cluster, settle, active_for, clusters)
        self._cluster, self._active_for = cluster, active_for
        self._classifier = Classifier(noise.judged)
        self.rules = self._allowlist.rules
        self._rules_pending = True
        self._all_edges_pending = False
        self._flow_rows: list[pa.RecordBatch] = []
        self._activity_rows: list[pa.RecordBatch] = []
        self._evidence_rows: list[pa.Table] = []
        self._proof: list[tuple[int, int]] = []
        """Rows of the batch under way that are samples of findings, with what they are evidence of."""
        self._standings: dict[int, str] = {}
        self._written: dict[str, tuple[float, int, str]] = {}
        self.newest = 0.0
        """Time of the newest flow so far, seconds."""

    @property
    def pending_rows(self) -> int:
        """Flow rows not yet drained."""
        return sum(len(batch) for batch in self._flow_rows)

    # ── a batch ──────────────────────────────────────────────────────────────────────────────────

    def ingest(self, batch: Batch, now: float) -> Counts:
        """Take a batch through all stages; its rows wait for `drain`."""
        watch = _Stopwatch()
        counts = Counts(len(batch.messages), seconds=watch.laps)
        for columns in self.arrivals.take(batch, counts, now):
            watch.lap("decode")
            if len(columns):
                self._take(columns, batch.cluster, counts, watch, now)
        return counts

    def _take(self, columns: Columns, cluster: str, counts: Counts, watch: _Stopwatch, now: float) -> None:
        interned = self.interner.intern(columns, cluster)
        watch.lap("intern")
        classes = self._classifier.classify(_classifiable(columns, interned))
        watch.lap("classify")
        client = np.where(classes.swapped, interned.destination, interned.source)
        server = np.where(classes.swapped, interned.source, interned.destination)
        edge = np.full(len(columns), -1, dtype=np.int64)
        self.interner.learn_names(columns, client)
        evident = np.flatnonzero(classes.evidence)
        self._quiet.learn(columns, interned, client, server)
        if len(evident):
            parties = self.interner.parties_of(columns, client, server, classes.swapped)
            peers = client, server
            evident = self._quiet.leave(columns, classes, peers, parties, evident, self._allowlist, now)
            if len(evident):
                edge[evident] = self._observe(columns, interned, classes, peers, parties, evident, counts, now)
        watch.lap("judge")
        self._flow_rows.append(flow_rows(columns, interned, classes, client, server, edge))
        self._keep_proof(columns)
        counts.add_flows(columns, classes)
        self.newest = max(self.newest, counts.last_flow)
        watch.lap("rows")

    def _observe(
        self, columns: Columns, interned: Interned, classes: Classes, peers: tuple[Ints, Ints],
        parties: tuple[Ints, Ints], rows: Ints, counts: Counts, now: float,
    ) -> Ints:  # fmt: skip
        (client, server), (clients, servers) = peers, parties
        source_port = np.where(classes.swapped, columns.destination_port, columns.source_port)
        server_port = np.where(classes.swapped, columns.source_port, columns.destination_port)
        seen = Observations(
            client=clients[rows],
            server=servers[rows],
            protocol=columns.protocol[rows],
            port=server_port[rows],
            evidence=classes.evidence[rows].astype(np.int64),
            side=classes.side[rows].astype(np.int64),
            opens=classes.opens[rows],
            verdict=columns.event[rows] == Event.POLICY_VERDICT,
            carried=carried(
                columns.event[rows],
                columns.point[rows],
                columns.verdict[rows],
                columns.encrypted[rows] != 0,
                columns.auth_type[rows],
            ),
            time=columns.time[rows],
            weight=columns.weight[rows],
            tuple_id=(client[rows] << 16) | np.clip(source_port[rows], 0, 65535),
        )
        edges, activity, attempts = self.edges.observe(seen, now)
        self._activity_rows.append(activity_rows(activity, int(seen.time.min()), int(seen.time.max())))
        self._note_samples(columns, interned, rows, edges, seen)
        identity = self.interner.peer_identity.values
        owner = np.where(seen.side == Side.INGRESS, identity[server[rows]], identity[client[rows]])
        declared_codes = self.edges.declared.values[edges]
        counts.add_evidence(
            seen, declared_codes, columns.drop_reason[rows], attempts, owner, self.interner.identities,
            uuid=lambda at: str(columns.uuid[int(rows[at])]),
        )  # fmt: skip
        return edges

    def _note_samples(self, columns: Columns, interned: Interned, rows: Ints, edges: Ints, seen: Observations) -> None:
        """Remember flows behind possible findings: undeclared ones that passed, and all that were dropped."""
        declared = self.edges.declared.values[edges]
        dropped = seen.evidence == Evidence.DROPPED
        passed = seen.evidence == Evidence.FORWARDED
        wanted = np.flatnonzero(
            (seen.evidence == Evidence.AUDITED)
            | dropped
            | (((declared == DeclaredCode.NO) | self.edges.asks(edges)) & passed)
        )
        if not len(wanted):
            return
        groups: dict[tuple[int, int], list[int]] = {}
        for at, key in zip(
            wanted.tolist(), zip(edges[wanted].tolist(), seen.evidence[wanted].tolist(), strict=True), strict=True
        ):
            groups.setdefault(key, []).append(at)
        room = MOST_LINES
        for (edge, evidence), members in groups.items():
            flows = rows[members]
            self._proof += [(int(row), evidence) for row in flows[-SAMPLES:]]
            uuids = columns.uuid.take(pa.array(flows[-SAMPLES:])).to_pylist()
            reasons = (
                {drop_name(code) for code in set(columns.drop_reason[flows].tolist())}
                if evidence == Evidence.DROPPED
                else set()
            )
            sets = interned.allowed_by if evidence == Evidence.FORWARDED else interned.denied_by
            policies = {name for number in set(sets[flows].tolist()) for name in self.interner.policies[number]}
            newest = flows[-SAMPLES:].tolist()
            is_outside = self.edges.edge(edge).destination.identity.kind is Kind.WORLD
            addresses = columns.destination_ip.take(pa.array(newest)).to_pylist() if is_outside else ()
            lines = [describe(columns, row) for row in newest[: max(room, 0)]]
            room -= len(lines)
            self.findings.note(edge, Evidence(evidence), uuids, reasons, tuple(policies), lines, addresses)

    def _keep_proof(self, columns: Columns) -> None:
        """Keep the rows of the flows that were noted as samples, of each finding the newest."""
        if not self._proof:
            return
        self._proof, noted = [], sorted(self._proof)
        rows, kinds = np.array(noted, dtype=np.int64).T
        self._evidence_rows.append(evidence_rows(self._flow_rows[-1], rows, kinds, columns.uuid))
        if len(self._evidence_rows) >= EVIDENCE_BATCHES:
            self._evidence_rows = [newest_evidence(pa.concat_tables(self._evidence_rows), SAMPLES)]

    # ── what comes out ───────────────────────────────────────────────────────────────────────────

    @property
    def coverage(self) -> Coverage:
        """The coverage ledger."""
        return self.arrivals.coverage

    @property
    def cursors(self) -> Cursors:
        """Where every stream is to go on."""
        return self.arrivals.cursors

    def watched_since(self, now: float) -> float:
        """The start of the window that conclusions about now rest on: as long as findings stay active, or
        shorter while the ledger is younger."""
        return max(now - self._active_for, self.coverage.begun or now)

    def current(self, now: float) -> list[Finding]:
        """The active findings at `now`, each with the coverage of the time since it was first seen."""
        return self.findings.current(now, self.coverage.shares(now))

    def gaps(self, now: float) -> list[Finding]:
        """What passes at `now` only because of audit mode."""
        return self.findings.gaps(now, self.coverage.shares(now))

    def unused_rules(self) -> tuple[str, ...]:
        """Titles of the rules that no edge has used so far."""
        used = {rule.id for rules in self.edges.declared_by.values() for rule in rules}
        return tuple(rule.title for rule in self.rules if rule.id not in used)

    def drain(
        self, now: float, findings: Sequence[Finding] | None = None, *, last: bool = False
    ) -> dict[str, pa.Table]:
        """Everything the store does not have yet, by the statement that writes it, in the order to run them. The
        `last` drain holds back nothing."""
        tables: dict[str, pa.Table] = {}
        if self._rules_pending:
            tables |= {"clear_rules": rule_rows(()), "append_rules": rule_rows(self.rules)}
            self._rules_pending = False
        tables |= self._drain_edges(now)
        if self._activity_rows:
            tables["append_edge_activity"] = pa.Table.from_batches(self._activity_rows)
            self._activity_rows = []
        if self._flow_rows:
            tables["append_flows"] = pa.Table.from_batches(self._flow_rows)
            self._flow_rows = []
        if self._evidence_rows:
            tables["append_evidence"] = newest_evidence(pa.concat_tables(self._evidence_rows), SAMPLES)
            self._evidence_rows = []
        tables |= stream_rows(self.arrivals, now, last)
        tables |= news_rows(self.interner.drain(), self.interner)
        return tables | self._drain_findings(self.current(now) if findings is None else findings)

    def _drain_edges(self, now: float) -> dict[str, pa.Table]:
        fresh, self.edges.fresh = self.edges.fresh, []
        standings = {number: str(answer.standing) for number, answer in self.edges.carriages(now).items()}
        changed = [n for n, standing in standings.items() if n not in fresh and self._standings.get(n) != standing]
        self._standings = standings
        if self._all_edges_pending:
            self._all_edges_pending = False
            everything = edge_rows(range(len(self.edges)), self.edges, self.interner, standings)
            return {"clear_edges": everything, "append_edges": everything}
        rows = edge_rows([*fresh, *changed], self.edges, self.interner, standings)
        tables: dict[str, pa.Table] = {"forget_edges": rows} if changed else {}
        return tables | ({"append_edges": rows} if len(rows) else {})

    def _drain_findings(self, findings: Sequence[Finding]) -> dict[str, pa.Table]:
        state = {f.fingerprint: (f.last_seen, f.flows, f.sentence) for f in findings}
        changed = [f for f in findings if self._written.get(f.fingerprint) != state[f.fingerprint]]
        tables: dict[str, pa.Table] = {}
        if changed:
            tables["replace_findings"] = finding_rows(changed)
        if self._written.keys() - state.keys():
            tables["retire_findings"] = fingerprint_rows(findings)
        self._written = state
        return tables

    def restore(self, restored: Restored, now: float) -> None:
        """Go on from what an earlier run stored: the same numbers, the same names, the edges and their totals."""
        nodes = [(number, cluster or self._cluster, name) for number, cluster, name in restored.nodes]
        self.interner.restore(nodes, restored.identities, restored.policies, restored.next_peer)
        for row in restored.edges.to_pylist():
            client = self.interner.stored_party(row["client_identity"], row["client_ip"], (), server=False)
            names = tuple(row["server_names"])
            server = self.interner.stored_party(row["server_identity"], row["server_ip"], names, server=True)
            number = self.edges.restore(client, server, row["protocol"], row["port"], row["first_seen"], now)
            if number != row["edge"]:
                raise ValueError(f"edge {row['edge']} is not in its place")
        for row in restored.totals.to_pylist():
            self.edges.restore_totals(**row)
        streams = restored.streams
        begun = min((node.since for node in streams.nodes), default=None)
        self.arrivals.restore(streams.recent)
        self.cursors.restore(streams.cursors, begun)
        self.coverage.restore(streams.nodes, streams.windows, begun)
        for row in restored.samples.to_pylist():
            evidence = Evidence(row["evidence"])
            reasons = {drop_name(row["drop_reason"])} if evidence is Evidence.DROPPED else set()
            self.findings.note(row["edge"], evidence, [row["uuid"]], reasons, tuple(row["policies"]))
        self._all_edges_pending = True  # the allowlist may have changed while nobody was looking

    def renew(self) -> None:
        """Forget what the store has: the next drain hands over everything known, for a new and empty file."""
        self.interner.renew()
        self.arrivals.renew()
        self._rules_pending = self._all_edges_pending = True
        self._written = {}

    def shed(self, limit: int) -> int:
        """Give up the oldest undrained flow rows beyond `limit` rows; how many went. Their edges stay counted."""
        shed = 0
        while self._flow_rows and self.pending_rows > limit:
            shed += len(self._flow_rows.pop(0))
        return shed

    def forget_rows(self) -> None:
        """Let go of everything not yet drained, where nothing is stored."""
        self._flow_rows, self._activity_rows, self._evidence_rows, self.edges.fresh = [], [], [], []
        self.interner.drain()

    def conditions(self, now: float) -> tuple[Condition, ...]:
        """The status conditions that rules bear, at `now`."""
        edges = self.edges
        seen = observe(edges.rule.values, edges.last_forwarded.values, edges.last_dropped.values)
        before, coverage = self._conditions, self.coverage.share(self.watched_since(now), now)
        self._conditions = evaluate(declared(self.rules), seen, coverage, now, before=before)
        return self._conditions

    def expire(self, now: float) -> bool:
        """Judge everything anew if a rule ended since this was last asked; whether one did."""
        since, self._expired_until = self._expired_until, now
        if not any(since < rule.ends <= now for rule in self.rules):
            return False
        self.reload(self._allowlist, now)
        return True

    def reload(self, allowlist: Allowlist | None, now: float) -> None:
        """Judge every edge anew by a changed allowlist."""
        self._allowlist = allowlist or NoAllowlist()
        self.rules, self._rules_pending, self._all_edges_pending = self._allowlist.rules, True, True
        self.interner.parties.address_class = self._allowlist.address_class
        self.edges.rejudge(self._allowlist, now)


class _Stopwatch:
    """Seconds spent per stage, for the counter of that name; never part of a decision."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = _time.perf_counter()

    def lap(self, stage: str) -> None:
        moment = _time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + moment - self._last
        self._last = moment


def _classifiable(columns: Columns, interned: Interned) -> Flows:
    return Flows(
        event=columns.event,
        point=columns.point,
        verdict=columns.verdict,
        drop_reason=columns.drop_reason,
        direction=columns.direction,
        reply=columns.reply,
        trace_reason=columns.trace_reason,
        protocol=columns.protocol,
        tcp_flags=columns.tcp_flags,
        source_port=columns.source_port,
        destination_port=columns.destination_port,
        l7=columns.l7_type,
        source_local=interned.source_local,
        destination_local=interned.destination_local,
        health=interned.health,
        same_endpoint=interned.same_endpoint,
        stale_identity=interned.stale_identity,
    )
