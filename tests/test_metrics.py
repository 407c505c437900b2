"""What flowwatch says about itself: every metric declared once, complete from the first scrape, bounded for ever."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from flowwatch import __version__
from flowwatch.metric_table import FOLDED, TABLE, Spec, Type, reference
from flowwatch.metrics import REASONS_CAP, Metrics
from flowwatch.model import Deviation, Difference, Enforced, Enforcement, NodeCoverage, Snapshot, Square
from flowwatch.receive import ReceiverStatus
from tests.support.drift import NOON, finding
from tests.support.samples import snapshot

DOCS = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

Series = dict[tuple[str, tuple[str, ...]], float]


def series(metrics: Metrics) -> Series:
    """Everything exposed as {(sample without `flowwatch_`, label values sorted by label): value}."""
    body, _ = metrics.exposition("")
    return {
        (
            sample.name.removeprefix("flowwatch_"),
            tuple(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def moved(metrics: Metrics) -> Series:
    """The series that are not zero, without build_info."""
    return {key: value for key, value in series(metrics).items() if value and key[0] != "build_info"}


def test_the_documentation_holds_the_table() -> None:
    """The table in docs/metrics.md is the one rendered from the declarations."""
    block = re.search(
        r"<!-- generated: metrics -->\n(.*)<!-- /generated -->", DOCS.read_text(encoding="utf-8"), re.DOTALL
    )
    assert block is not None
    assert block[1] == reference()


def test_every_metric_is_declared_and_every_declaration_exposed() -> None:
    """What is scraped is the table: same names, same types, same help, nothing beside it."""
    body, _ = Metrics().exposition("")
    exposed = {(family.name, family.type, family.documentation) for family in parse_text(body.decode())}
    assert exposed == {
        (spec.name.removesuffix("_total") if spec.type is Type.COUNTER else spec.name, spec.type, spec.help)
        for spec in TABLE
    }


@pytest.mark.parametrize("spec", TABLE, ids=lambda spec: spec.name)
def test_naming(spec: Spec) -> None:
    """Names follow Prometheus' conventions: the prefix, `_total` on counters alone, no type in the name."""
    name, kind = spec.name, spec.type
    assert re.fullmatch(r"flowwatch(_[a-z]+)+", name)
    assert (kind is Type.COUNTER) == name.endswith("_total")
    assert not re.search(r"_(counter|gauge|histogram|count|sum|bucket|created|ms|milliseconds)(_|$)", name)


def test_what_is_known_beforehand_starts_at_zero() -> None:
    """Before anything happened every known label set is there, at zero, so that absence means not scraped."""
    start = series(Metrics())
    for spec in TABLE:
        if spec.type is not Type.HISTOGRAM and all(spec.labels.values()):
            name = spec.name.removeprefix("flowwatch_")
            order = sorted(spec.labels)
            position = [list(spec.labels).index(label) for label in order]
            expected = {tuple(values[index] for index in position) for values in spec.initial or ((),)}
            assert {labels for sample, labels in start if sample == name} == expected
    assert {key: value for key, value in start.items() if value} == {("build_info", (__version__,)): 1.0}


