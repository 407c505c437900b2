"""The dashboards about what flowwatch was told, what it stores, and how it is itself."""

from __future__ import annotations

from asks import HALF, absence, each, quantiles, rate, stat
from panels import (
    GREEN,
    LOKI,
    RED,
    WARN_IF_ANY,
    Dashboard,
    Panel,
    query_variable,
    source_variable,
    text_variable,
)

ALLOWLIST = Dashboard(
    "flowwatch-allowlist",
    "flowwatch / allowlist",
    "Is what is declared used, needed, about to end; and how do the namespaces stand against it?",
    [
        (
            "Rules",
            [
                stat(
                    "Rules",
                    "sum(flowwatch_allowlist_rules{*})",
                    "Rules of the allowlist in use, expired ones included.",
                ),
                absence(
                    "Unused",
                    "sum(flowwatch_unused_rules{*})",
                    "Rules nothing used, once watched for long enough with enough coverage to say so; 0 until then.",
                    steps=WARN_IF_ANY,
                ),
                stat(
                    "Expired",
                    'sum(flowwatch_rules{*,state="expired"})',
                    "Rules that no longer hold. What they declared is undeclared now.",
                    steps=WARN_IF_ANY,
                ),
                stat(
                    "Ports never used",
                    'sum(flowwatch_rule_ports{*,state="unseen"})',
                    "Ports of rules that are used, which no flow ever used: more is permitted than is needed.",
                    steps=WARN_IF_ANY,
                ),
                stat(
                    "Allowlist",
                    "min(flowwatch_allowlist_valid{*})",
                    "Whether the allowlist on disk can be used; while it cannot, an earlier one stays in force.",
                    "none",
                    steps=((None, RED), (1, GREEN)),
                    mappings=(
                        {
                            "type": "value",
                            "options": {
                                "0": {"text": "invalid", "color": RED, "index": 0},
                                "1": {"text": "valid", "color": GREEN, "index": 1},
                            },
                        },
                    ),
                ),
                stat(
                    "Loaded",
                    "time() - max(flowwatch_allowlist_loaded_timestamp_seconds{*})",
                    "How long ago the allowlist in use was read.",
                    "s",
                ),
                Panel(
                    "Rules by use",
                    "Rules that some edge used, that none ever did, and that have ended.",
                    [("sum by (state) (flowwatch_rules{*})", "{{state}}")],
                    stacked=True,
                ),
                Panel(
                    "Permitted and needed ports",
                    "Ports of the rules that are used: those that flows used, and those that none ever did.",
                    [("sum by (state) (flowwatch_rule_ports{*})", "{{state}}")],
                    stacked=True,
                ),
                Panel(
                    "Rules that end",
                    "Time left until rules with an end stop to hold; less than nothing where they have.",
                    [("sort(min by (rule, owner) (flowwatch_rule_expiry_timestamp_seconds{*}) - time())", "left")],
                    "table",
                    "s",
                ),
            ],
        ),
        (
            "Live policies",
            [
                stat(
                    "Watch of the cluster",
                    "min(flowwatch_cluster_watch_up{*})",
                    "Whether what is live is known; while it is not, nothing is said of it. Up where nobody watches.",
                    "none",
                    width=12,
                    steps=((None, RED), (1, GREEN)),
                    mappings=(
                        {
                            "type": "value",
                            "options": {
                                "0": {"text": "stale", "color": RED, "index": 0},
                                "1": {"text": "up", "color": GREEN, "index": 1},
                            },
                        },
                    ),
                ),
                stat(
                    "Not as declared",
                    'sum(flowwatch_cluster_differences{*,difference=~"rejected|missing|differs|undeclared"})',
                    "Network policies that are missing, different, declared nowhere or rejected.",
                    width=12,
                    steps=WARN_IF_ANY,
                ),
                Panel(
                    "Differences",
                    "Where the cluster is otherwise than declared; `flowwatch cluster check` names each.",
                    [("sum by (difference) (flowwatch_cluster_differences{*})", "{{difference}}")],
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Gaps in enforcement",
                    "Edges that pass although policy denies them: by audit mode, or past live policies.",
                    [("sum by (enforcement) (flowwatch_enforcement_gaps{*})", "{{enforcement}}")],
                    width=12,
                ),
            ],
        ),
        (
            "Namespaces and conditions",
            [
                Panel(
                    "Declared share by namespace",
                    "Of the edges of each namespace, those that are as declared. One between two counts in both.",
                    [
                        (
                            'sum by (namespace) (flowwatch_namespace_edges{*n,square="expected"}) / '
                            "sum by (namespace) (flowwatch_namespace_edges{*n} > 0)",
                            "{{namespace}}",
                        )
                    ],
                    unit="percentunit",
                ),
                Panel(
                    "Edges that are not as declared",
                    "Edges of each namespace by square.",
                    [
                        (
                            "sum by (namespace, square) "
                            '(flowwatch_namespace_edges{*n,square=~"unexpected|blocked|denied|unknown"}) > 0',
                            "edges",
                        )
                    ],
                    "table",
                    decimals=0,
                ),
                Panel(
                    "Status conditions",
                    "What rules say depends on their paths, and how it stands.",
                    [("sum by (condition, status) (flowwatch_condition{*}) > 0", "now")],
                    "table",
                    "none",
                    hidden=("Value",),
                ),
            ],
        ),
    ],
)

