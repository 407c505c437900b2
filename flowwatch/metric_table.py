"""Every metric of flowwatch, declared once: what it is called, what it counts, how it is told apart.

The registry objects of `flowwatch.metrics` are built from `TABLE`, and the table of `docs/metrics.md`
is `reference()`. Label values that are known beforehand are part of the declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from flowwatch import __version__
from flowwatch.model import Deviation, Enforcement, Kind, Square

PREFIX = "flowwatch_"
FOLDED = "__other__"
"""Stands for every label value beyond a cap."""

VERDICTS = ("forwarded", "dropped", "error", "audit", "redirected", "traced", "translated", "unknown")
EVENTS = ("drop", "policy-verdict", "trace", "l7", "socket", "other")
DIRECTIONS = ("ingress", "egress", "unknown")
SQUARES = tuple(str(square) for square in Square)
LOSERS = (
    "perf_event_ring_buffer",
    "observer_events_queue",
    "hubble_ring_buffer",
    "flowwatch",
    "unreported",
    "other",
)
STATUSES = ("True", "False", "Unknown")
NODE_STATES = ("streaming", "unavailable")
STAGES = ("decode", "intern", "classify", "judge", "store")
STORE_TABLES = (
    "flows", "edge_activity", "edge_minutes", "edge_hours", "flow_activity", "flow_minutes", "flow_hours", "coverage",
    "evidence", "findings", "gaps", "node_states",
)  # fmt: skip
ABOUT = ("edges", "itself")
"""What alerts are about: edges, or flowwatch itself and what it was told."""
ALERT_STATES = ("pending", "firing", "resolved")
POLICY_REASONS = ("POLICY_DENIED", "POLICY_DENY")
"""The drop reasons every namespace has from the start; the others are rare."""
FOLDING = (
    "flowwatch_flow_classes_total",
    "flowwatch_policy_drops_total",
    "flowwatch_square_flows_total",
    "flowwatch_edge_flows_total",
    "flowwatch_egress_flows_total",
    "flowwatch_new_edges_total",
    "flowwatch_namespace_edges",
    "flowwatch_rule_expiry_timestamp_seconds",
)
"""The metrics whose labels are learnt, and so folded beyond a cap."""
DEVIATIONS = tuple(str(deviation) for deviation in Deviation)
ENFORCEMENTS = tuple(str(enforcement) for enforcement in Enforcement if enforcement)
RULE_STATES = ("used", "unseen", "expired")
PORT_STATES = ("used", "unseen")
DECLARED = ("yes", "no", "unknown", "ungoverned")
PEERS = ("pod", "fqdn", "address", *(str(kind) for kind in Kind if kind not in (Kind.POD, Kind.WORLD)))
"""What the other end of an edge can be; outside the cluster by whether its name was looked up."""
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Type(StrEnum):
    """The Prometheus metric types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric as declared: `labels` maps each label to the values known beforehand (none: learnt)."""

    name: str
    type: Type
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def initial(self) -> tuple[tuple[str, ...], ...]:
        """The label sets that exist from the start."""
        return tuple(product(*self.labels.values())) if self.labels else ()


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Spec:
    return Spec(PREFIX + name, Type.COUNTER, text, labels)


def _gauge(name: str, text: str, **labels: tuple[str, ...]) -> Spec:
    return Spec(PREFIX + name, Type.GAUGE, text, labels)


def _histogram(name: str, text: str, **labels: tuple[str, ...]) -> Spec:
    return Spec(PREFIX + name, Type.HISTOGRAM, text, labels)


TABLE: tuple[Spec, ...] = (
    _gauge("build_info", "1, labelled with the running version.", version=(__version__,)),
    # What was received.
    _counter("received_messages_total", "Messages received from the source of flows."),
    _counter("received_bytes_total", "Serialised size of the messages received."),
    _counter("undecodable_messages_total", "Messages, lines or frames that could not be read."),
    _counter("flows_total", "Flows received, by verdict and by the kind of event.", verdict=VERDICTS, event=EVENTS),
    _counter("flow_classes_total", "Flows by the class they were sorted into before judging.", **{"class": ()}),
    _gauge("last_flow_timestamp_seconds", "Time of the newest flow received; 0 before the first."),
    _gauge("stream_up", "1 while flows are streaming, 0 while connecting, waiting or after the end."),
    _counter("stream_connects_total", "Streams opened successfully."),
    _counter("stream_failures_total", "Streams that failed or could not be opened."),
    _gauge("nodes", "Nodes known to the source, by whether their flows arrive.", state=NODE_STATES),
    _counter("lost_events_total", "Events lost, by who lost them.", source=LOSERS),
    _counter("lost_events_false_total", "Events reported as lost that were not, by the node's own count."),
    _counter("repeated_flows_total", "Flows a server sent again after an interruption, left out."),
    _gauge("coverage_ratio", "Share (0 to 1) of what happened lately that can be vouched for."),
    _gauge("coverage_required_ratio", "Coverage below which nothing is said to be absent (`judge.min_coverage`)."),
    _gauge("coverage_window_seconds", "Length of the time that flowwatch_coverage_ratio speaks of."),
    _counter("coverage_gaps_total", "Interruptions of a node's flows that could not be recovered."),
    # What was found.
    _counter(
        "policy_drops_total",
        "Connection attempts dropped by policy, retransmits collapsed, by the namespace of the policed pod.",
        namespace=(),
        direction=DIRECTIONS,
        reason=(),
    ),
    _counter(
        "square_flows_total",
        "Flows that are evidence for each square, by the governed namespace.",
        square=SQUARES,
        direction=DIRECTIONS,
        namespace=(),
    ),
    _counter(
        "edge_flows_total",
        f'Flows of the busiest edges of each square, from the end that spoke; all others are "{FOLDED}".',
        square=(),
        direction=(),
        namespace=(),
        workload=(),
        peer=(),
        service=(),
    ),
    _counter(
        "egress_flows_total",
        "Flows that left pods, by what they were for.",
        namespace=(),
        square=(),
        peer=(),
    ),
    _counter(
        "new_edges_total",
        "Edges from pods that were never seen before: new destinations.",
        namespace=(),
        declared=(),
        peer=(),
    ),
    _gauge("namespace_edges", "Edges of each namespace by square, between two in both.", namespace=(), square=()),
    _gauge("edges", "Distinct edges in each square.", square=SQUARES),
    _gauge("findings", "Active findings in each square.", square=SQUARES),
    _counter("findings_opened_total", "Findings opened since the start.", square=SQUARES),
    _gauge("allowlist_rules", "Rules of the allowlist in use."),
    _gauge("allowlist_valid", "1 if the allowlist as last read can be used, 0 if an earlier one stays in use."),
    _gauge("allowlist_loaded_timestamp_seconds", "When the allowlist in use was loaded."),
    _gauge("unused_rules", "Rules of the allowlist that no flow has matched."),
    _gauge("rules", "Rules of the allowlist by whether any edge used them, ever.", state=RULE_STATES),
    _gauge(
        "rule_ports",
        "Ports of used rules by whether any edge used them; unseen ones may be too many.",
        state=PORT_STATES,
    ),
    _gauge("rule_expiry_timestamp_seconds", "When rules end, of those that do, the next first.", rule=(), owner=()),
    _gauge("condition", "Status conditions: 1 for the status each has.", condition=(), status=STATUSES),
    # What is live in the cluster, where `kubernetes.watch` is on.
    _gauge(
        "cluster_watch_up", "0 while the watch of the cluster is stale or failing, else 1; also where nobody watches."
    ),
    _gauge("cluster_proven_timestamp_seconds", "Up to when all that is live was known; 0 before that."),
    _gauge("cluster_differences", "Ways in which the cluster is otherwise than declared.", difference=DEVIATIONS),
    _gauge("enforcement_gaps", "Edges that pass although policy denies them.", enforcement=ENFORCEMENTS),
    # What it cost.
    _counter("stage_seconds_total", "Time spent in each stage of the pipeline.", stage=STAGES),
    _counter("store_rows_total", "Rows written to the database."),
    _counter("store_commits_total", "Commits to the database."),
    _histogram("store_commit_seconds", "How long commits took."),
    _gauge("store_pending_rows", "Rows waiting to be written."),
    _counter("store_errors_total", "Reads or writes the database refused."),
    _gauge("store_up", "1 while the database takes rows, 0 while it refuses them or is slow; they wait in memory."),
    _counter("store_set_aside_total", "Damaged database files that were set aside for a new one."),
    _gauge("store_bytes", "Size of the database file. It never shrinks: what is freed in it is used again."),
    _gauge("store_used_bytes", "What of the database file holds something; `store.max_size` bounds it."),
    _counter("store_forgotten_rows_total", "Rows deleted or added up into fewer, by table.", table=STORE_TABLES),
    _histogram("store_retention_seconds", "How long commits waited while rows were forgotten."),
    # Who was told.
    _gauge("pushes_alerts", "1 where flowwatch pushes alerts itself, 0 where rules have to say it.", about=ABOUT),
    _gauge("leads", "1 where this replica pushes alerts, 0 where another holds the Lease."),
    _gauge("alerts", "Alerts by state; resolved ones until they are no longer repeated.", state=ALERT_STATES),
    _counter("alertmanager_sent_total", "Alerts accepted by Alertmanager.", alertmanager=()),
    _counter("alertmanager_errors_total", "Alerts in batches that were refused or did not arrive.", alertmanager=()),
    _counter("alertmanager_dropped_total", "Alerts pushed out of a full queue or left at the end.", alertmanager=()),
    _gauge("alertmanager_queue_length", "Alerts waiting to be sent.", alertmanager=()),
    _histogram("alertmanager_latency_seconds", "How long Alertmanager took to answer a batch.", alertmanager=()),
    _counter(
        "series_folded_total",
        f'Updates counted under "{FOLDED}" because the metric had reached its cap of label sets.',
        metric=FOLDING,
    ),
)


def reference() -> str:
    """The declared metrics as a Markdown table, one row per metric, ending in a newline."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for spec in TABLE:
        labels = "; ".join(_described(spec, label) for label in spec.labels)
        rows.append(f"| `{spec.name}` | {spec.type} | {labels} | {spec.help} |")
    return "\n".join(rows) + "\n"


def _described(spec: Spec, label: str) -> str:
    values = () if label == "version" else spec.labels[label]
    return f"`{label}`: {', '.join(values)}" if values else f"`{label}`"