def test_no_created_series() -> None:
    """Counters and histograms do not bring a `_created` series each, in neither format."""
    metrics = Metrics()
    metrics.committed(1, 0.1)
    assert b"_created" not in metrics.exposition("")[0] + metrics.exposition("application/openmetrics-text")[0]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=0.0.4; charset=utf-8"),
        (",;=,q", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("text/plain, Application/OpenMetrics-Text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_content_negotiation(accept: str, content_type: str) -> None:
    """OpenMetrics for those who name it, text 0.0.4 for everybody else, and the same samples in both."""
    metrics = Metrics()
    metrics.flows({("forwarded", "trace"): 3}, NOON)
    body, answered = metrics.exposition(accept)
    assert answered == content_type
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    samples = {
        (s.name, tuple(sorted(s.labels.items()))): s.value for family in parse(body.decode()) for s in family.samples
    }
    assert samples[("flowwatch_flows_total", (("event", "trace"), ("verdict", "forwarded")))] == 3


def test_registries_are_apart() -> None:
    """Two instances share nothing, and one can be put on a registry of the caller's."""
    registry = CollectorRegistry()
    here, there = Metrics(registry), Metrics()
    here.undecodable(2)
    assert registry.get_sample_value("flowwatch_undecodable_messages_total") == 2
    assert moved(there) == {}


def test_flows_are_counted_by_verdict_and_event() -> None:
    """A batch adds up; verdicts and events of a newer Hubble go under the names for the unknown."""
    metrics = Metrics()
    metrics.flows({("forwarded", "trace"): 90, ("dropped", "drop"): 10}, NOON)
    metrics.flows({("forwarded", "trace"): 10, ("vanished", "wormhole"): 1}, NOON - 5)
    metrics.classes({"allowed": 100, "denied": 11})
    assert moved(metrics) == {
        ("flows_total", ("trace", "forwarded")): 100,
        ("flows_total", ("drop", "dropped")): 10,
        ("flows_total", ("other", "unknown")): 1,
        ("last_flow_timestamp_seconds", ()): NOON,
        ("flow_classes_total", ("allowed",)): 100,
        ("flow_classes_total", ("denied",)): 11,
    }


def test_classes_can_be_announced() -> None:
    """Classes that were announced exist at zero; announcing them again changes nothing."""
    metrics = Metrics()
    metrics.classes({"allowed": 5})
    metrics.expect_classes(["allowed", "denied"])
    found = {key: value for key, value in series(metrics).items() if key[0] == "flow_classes_total"}
    assert found == {("flow_classes_total", ("allowed",)): 5, ("flow_classes_total", ("denied",)): 0}


def test_namespaces_beyond_the_cap_are_folded() -> None:
    """However many namespaces there are, the series stay bounded, the totals exact and the folding visible."""
    metrics = Metrics(series_cap=40)
    for index in range(100):
        metrics.policy_drops({(f"ns-{index}", "ingress", "POLICY_DENIED"): 2})
        metrics.square_flows({("denied", "ingress", f"ns-{index}"): 3})
    metrics.policy_drops({("ns-0", "ingress", "POLICY_DENIED"): 1})
    found = series(metrics)
    drops = {labels: value for (name, labels), value in found.items() if name == "policy_drops_total"}
    squares = {labels: value for (name, labels), value in found.items() if name == "square_flows_total"}
    assert (len(drops), sum(drops.values())) == (41, 201)
    assert (len(squares), sum(squares.values())) == (41, 300)
    assert drops[("ingress", "ns-0", "POLICY_DENIED")] == 3
    for name, folded in (
        ("policy", drops[("ingress", FOLDED, "POLICY_DENIED")] / 2),
        ("square", squares[("ingress", FOLDED, "denied")] / 3),
    ):
        (updates,) = (
            value for (sample, labels), value in found.items() if sample == "series_folded_total" and name in labels[0]
        )
        assert updates == folded > 50


def test_a_namespace_begins_at_zero() -> None:
    """The first sign of a namespace begins all its series, so that `rate` sees the first undeclared flow."""
    metrics = Metrics()
    metrics.square_flows({("expected", "egress", "shop"): 5})
    before = series(metrics)
    metrics.square_flows({("unexpected", "egress", "shop"): 1})
    metrics.policy_drops({("shop", "ingress", "POLICY_DENIED"): 1})
    changed = {key: (before[key], value) for key, value in series(metrics).items() if before[key] != value}
    assert changed == {
        ("square_flows_total", ("egress", "shop", "unexpected")): (0, 1),
        ("policy_drops_total", ("ingress", "shop", "POLICY_DENIED")): (0, 1),
    }


def test_nonsense_cannot_grow_the_metrics() -> None:
    """Made-up directions, squares, reasons, classes and losers end in a bounded number of series."""
    metrics = Metrics(series_cap=10)
    for index in range(10 * REASONS_CAP):
        text = f"nonsense-{index}"
        metrics.policy_drops({(text, text, text): 1})
        metrics.square_flows({(text, text, text): 1})
        metrics.flows({(text, text): 1})
        metrics.classes({text: 1})
        metrics.lost(text, 1)
    counts = moved(metrics)
    assert len(counts) < 40 + REASONS_CAP
    assert counts[("lost_events_total", ("other",))] == 10 * REASONS_CAP
    assert sum(value for (name, _), value in counts.items() if name == "policy_drops_total") == 10 * REASONS_CAP


def test_awkward_namespaces_survive_both_formats() -> None:
    """Quotes, backslashes, line ends and any script in a label value come out as they went in."""
    name = 'a"b\\c\nd→é'
    metrics = Metrics()
    metrics.policy_drops({(name, "egress", "POLICY_DENIED"): 1})
    for accept, parse in (("", parse_text), ("application/openmetrics-text", parse_openmetrics)):
        body, _ = metrics.exposition(accept)
        samples = [s for family in parse(body.decode()) for s in family.samples if s.value and "drops" in s.name]
        assert [s.labels for s in samples] == [{"namespace": name, "direction": "egress", "reason": "POLICY_DENIED"}]


def test_follow_brings_counters_up_to_a_receivers_totals() -> None:
    """The stream's counters follow the receiver, and go on counting when a new one starts from zero."""
    metrics = Metrics()
    status = ReceiverStatus(messages=100, bytes=40_000, connects=1, failures=2, broken=1)
    metrics.follow(status)
    status.messages, status.bytes = 150, 60_000
    metrics.follow(status)
    metrics.follow(status)
    metrics.follow(ReceiverStatus(messages=10, bytes=4_000, connects=1))
    metrics.undecodable(4)
    assert moved(metrics) == {
        ("received_messages_total", ()): 160,
        ("received_bytes_total", ()): 64_000,
        ("undecodable_messages_total", ()): 5,
        ("stream_connects_total", ()): 2,
        ("stream_failures_total", ()): 2,
    }


def test_observe_mirrors_a_snapshot() -> None:
    """Gauges show the snapshot as it is, and what is gone from the next one goes back to zero."""
    metrics = Metrics()
    metrics.observe(
        Snapshot(
            now=NOON,
            started=NOON - 60,
            version=__version__,
            cluster="homelab",
            source="relay:80",
            stream="streaming",
            stream_error="",
            flows=100,
            flows_per_second=5.0,
            squares={"expected": 40, Square.UNEXPECTED: 2},
            nodes=(NodeCoverage("homelab", "a", True, 5, 0, NOON), NodeCoverage("homelab", "b", False, 0, 0, 0.0)),
            coverage=0.5,
            watched_since=NOON - 60,
            coverage_gaps=2,
            gaps=(replace(finding(), enforcement=Enforcement.AUDITED),),
            findings=(finding(), finding("shop/web", "shop/db"), finding(square=Square.BLOCKED)),
            alerts={"firing": 3},
            rules=21,
            unused_rules=("a → b:1/TCP",),
            pending_rows=7,
        )
    )
    shown = {
        ("stream_up", ()): 1,
        ("coverage_ratio", ()): 0.5,
        ("coverage_required_ratio", ()): 1.0,
        ("coverage_window_seconds", ()): 60,
        ("coverage_gaps_total", ()): 2,
        ("store_up", ()): 1,
        ("cluster_watch_up", ()): 1,
        ("enforcement_gaps", ("audited",)): 1,
        ("nodes", ("streaming",)): 1,
        ("nodes", ("unavailable",)): 1,
        ("edges", ("expected",)): 40,
        ("edges", ("unexpected",)): 2,
        ("findings", ("unexpected",)): 2,
        ("findings", ("blocked",)): 1,
        ("alerts", ("firing",)): 3,
        ("allowlist_rules", ()): 21,
        ("allowlist_valid", ()): 1,
        ("unused_rules", ()): 1,
        ("store_pending_rows", ()): 7,
    }
    assert moved(metrics) == shown
    metrics.observe(
        Snapshot(
            now=NOON,
            started=NOON,
            version=__version__,
            cluster="homelab",
            source="relay:80",
            stream="waiting",
            stream_error="connection refused",
            flows=100,
            flows_per_second=0.0,
            coverage=0.0,
            watched_since=NOON,
            coverage_gaps=2,
            store_error="No space left on device",
            allowlist_error="allowlist.yaml:3: rules[0].ports: not a port",
        )
    )
    assert moved(metrics) == {
        ("coverage_gaps_total", ()): 2,
        ("coverage_required_ratio", ()): 1.0,
        ("cluster_watch_up", ()): 1,
    }
    missing = Difference(Deviation.MISSING, "NetworkPolicy:shop/db", "it is declared, and not in the cluster")
    enforced = Enforced((missing, missing), proven=NOON)
    metrics.observe(snapshot(enforced=enforced))
    cluster = {("cluster_proven_timestamp_seconds", ()): NOON, ("cluster_differences", ("missing",)): 2}
    assert {key: value for key, value in moved(metrics).items() if key[0].startswith("cluster_")} == {
        **cluster,
        ("cluster_watch_up", ()): 1,
    }
    metrics.observe(snapshot(enforced=replace(enforced, trouble="nothing was heard of pods")))
    assert {key: value for key, value in moved(metrics).items() if key[0].startswith("cluster_")} == cluster


def test_store_allowlist_and_findings() -> None:
    """What the store, the allowlist and the judge report is counted where it belongs."""
    metrics = Metrics()
    metrics.committed(5000, 0.02)
    metrics.committed(3000, 0.3)
    metrics.store_failed()
    metrics.store_size(1 << 20)
    metrics.store_used(1 << 19)
    metrics.store_set_aside()
    metrics.retained("edge_activity", 500, 0.02)
    metrics.allowlist_loaded(NOON)
    metrics.opened(Square.BLOCKED, 2)
    metrics.spent("judge", 0.25)
    metrics.spent("judge", -1e-9)
    metrics.lost("hubble_ring_buffer", 12)
    found = {key: value for key, value in moved(metrics).items() if "_bucket" not in key[0]}
    assert found == {
        ("store_commits_total", ()): 2,
        ("store_rows_total", ()): 8000,
        ("store_commit_seconds_count", ()): 2,
        ("store_commit_seconds_sum", ()): pytest.approx(0.32),
        ("store_errors_total", ()): 1,
        ("store_bytes", ()): 1 << 20,
        ("store_used_bytes", ()): 1 << 19,
        ("store_set_aside_total", ()): 1,
        ("store_forgotten_rows_total", ("edge_activity",)): 500,
        ("store_retention_seconds_count", ()): 1,
        ("store_retention_seconds_sum", ()): pytest.approx(0.02),
        ("allowlist_loaded_timestamp_seconds", ()): NOON,
        ("findings_opened_total", ("blocked",)): 2,
        ("stage_seconds_total", ("judge",)): 0.25,
        ("lost_events_total", ("hubble_ring_buffer",)): 12,
    }
