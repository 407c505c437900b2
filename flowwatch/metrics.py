"""What flowwatch says about itself to Prometheus.

Label sets whose values are known beforehand exist from the first scrape on, at zero. Methods are
named for what happened and take numbers that are already aggregated: once per batch or per
evaluation, never per flow. This module does not know where the numbers come from, and it opens
no port. What is counted is declared in `flowwatch.metric_table`.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder, generate_latest

from flowwatch import __version__
from flowwatch.metric_table import (
    ALERT_STATES,
    DECLARED,
    DEVIATIONS,
    DIRECTIONS,
    ENFORCEMENTS,
    EVENTS,
    FOLDED,
    FOLDING,
    LATENCIES,
    LOSERS,
    NODE_STATES,
    PEERS,
    POLICY_REASONS,
    PORT_STATES,
    PREFIX,
    RULE_STATES,
    SQUARES,
    STATUSES,
    TABLE,
    VERDICTS,
    Spec,
    Type,
    reference,
)
from flowwatch.model import Enforced, Snapshot, Square
from flowwatch.receive import ReceiverStatus
from flowwatch.tallies import Posture, Traffic

__all__ = ["Metrics", "reference"]

SERIES_CAP = 2000
"""Label sets one metric may have before further namespaces are folded together."""
REASONS_CAP = 100
"""Drop reasons told apart; Cilium has fewer."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
NO_SAMPLES: Mapping[tuple[str, str, str], str] = {}
EXPIRIES = 100
"""Rules whose end is told, the next first."""
LONGEST_LABEL = 200


