"""The dashboards about the network: overview, drops and verdicts, egress."""

from __future__ import annotations

from asks import HALF, UP, absence, busiest, rate, stat
from panels import GOOD_IS_NONE, GREEN, ORANGE, RED, WARN_IF_ANY, Dashboard, Panel

COVERAGE = "min(flowwatch_coverage_ratio{*})"
LOST = "sum(increase(flowwatch_lost_events_total{*}[$__range]))"


def findings(square: str) -> str:
    """The active findings of a square."""
    return f'sum(flowwatch_findings{{*,square="{square}"}})'


OVERVIEW = Dashboard(
    "flowwatch-overview",
    "flowwatch / overview",
    "Does the network of a Cilium cluster do what was declared, and where does it not?",
    [
        (
            "Is it true?",
            [
                stat(
                    "Coverage",
                    COVERAGE,
                    "Share of what happened that flowwatch vouches for. Below 100 %, other numbers are a lower bound.",
                    "percentunit",
                    decimals=1,
                    steps=((None, RED), (0.95, ORANGE), (0.999, GREEN)),
                ),
                absence(
                    "Unexpected",
                    findings("unexpected"),
                    "Edges that are forwarded although nothing declares them: the gap in the enforcement.",
                    steps=GOOD_IS_NONE,
                ),
                absence(
                    "Blocked",
                    findings("blocked"),
                    "Edges that are declared, yet dropped by policy: an outage in the making.",
                    steps=GOOD_IS_NONE,
                ),
                absence(
                    "Denied",
                    findings("denied"),
                    "Edges that nothing declares and policy drops: attempts, or forgotten declarations.",
                    steps=WARN_IF_ANY,
                ),
                stat(
                    "Stream",
                    "min(flowwatch_stream_up{*})",
                    "Whether flows are streaming in. While it is down, nothing is found and nothing is over.",
                    "none",
                    steps=((None, RED), (1, GREEN)),
                    mappings=(UP,),
                ),
                stat(
                    "Lost events",
                    LOST,
                    "Events that somebody lost in the range shown: a node, Hubble, or flowwatch itself.",
                    steps=WARN_IF_ANY,
                ),
            ],
        ),
        (
            "The square over time",
            [
                Panel(
                    "Findings by square",
                    "Active findings. Read them beside the coverage: what was not seen cannot be found.",
                    [("sum by (square) (flowwatch_findings{*})", "{{square}}")],
                ),
                Panel(
                    "Edges by square",
                    "Distinct edges: who talks to whom on which port, held against the allowlist.",
                    [("sum by (square) (flowwatch_edges{*})", "{{square}}")],
                    stacked=True,
                ),
                Panel(
                    "Coverage over time",
                    "Share of what happened that flowwatch vouches for, of the instance that vouches for least.",
                    [(COVERAGE, "coverage")],
                    unit="percentunit",
                ),
            ],
        ),
        (
            "Top findings",
            [
                busiest(
                    "Busiest unexpected edges",
                    "unexpected",
                    "Forwarded although nothing declares them, from the end that spoke, in the range shown.",
                    width=HALF,
                ),
                busiest(
                    "Busiest dropped edges",
                    "blocked|denied",
                    "Dropped by policy, declared or not, with the most flows in the range shown.",
                    width=HALF,
                ),
                Panel(
                    "Findings opened",
                    "New findings per interval: a step after a rollout is a declaration that was forgotten.",
                    [
                        (
                            "sum by (square) (increase(flowwatch_findings_opened_total{*}[$__rate_interval]))",
                            "{{square}}",
                        )
                    ],
                    width=HALF,
                ),
                Panel(
                    "Evidence by square",
                    "Flows that prove something about an edge, by what they prove.",
                    rate("flowwatch_square_flows_total", "square", "{*n}"),
                    unit="cps",
                    width=HALF,
                    to_flows=True,
                ),
            ],
        ),
    ],
)