LINES = '{level=~".+", namespace=~"$namespace", verdict=~"$verdict", direction=~"$direction"} |= ${search:doublequote}'
FLOWS = Dashboard(
    "flowwatch-flows",
    "flowwatch / flow explorer",
    "The flows themselves, searched in flowwatch's own database through Grafana's Loki data source.",
    [
        (
            "How many",
            [
                Panel(
                    "Flows found by verdict",
                    "Flows that match what is chosen above, by what became of them.",
                    [(f"sum by (verdict) (count_over_time({LINES} [$__auto]))", "{{verdict}}")],
                    source=LOKI,
                    stacked=True,
                    width=HALF,
                ),
                Panel(
                    "Drops found by reason",
                    "Of these, the ones that were dropped, by the reason Cilium gives.",
                    [
                        (
                            "sum by (drop_reason) (count_over_time("
                            + LINES.replace("}", ', drop_reason=~".+"}', 1)
                            + " [$__auto]))",
                            "{{drop_reason}}",
                        )
                    ],
                    source=LOKI,
                    width=HALF,
                ),
            ],
        ),
        (
            "Who, and what",
            [
                Panel(
                    "Who talks most",
                    "The ends and ports with the most flows among them.",
                    [
                        (
                            f"topk(25, sum by (source, destination, service, verdict) (count_over_time({LINES} | json "
                            "[$__range])))",
                            "flows",
                        )
                    ],
                    "table",
                    source=LOKI,
                    width=24,
                    decimals=0,
                ),
                Panel(
                    "Flows",
                    "The newest of them. Each is one line of JSON; open one for its fields.",
                    [(LINES, "")],
                    "logs",
                    source=LOKI,
                    width=24,
                    height=16,
                ),
            ],
        ),
    ],
    [
        source_variable("loki_datasource", "Flows", "loki"),
        query_variable("verdict", "label_values(verdict)", ".*", LOKI),
        query_variable("direction", "label_values(direction)", ".*", LOKI),
        text_variable("search", "Search"),
    ],
)