class Metrics:
    """All metrics of one process, on one registry.

    `series_cap` bounds the label sets of each metric whose labels are learnt from flows. Methods
    that count flows are for one thread at a time; the others may be called from any.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, series_cap: int = SERIES_CAP) -> None:
        # A `_created` series beside each counter doubles the cost of a scrape and is read by nobody.
        disable: Callable[[], None] = disable_created_metrics
        disable()
        self.registry = registry if registry is not None else CollectorRegistry()
        self._series_cap = series_cap
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._known: dict[str, set[tuple[str, ...]]] = {name: set() for name in FOLDING}
        self._namespaces: set[str] = set()
        self._namespaces_left: set[str] = set()
        self._reasons = set(POLICY_REASONS)
        self._newest = 0.0
        self._gaps = 0
        self._followed = ReceiverStatus()
        for spec in TABLE:
            self._build(spec)
        self._gauges["flowwatch_build_info"].labels(__version__).set(1)

    def _build(self, spec: Spec) -> None:
        labels = tuple(spec.labels)
        metric: Counter | Gauge | Histogram
        if spec.type is Type.COUNTER:
            metric = self._counters[spec.name] = Counter(spec.name, spec.help, labels, registry=self.registry)
        elif spec.type is Type.GAUGE:
            metric = self._gauges[spec.name] = Gauge(spec.name, spec.help, labels, registry=self.registry)
        else:
            metric = self._histograms[spec.name] = Histogram(
                spec.name, spec.help, labels, buckets=LATENCIES, registry=self.registry
            )
        for values in spec.initial:
            metric.labels(*values)

    # What was received.

    def flows(self, counts: Mapping[tuple[str, str], int], newest: float = 0.0) -> None:
        """Count a batch of flows by (verdict, event); `newest` is the time of its latest flow."""
        for (verdict, event), count in counts.items():
            labels = (_one_of(verdict, VERDICTS, "unknown"), _one_of(event, EVENTS, "other"))
            self._counters["flowwatch_flows_total"].labels(*labels).inc(count)
        if newest > self._newest:
            self._newest = newest
            self._gauges["flowwatch_last_flow_timestamp_seconds"].set(newest)

    def classes(self, counts: Mapping[str, int]) -> None:
        """Count a batch of flows by class."""
        for name, count in counts.items():
            self._fold("flowwatch_flow_classes_total", (name,), (FOLDED,), count)

    def expect_classes(self, names: Iterable[str]) -> None:
        """Let the series of these classes exist at zero before the first flow."""
        self.classes(dict.fromkeys(names, 0))

    def policy_drops(
        self, counts: Mapping[tuple[str, str, str], int], samples: Mapping[tuple[str, str, str], str] = NO_SAMPLES
    ) -> None:
        """Count dropped connection attempts by (namespace, direction, reason); `samples` are flow uuids by the same."""
        for key, count in counts.items():
            namespace, direction, reason = key
            self._introduce(namespace)
            if len(self._reasons) < REASONS_CAP:
                self._reasons.add(reason)
            rest = (_one_of(direction, DIRECTIONS, "unknown"), reason if reason in self._reasons else FOLDED)
            self._fold("flowwatch_policy_drops_total", (namespace, *rest), (FOLDED, *rest), count, samples.get(key))

    def square_flows(
        self, counts: Mapping[tuple[str, str, str], int], samples: Mapping[tuple[str, str, str], str] = NO_SAMPLES
    ) -> None:
        """Count flows that are evidence for a square by (square, direction, namespace), `samples` as above."""
        for key, count in counts.items():
            square, direction, namespace = key
            self._introduce(namespace)
            side = _one_of(direction, DIRECTIONS, "unknown")
            kind = _one_of(square, SQUARES, str(Square.UNKNOWN))
            folded = (kind, side, FOLDED)
            self._fold("flowwatch_square_flows_total", (kind, side, namespace), folded, count, samples.get(key))

    def traffic(self, found: Traffic) -> None:
        """Count what was seen of the edges since the last look."""
        name = "flowwatch_edge_flows_total"
        for key in found.gone:
            self._counters[name].remove(*key)
        for key, count in found.shown.items():
            self._counters[name].labels(*key).inc(count)
        for (square, direction), count in found.others.items():
            self._counters["flowwatch_series_folded_total"].labels(name).inc()
            self._counters[name].labels(square, direction, *[FOLDED] * 4).inc(count)
        for (namespace, square, peer), count in found.egress.items():
            self._introduce_egress(namespace)
            labels = (namespace, square, peer)
            self._fold("flowwatch_egress_flows_total", labels, (FOLDED, square, peer), count)
        for (namespace, declared, peer), count in found.fresh.items():
            self._introduce_egress(namespace)
            labels = (namespace, declared, peer)
            self._fold("flowwatch_new_edges_total", labels, (FOLDED, declared, peer), count)

    def posture(self, found: Posture) -> None:
        """Set the gauges of how the edges of each namespace and the rules stand."""
        most = self._series_cap // len(SQUARES) - 1
        by_namespace = Tally[str]()
        for (namespace, _), edges in found.edges.items():
            by_namespace[namespace] += edges
        shown = {namespace for namespace, _ in by_namespace.most_common(most)}
        standing = dict.fromkeys(product({*shown, FOLDED}, SQUARES), 0.0)
        for (namespace, square), edges in found.edges.items():
            standing[namespace if namespace in shown else FOLDED, square] += edges
        self._replace("flowwatch_namespace_edges", standing, len(by_namespace) - len(shown))
        for state in RULE_STATES:
            self._gauges["flowwatch_rules"].labels(state).set(found.rules[state])
        for state in PORT_STATES:
            self._gauges["flowwatch_rule_ports"].labels(state).set(found.ports[state])
        # Of two rules that read the same, the one that ends first counts.
        next_ = reversed(found.expiring[:EXPIRIES])
        expiries = {(rule[:LONGEST_LABEL], owner[:LONGEST_LABEL]): ends for rule, owner, ends in next_}
        self._replace("flowwatch_rule_expiry_timestamp_seconds", expiries, len(found.expiring[EXPIRIES:]))

    def pushes(self, *, edges: bool, itself: bool) -> None:
        """Alerts about edges, and those about flowwatch itself, are pushed or left to rules."""
        for about, pushed in (("edges", edges), ("itself", itself)):
            self._gauges["flowwatch_pushes_alerts"].labels(about).set(pushed)

    def undecodable(self, count: int) -> None:
        """Messages arrived that the decoder could not read."""
        self._counters["flowwatch_undecodable_messages_total"].inc(count)

    def lost(self, source: str, count: int) -> None:
        """Somebody reported that events were lost, or flowwatch itself gave some up."""
        self._counters["flowwatch_lost_events_total"].labels(_one_of(source, LOSERS, "other")).inc(count)

    def repeated(self, flows: int, lost_false: int) -> None:
        """A server repeated flows; events were reported as lost that were not."""
        self._counters["flowwatch_repeated_flows_total"].inc(flows)
        self._counters["flowwatch_lost_events_false_total"].inc(lost_false)

    def follow(self, status: ReceiverStatus) -> None:
        """Bring the counters of the stream up to a receiver's own totals.

        Totals that shrank are those of a new receiver that started again from zero.
        """
        # Copied first: the receiver counts on meanwhile.
        last, copy = self._followed, replace(status)
        totals = (
            ("flowwatch_received_messages_total", last.messages, copy.messages),
            ("flowwatch_received_bytes_total", last.bytes, copy.bytes),
            ("flowwatch_undecodable_messages_total", last.broken, copy.broken),
            ("flowwatch_stream_connects_total", last.connects, copy.connects),
            ("flowwatch_stream_failures_total", last.failures, copy.failures),
        )
        renewed = any(total < before for _, before, total in totals)
        for name, before, total in totals:
            self._counters[name].inc(total if renewed else total - before)
        self._followed = copy

    def opened(self, square: Square, count: int = 1) -> None:
        """Findings were opened."""
        self._counters["flowwatch_findings_opened_total"].labels(str(square)).inc(count)

    def allowlist_loaded(self, now: float) -> None:
        """An allowlist was read, found valid and taken into use."""
        self._gauges["flowwatch_allowlist_loaded_timestamp_seconds"].set(now)

    def spent(self, stage: str, seconds: float) -> None:
        """A stage of the pipeline worked on a batch for so long."""
        self._counters["flowwatch_stage_seconds_total"].labels(stage).inc(max(seconds, 0.0))

    def committed(self, rows: int, seconds: float) -> None:
        """The database committed a transaction."""
        self._counters["flowwatch_store_commits_total"].inc()
        self._counters["flowwatch_store_rows_total"].inc(rows)
        self._histograms["flowwatch_store_commit_seconds"].observe(seconds)

    def store_failed(self) -> None:
        """The database refused a read or a write."""
        self._counters["flowwatch_store_errors_total"].inc()

    def store_set_aside(self) -> None:
        """A damaged database file was set aside, and a new one begun."""
        self._counters["flowwatch_store_set_aside_total"].inc()

    def retained(self, table: str, rows: int, seconds: float) -> None:
        """Rows of a table were forgotten, or added up into fewer; commits waited for it that long."""
        self._counters["flowwatch_store_forgotten_rows_total"].labels(table).inc(rows)
        self._histograms["flowwatch_store_retention_seconds"].observe(seconds)

    def store_used(self, used: int) -> None:
        """So many bytes of the database file now hold something."""
        self._gauges["flowwatch_store_used_bytes"].set(used)

    def store_size(self, size: int) -> None:
        """The database file now takes so many bytes."""
        self._gauges["flowwatch_store_bytes"].set(size)

    def observe(self, snapshot: Snapshot) -> None:
        """Set every gauge that mirrors the snapshot."""
        set_ = {name.removeprefix(PREFIX): gauge for name, gauge in self._gauges.items()}
        set_["stream_up"].set(snapshot.stream == "streaming")
        set_["coverage_ratio"].set(snapshot.coverage)
        set_["coverage_required_ratio"].set(snapshot.min_coverage)
        set_["coverage_window_seconds"].set(max(snapshot.now - snapshot.watched_since, 0.0))
        self._counters["flowwatch_coverage_gaps_total"].inc(max(snapshot.coverage_gaps - self._gaps, 0))
        self._gaps = snapshot.coverage_gaps
        set_["store_up"].set(not snapshot.store_error)
        set_["store_pending_rows"].set(snapshot.pending_rows)
        set_["allowlist_rules"].set(snapshot.rules)
        set_["allowlist_valid"].set(not snapshot.allowlist_error)
        set_["unused_rules"].set(len(snapshot.unused_rules))
        findings = Tally(str(finding.square) for finding in snapshot.findings)
        nodes = Tally("streaming" if node.streaming else "unavailable" for node in snapshot.nodes)
        for square in SQUARES:
            set_["edges"].labels(square).set(snapshot.squares.get(square, 0))
            set_["findings"].labels(square).set(findings[square])
        for condition in snapshot.conditions:
            for status in STATUSES:
                set_["condition"].labels(condition["type"], status).set(condition["status"] == status)
        gaps = Tally(str(gap.enforcement) for gap in snapshot.gaps)
        for enforcement in ENFORCEMENTS:
            set_["enforcement_gaps"].labels(enforcement).set(gaps[enforcement])
        set_["cluster_watch_up"].set(snapshot.enforced is None or not snapshot.enforced.trouble)
        if snapshot.enforced is not None:
            self._observe_cluster(snapshot.enforced)
        for state in NODE_STATES:
            set_["nodes"].labels(state).set(nodes[state])
        for state in ALERT_STATES:
            set_["alerts"].labels(state).set(snapshot.alerts.get(state, 0))

    def _observe_cluster(self, enforced: Enforced) -> None:
        self._gauges["flowwatch_cluster_proven_timestamp_seconds"].set(enforced.proven)
        kinds = Tally(str(one.deviation) for one in enforced.differences)
        for deviation in DEVIATIONS:
            self._gauges["flowwatch_cluster_differences"].labels(deviation).set(kinds[deviation])

    # Who was told. `alertmanager` is an address without credentials.

    def leads(self, leads: bool) -> None:
        """Whether it is for this replica to push alerts."""
        self._gauges["flowwatch_leads"].set(leads)

    def alertmanager_expected(self, alertmanager: str) -> None:
        """Let the series of one Alertmanager exist at zero before the first alert."""
        for name in ("sent_total", "errors_total", "dropped_total"):
            self._counters[f"flowwatch_alertmanager_{name}"].labels(alertmanager)
        self._gauges["flowwatch_alertmanager_queue_length"].labels(alertmanager)
        self._histograms["flowwatch_alertmanager_latency_seconds"].labels(alertmanager)

    def alertmanager_sent(self, alertmanager: str, alerts: int) -> None:
        """Alertmanager accepted alerts."""
        self._counters["flowwatch_alertmanager_sent_total"].labels(alertmanager).inc(alerts)

    def alertmanager_failed(self, alertmanager: str, alerts: int) -> None:
        """A batch of alerts was refused or did not arrive."""
        self._counters["flowwatch_alertmanager_errors_total"].labels(alertmanager).inc(alerts)

    def alertmanager_dropped(self, alertmanager: str, alerts: int) -> None:
        """Alerts were given up without trying to send them."""
        self._counters["flowwatch_alertmanager_dropped_total"].labels(alertmanager).inc(alerts)

    def alertmanager_queued(self, alertmanager: str, alerts: int) -> None:
        """So many alerts now wait for one Alertmanager."""
        self._gauges["flowwatch_alertmanager_queue_length"].labels(alertmanager).set(alerts)

    def alertmanager_answered(self, alertmanager: str, seconds: float) -> None:
        """Alertmanager answered a batch, or failed to, after so long."""
        self._histograms["flowwatch_alertmanager_latency_seconds"].labels(alertmanager).observe(seconds)

    def alertmanager_gone(self, alertmanager: str) -> None:
        """An address is no longer that of an Alertmanager; its series end."""
        for name in ("sent_total", "errors_total", "dropped_total"):
            self._counters[f"flowwatch_alertmanager_{name}"].remove(alertmanager)
        self._gauges["flowwatch_alertmanager_queue_length"].remove(alertmanager)
        self._histograms["flowwatch_alertmanager_latency_seconds"].remove(alertmanager)

    # How it is read.

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as (body, content type): OpenMetrics 1.0 where `accept` names it, else text 0.0.4."""
        if any(part.strip().lower().startswith(OPENMETRICS) for part in accept.split(",")):
            encode, content_type = choose_encoder(OPENMETRICS)
            return encode(self.registry), content_type
        return generate_latest(self.registry), TEXT

    def _introduce(self, namespace: str) -> None:
        # A namespace's series begin together and at zero. Of a series that begins at one, `rate` never
        # sees the one, and the first undeclared flow of a namespace is the one that matters.
        if namespace in self._namespaces:
            return
        squares = list(product(SQUARES[:4], DIRECTIONS[:2], (namespace,)))
        drops = list(product((namespace,), DIRECTIONS[:2], POLICY_REASONS))
        for name, series in (("flowwatch_square_flows_total", squares), ("flowwatch_policy_drops_total", drops)):
            if len(self._known[name]) + len(series) <= self._series_cap:
                self._namespaces.add(namespace)
                for labels in series:
                    self._fold(name, labels, labels, 0)

    def _introduce_egress(self, namespace: str) -> None:
        """As `_introduce`, for the metrics about what leaves a namespace."""
        if namespace in self._namespaces_left:
            return
        peers = PEERS[:3]
        flows = list(product((namespace,), SQUARES[:4], peers))
        fresh = list(product((namespace,), DECLARED[:2], peers))
        for name, series in (("flowwatch_egress_flows_total", flows), ("flowwatch_new_edges_total", fresh)):
            if len(self._known[name]) + len(series) <= self._series_cap:
                self._namespaces_left.add(namespace)
                for labels in series:
                    self._fold(name, labels, labels, 0)

    def _replace(self, name: str, values: Mapping[tuple[str, str], float], folded: int) -> None:
        """Let a gauge have these series and no others; a scrape in between finds none missing."""
        for labels, value in values.items():
            self._gauges[name].labels(*labels).set(value)
        for known in self._known[name] - values.keys():
            self._gauges[name].remove(*known)
        self._known[name] = set(values)
        self._counters["flowwatch_series_folded_total"].labels(name).inc(folded)

    def _fold(
        self, name: str, labels: tuple[str, ...], folded: tuple[str, ...], count: int, sample: str | None = None
    ) -> None:
        known = self._known[name]
        if labels in known or len(known) < self._series_cap:
            known.add(labels)
        else:
            self._counters["flowwatch_series_folded_total"].labels(name).inc()
            labels = folded
        self._counters[name].labels(*labels).inc(count, {"flow_uuid": sample} if sample else None)


def _one_of(value: str, known: tuple[str, ...], otherwise: str) -> str:
    return value if value in known else otherwise
