"""What metrics say of edges: exact in sum, few in number, whatever the traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flowwatch.allowlist import parse
from flowwatch.engine import Engine
from flowwatch.exposure import HALF_LIFE, RANKED_EVERY, Exposure, _Busiest
from flowwatch.metric_table import FOLDED, PEERS
from flowwatch.metrics import Metrics
from flowwatch.model import Kind
from flowwatch.receive import Batch
from flowwatch.tallies import Key, Posture, Traffic
from tests.support.flowtext import parse as flows

START = 1_780_000_000.0
DECLARED = """
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}}}
externals: {payments: {fqdn: [pay.example.com]}}
rules:
  - {from: shop/web, to: shop/api, ports: [8080/TCP, 9000-9010/TCP], reason: pages}
  - {from: shop/api, to: payments, ports: 443/TCP, reason: money, owner: billing, expires: 2099-12-31}
  - {from: shop/web, to: payments, ports: 443/TCP, reason: old, expires: 2020-01-01}
  - {from: shop/api, to: shop/web, ports: 7000/TCP, reason: never}
"""
SEEN = """
+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN
+0.1s verdict FORWARDED ingress noreply node=node-2 shop/web -> shop/api* 8080/TCP SYN
+0.2s trace FORWARDED TO_NETWORK NEW noreply egress names=pay.example.com shop/api* -> world(203.0.113.7) 443/TCP SYN
+0.3s trace FORWARDED TO_NETWORK NEW noreply egress names=evil.example.com shop/api* -> world(203.0.113.9) 4444/TCP SYN
+0.4s verdict DROPPED egress POLICY_DENIED shop/api* -> world(203.0.113.8) 443/TCP SYN
+0.5s verdict DROPPED ingress POLICY_DENIED world(198.51.100.1) -> shop/web* 22/TCP SYN
"""


@pytest.fixture
def engine() -> Engine:
    """An engine that knows the rules and has seen nothing."""
    return Engine(cluster="test", allowlist=parse(DECLARED, "a.yaml", START), settle=0.0)


def test_edges_are_told_from_the_end_that_spoke(engine: Engine) -> None:
    """By names that were declared, else by what sort of peer it is; ports that no rule names are `other`."""
    exposure = Exposure(engine.edges)
    engine.ingest(Batch("test", "test", [line.message for line in flows(SEEN, START)]), START)
    traffic = exposure.advance(engine.rules, START)
    assert traffic.shown == {
        ("expected", "egress", "shop", "web", "shop/api", "8080/TCP"): 1,
        ("expected", "ingress", "shop", "api", "shop/web", "8080/TCP"): 1,
        ("expected", "egress", "shop", "api", "payments", "443/TCP"): 1,
        ("unexpected", "egress", "shop", "api", "fqdn", "other"): 1,
        ("denied", "egress", "shop", "api", "address", "443/TCP"): 1,
        ("denied", "ingress", "shop", "web", "address", "other"): 1,
    }
    assert traffic.egress == {
        ("shop", "expected", "pod"): 1,
        ("shop", "expected", "fqdn"): 1,
        ("shop", "unexpected", "fqdn"): 1,
        ("shop", "denied", "address"): 1,
    }
    assert traffic.fresh == {("shop", "yes", "pod"): 1, ("shop", "yes", "fqdn"): 1, ("shop", "no", "fqdn"): 1,
                             ("shop", "no", "address"): 1}  # fmt: skip
    again = exposure.advance(engine.rules, START + 1)
    assert again == Traffic()


def test_what_an_earlier_run_saw_is_not_counted_again(engine: Engine) -> None:
    """A ledger that is full already begins at nothing."""
    engine.ingest(Batch("test", "test", [line.message for line in flows(SEEN, START)]), START)
    assert Exposure(engine.edges).advance(engine.rules, START) == Traffic()


def test_posture(engine: Engine) -> None:
    """Edges by namespace and square, rules and their ports by use, and the rules that end."""
    exposure = Exposure(engine.edges)
    engine.ingest(Batch("test", "test", [line.message for line in flows(SEEN, START)]), START)
    posture = exposure.posture(engine.rules, START + 1, 0.0)
    assert {key: edges for key, edges in posture.edges.items() if edges} == {
        ("shop", "expected"): 2,
        ("shop", "unexpected"): 1,
        ("shop", "denied"): 2,
    }
    assert posture.rules == {"used": 2, "unseen": 1, "expired": 1}
    assert posture.ports == {"used": 2, "unseen": 1}
    ends = [(owner, datetime.fromtimestamp(moment, UTC).date()) for _, owner, moment in posture.expiring]
    assert ends == [("", date(2020, 1, 2)), ("billing", date(2100, 1, 1))]


def keys() -> st.SearchStrategy[Key]:
    """A few edges of one square."""
    names = st.sampled_from("abcdefgh")
    return st.builds(lambda one, other: ("denied", "egress", "shop", one, other, "other"), names, names)


@settings(deadline=None)
@given(st.lists(st.dictionaries(keys(), st.integers(1, 100), max_size=20), max_size=30), st.integers(1, 5))
def test_few_are_told_apart_and_nothing_is_lost(rounds: list[dict[Key, int]], most: int) -> None:
    """Never more than so many at a time; every flow is counted once, and what is gone was there."""
    busiest, shown, total = _Busiest(most), set(), Counter[str]()
    for at, counts in enumerate(rounds):
        gone = busiest.weigh(Counter(counts), START + at * RANKED_EVERY)
        assert set(gone) <= shown | set(counts)
        shown = set(busiest.shown)
        assert len(shown) <= most
        assert not shown & set(gone)
        total["in"] += sum(counts.values())
        total["shown"] += sum(flows for key, flows in counts.items() if key in shown)
        total["others"] += sum(flows for key, flows in counts.items() if key not in shown)
    assert total["in"] == total["shown"] + total["others"]


def test_the_busiest_take_their_place() -> None:
    """An edge that becomes clearly busier is told apart instead of the least busy; a little busier is not enough."""
    quiet, steady, loud = (("denied", "egress", "shop", name, "x", "other") for name in ("quiet", "steady", "loud"))
    busiest = _Busiest(2)
    busiest.weigh(Counter({quiet: 10, steady: 100}), START)
    assert busiest.weigh(Counter({loud: 12, quiet: 1}), START + RANKED_EVERY) == []
    assert busiest.weigh(Counter({loud: 500}), START + 2 * RANKED_EVERY) == [quiet]
    assert busiest.shown == {steady, loud}
    # What was busy long ago gives way.
    assert busiest.weigh(Counter({quiet: 50}), START + 20 * HALF_LIFE) == []
    assert busiest.weigh(Counter({quiet: 50}), START + 21 * HALF_LIFE) in ([steady], [loud])


def samples(metrics: Metrics, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of every series of a metric."""
    body, _ = metrics.exposition("")
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value