DROPS = Dashboard(
    "flowwatch-drops",
    "flowwatch / drops and verdicts",
    "What is dropped, why, in which direction and at which workload; and what is only noise.",
    [
        (
            "Verdicts",
            [
                Panel(
                    "Flows by verdict",
                    "Flows received, by what became of them.",
                    rate("flowwatch_flows_total", "verdict"),
                    unit="cps",
                    stacked=True,
                ),
                Panel(
                    "Flows by event",
                    "Flows received, by the kind of event that reported them.",
                    rate("flowwatch_flows_total", "event"),
                    unit="cps",
                ),
                Panel(
                    "Flows by class",
                    "What flows are evidence of. Replies, health checks and other drops than policy's are no findings.",
                    [(f"{rate('flowwatch_flow_classes_total', 'class')[0][0]} > 0", "{{class}}")],
                    unit="cps",
                ),
            ],
        ),
        (
            "Policy drops",
            [
                Panel(
                    "Policy drops by reason",
                    "Connection attempts that policy dropped, retransmits collapsed, by the reason Cilium gives.",
                    rate("flowwatch_policy_drops_total", "reason", "{*n}"),
                    unit="cps",
                    to_flows=True,
                ),
                Panel(
                    "Policy drops by direction",
                    "By the side whose policy dropped them.",
                    rate("flowwatch_policy_drops_total", "direction", "{*n}"),
                    unit="cps",
                    to_flows=True,
                ),
                Panel(
                    "Policy drops by namespace",
                    "By the namespace of the pod whose policy dropped them.",
                    [(f"{rate('flowwatch_policy_drops_total', 'namespace', '{*n}')[0][0]} > 0", "{{namespace}}")],
                    unit="cps",
                    to_flows=True,
                ),
                Panel(
                    "Drops by workload",
                    "Flows that policy dropped, declared or not, at the workloads with the most of them.",
                    [
                        (
                            "topk(10, sum by (namespace, workload) (rate(flowwatch_edge_flows_total"
                            '{*n,square=~"blocked|denied"}[$__rate_interval]))) > 0',
                            "{{namespace}}/{{workload}}",
                        )
                    ],
                    unit="cps",
                    width=HALF,
                ),
                Panel(
                    "Declared and dropped",
                    "Flows that the allowlist declares and policy drops: this is what an outage looks like.",
                    [
                        (
                            'sum by (namespace) (rate(flowwatch_square_flows_total{*n,square="blocked"}'
                            "[$__rate_interval])) > 0",
                            "{{namespace}}",
                        )
                    ],
                    unit="cps",
                    width=HALF,
                    to_flows=True,
                ),
                busiest(
                    "What is dropped",
                    "blocked|denied",
                    "The edges with the most dropped flows in the range shown, from the end whose policy dropped them.",
                ),
            ],
        ),
    ],
)

EGRESS = Dashboard(
    "flowwatch-egress",
    "flowwatch / egress",
    "Where pods go: declared and undeclared, by what the other end is, and where they went for the first time.",
    [
        (
            "What leaves pods",
            [
                Panel(
                    "Egress by square",
                    "Flows that left pods: declared or not, forwarded or dropped.",
                    rate("flowwatch_egress_flows_total", "square", "{*n}"),
                    unit="cps",
                    stacked=True,
                ),
                Panel(
                    "Declared egress by peer",
                    "Forwarded and declared: names that were looked up (fqdn), plain addresses, entities, pods.",
                    rate("flowwatch_egress_flows_total", "peer", '{*n,square="expected"}'),
                    unit="cps",
                ),
                Panel(
                    "Undeclared egress by peer",
                    "Forwarded and declared by nothing. Addresses without a name deserve the first look.",
                    rate("flowwatch_egress_flows_total", "peer", '{*n,square="unexpected"}'),
                    unit="cps",
                    to_flows=True,
                ),
                Panel(
                    "Undeclared egress by namespace",
                    "Who it is that goes where nothing is declared.",
                    [
                        (
                            'sum by (namespace) (rate(flowwatch_egress_flows_total{*n,square="unexpected"}'
                            "[$__rate_interval])) > 0",
                            "{{namespace}}",
                        )
                    ],
                    unit="cps",
                    width=HALF,
                    to_flows=True,
                ),
                Panel(
                    "Egress that is dropped, by peer",
                    "Attempts to leave that policy drops.",
                    [
                        (
                            'sum by (peer) (rate(flowwatch_egress_flows_total{*n,square=~"blocked|denied"}'
                            "[$__rate_interval]))",
                            "{{peer}}",
                        )
                    ],
                    unit="cps",
                    width=HALF,
                    to_flows=True,
                ),
            ],
        ),
        (
            "New destinations",
            [
                Panel(
                    "New edges, declared or not",
                    "Destinations and ports that no flow had reached before, per interval.",
                    [("sum by (declared) (increase(flowwatch_new_edges_total{*n}[$__rate_interval]))", "{{declared}}")],
                    width=HALF,
                ),
                Panel(
                    "New undeclared edges by peer",
                    "The same, of those that nothing declares, by what the other end is.",
                    [
                        (
                            'sum by (peer) (increase(flowwatch_new_edges_total{*n,declared="no"}[$__rate_interval]))',
                            "{{peer}}",
                        )
                    ],
                    width=HALF,
                ),
                busiest(
                    "Busiest undeclared egress",
                    "unexpected",
                    "Outside the cluster, `fqdn` is what was looked up by name, `address` is the rest: the flow "
                    "explorer and the findings have the names.",
                    ',direction="egress"',
                ),
                busiest(
                    "Busiest declared egress",
                    "expected",
                    "Names outside the cluster are those under which the allowlist declares them.",
                    ',direction="egress"',
                ),
            ],
        ),
    ],
)