SELF = Dashboard(
    "flowwatch-self",
    "flowwatch / itself",
    "Can flowwatch be believed, and is it well?",
    [
        (
            "Can it be believed?",
            [
                Panel(
                    "Nodes",
                    "Nodes by whether their flows arrive.",
                    [("sum by (state) (flowwatch_nodes{*})", "{{state}}")],
                    stacked=True,
                    width=6,
                ),
                Panel(
                    "Lost events by source",
                    "Who lost events on the way: the kernel's ring, Hubble's queue or buffer, flowwatch.",
                    rate("flowwatch_lost_events_total", "source"),
                    unit="cps",
                    width=6,
                ),
                Panel(
                    "After interruptions",
                    "Flows that servers sent again and were left out, losses that a node's own count disproved, and "
                    "interruptions that nothing can fill any more.",
                    each(
                        ("flowwatch_repeated_flows_total", "repeated"),
                        ("flowwatch_lost_events_false_total", "not lost after all"),
                        ("flowwatch_coverage_gaps_total", "gaps"),
                    ),
                    unit="cps",
                    width=6,
                ),
                Panel(
                    "Age of the newest flow",
                    "How far behind the newest flow is. It grows when nothing arrives, whatever the stream says.",
                    [("time() - max(flowwatch_last_flow_timestamp_seconds{*} > 0)", "age")],
                    unit="s",
                    width=6,
                ),
            ],
        ),
        (
            "Ingest",
            [
                Panel(
                    "Ingest rate",
                    "Flows and messages received, and messages that could not be read.",
                    each(
                        ("flowwatch_flows_total", "flows"),
                        ("flowwatch_received_messages_total", "messages"),
                        ("flowwatch_undecodable_messages_total", "unreadable"),
                    ),
                    unit="cps",
                ),
                Panel(
                    "Bytes received",
                    "Serialised size of the messages received.",
                    each(("flowwatch_received_bytes_total", "bytes")),
                    unit="Bps",
                ),
                Panel(
                    "Time per stage",
                    "Seconds of work in a second, by stage: near 1 in sum, it cannot keep up.",
                    rate("flowwatch_stage_seconds_total", "stage"),
                    unit="percentunit",
                    stacked=True,
                ),
            ],
        ),
        (
            "Store",
            [
                Panel(
                    "Commit latency",
                    "How long the database takes to commit.",
                    quantiles("flowwatch_store_commit_seconds"),
                    unit="s",
                    width=6,
                ),
                Panel(
                    "Rows written",
                    "Rows that reached the disk.",
                    each(("flowwatch_store_rows_total", "rows")),
                    unit="cps",
                    width=6,
                ),
                Panel(
                    "Rows waiting",
                    "The queue of the store: rows in memory that are not on disk yet.",
                    [("sum(flowwatch_store_pending_rows{*})", "rows")],
                    width=6,
                ),
                Panel(
                    "Size of the database",
                    "The file on disk, its log included.",
                    [("sum(flowwatch_store_bytes{*})", "file"), ("sum(flowwatch_store_used_bytes{*})", "in use")],
                    unit="bytes",
                    width=6,
                ),
                Panel(
                    "Rows forgotten",
                    "Rows deleted or added up into fewer, by table.",
                    rate("flowwatch_store_forgotten_rows_total", "table"),
                    unit="cps",
                    width=HALF,
                ),
                Panel(
                    "Pauses for forgetting",
                    "How long commits waited while rows were forgotten.",
                    quantiles("flowwatch_store_retention_seconds"),
                    unit="s",
                    width=HALF,
                ),
            ],
        ),
        (
            "Failures and alerts",
            [
                Panel(
                    "Failures",
                    "Streams that failed, reads and writes the database refused, series folded into others.",
                    [
                        ("sum(increase(flowwatch_stream_failures_total{*}[$__rate_interval]))", "streams"),
                        ("sum(increase(flowwatch_store_errors_total{*}[$__rate_interval]))", "store"),
                        ("sum(increase(flowwatch_series_folded_total{*}[$__rate_interval]))", "series folded"),
                    ],
                    width=6,
                ),
                Panel(
                    "Alerts",
                    "Alerts that flowwatch itself pushes, by state.",
                    [("sum by (state) (flowwatch_alerts{*})", "{{state}}")],
                    width=6,
                ),
                Panel(
                    "Alertmanager: sent, failed, dropped",
                    "Alerts by what became of them, summed over all Alertmanagers.",
                    each(
                        ("flowwatch_alertmanager_sent_total", "sent"),
                        ("flowwatch_alertmanager_errors_total", "failed"),
                        ("flowwatch_alertmanager_dropped_total", "dropped"),
                    ),
                    unit="cps",
                    width=6,
                ),
                Panel(
                    "Alertmanager: latency and queue",
                    "How long the slowest hundredth of batches takes, and alerts that wait.",
                    [
                        (
                            "histogram_quantile(0.99, sum by (le) "
                            "(rate(flowwatch_alertmanager_latency_seconds_bucket{*}[$__rate_interval])))",
                            "99 % of batches",
                        ),
                        ("sum(flowwatch_alertmanager_queue_length{*})", "waiting"),
                    ],
                    unit="s",
                    units=(("waiting", "short"),),
                    width=6,
                ),
            ],
        ),
    ],
)