def test_series_of_edges_come_and_go() -> None:
    """A series ends with its edge; all others are one series by square and direction, counted as folded."""
    metrics = Metrics()
    key: Key = ("denied", "egress", "shop", "web", "fqdn", "other")
    metrics.traffic(Traffic(shown=Counter({key: 5}), others=Counter({("denied", "egress"): 7})))
    found = {labels["workload"]: value for labels, value in samples(metrics, "flowwatch_edge_flows_total")}
    assert found == {"web": 5, FOLDED: 7}
    metrics.traffic(Traffic(gone=[key]))
    assert [labels["workload"] for labels, _ in samples(metrics, "flowwatch_edge_flows_total")] == [FOLDED]
    folded = {labels["metric"]: value for labels, value in samples(metrics, "flowwatch_series_folded_total")}
    assert folded["flowwatch_edge_flows_total"] == 1


def test_a_thousand_namespaces_stay_within_the_cap() -> None:
    """Beyond the cap namespaces are one, sums stay exact, and what was folded is counted."""
    metrics = Metrics(series_cap=60)
    names = [f"ns-{number}" for number in range(1000)]
    metrics.traffic(
        Traffic(
            egress=Counter({(name, "unexpected", "fqdn"): 1 for name in names}),
            fresh=Counter({(name, "no", "pod"): 1 for name in names}),
        )
    )
    edges = Counter({(name, "denied"): number + 1 for number, name in enumerate(names)})
    posture = Posture(edges, Counter(), Counter(), tuple((f"rule {n}", "", START + n) for n in range(200)))
    metrics.posture(posture)
    metrics.posture(posture)
    for name in ("egress_flows_total", "new_edges_total", "namespace_edges"):
        values = [value for _, value in samples(metrics, f"flowwatch_{name}")]
        assert len(values) <= 60 + len(PEERS), name
        assert sum(values) == (sum(edges.values()) if name == "namespace_edges" else 1000), name
    assert len(list(samples(metrics, "flowwatch_rule_expiry_timestamp_seconds"))) == 100
    kept = {labels["namespace"] for labels, _ in samples(metrics, "flowwatch_namespace_edges")}
    assert "ns-999" in kept
    assert "ns-0" not in kept
    folded = {labels["metric"]: value for labels, value in samples(metrics, "flowwatch_series_folded_total")}
    assert all(folded[f"flowwatch_{name}"] > 0 for name in ("egress_flows_total", "new_edges_total", "namespace_edges"))


def test_gauges_of_what_is_gone_end() -> None:
    """A namespace without edges and a rule without an end have no series any more."""
    metrics = Metrics()
    metrics.posture(Posture(Counter({("shop", "denied"): 1}), Counter(), Counter(), (("a → b:1/TCP", "me", START),)))
    metrics.posture(Posture(Counter({("media", "denied"): 1}), Counter({"used": 3}), Counter(), ()))
    names = {labels["namespace"] for labels, _ in samples(metrics, "flowwatch_namespace_edges")}
    assert names == {"media", FOLDED}
    assert list(samples(metrics, "flowwatch_rule_expiry_timestamp_seconds")) == []
    assert ({"state": "used"}, 3.0) in list(samples(metrics, "flowwatch_rules"))


def test_every_kind_of_peer_is_known() -> None:
    """The table of metrics names the kinds that edges can have."""
    assert set(PEERS) == {str(kind) for kind in Kind if kind is not Kind.WORLD} | {"fqdn", "address"}
