"""What an allowlist says of an edge: declared, not declared, unknown or ungoverned, and why."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import pytest

from flowwatch.allowlist import Allowlist, parse, read_text
from flowwatch.allowlist.index import Memo
from flowwatch.model import Declared, Edge, Identity, Kind, Peer, Protocol
from tests.support.peers import edge, entity, nobody, pod, world

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC).timestamp()
YES, NO, UNKNOWN, UNGOVERNED = Declared.YES, Declared.NO, Declared.UNKNOWN, Declared.UNGOVERNED

HEAD = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads:
  monitoring:
    loki: {app: loki}
    grafana: {app: grafana}
  seaweedfs:
    filer: {app: filer}
"""

LOKI = pod("monitoring", "loki")
GRAFANA = pod("monitoring", "grafana")
FILER = pod("seaweedfs", "filer")
HOST = entity(Kind.HOST)
REMOTE_NODE = entity(Kind.REMOTE_NODE)
API_ON_NODE = entity(Kind.KUBE_APISERVER, "kube-apiserver", "remote-node")
API_ON_HOST = entity(Kind.HOST, "host", "kube-apiserver")
API_OUTSIDE = Peer(
    Identity(Kind.KUBE_APISERVER, "", "", ("reserved:kube-apiserver", "reserved:world")), "", "203.0.113.9"
)
WORLD = world("203.0.113.7")


def allowlist(*rules: str, head: str = HEAD, cluster: str = "") -> Allowlist:
    """An allowlist of rules written as `from → to:ports`, or as YAML."""
    written = []
    for rule in rules:
        if rule.startswith("{from:"):
            written.append(rule)
        else:
            source, _, rest = rule.partition(" → ")
            destination, _, ports = rest.rpartition(":")
            written.append(f"{{from: {source}, to: {destination}, ports: {ports}, reason: because}}")
    listed = "".join(f"\n- {rule}" for rule in written) or " []"
    return parse(f"{head}rules:{listed}\n", "allowlist.yaml", NOW, cluster=cluster)


def said(rule: str, one: Edge) -> Declared:
    """What an allowlist of one rule says of an edge."""
    return allowlist(rule).judge(one, NOW).declared


def test_a_declared_edge_names_its_rule_and_the_reason() -> None:
    """The answer leads to the line that declares the edge, and to why."""
    judgement = allowlist(
        "pods → world:443", "{from: loki, to: filer, ports: 8333, reason: S3 storage}", "pods → pods:any"
    ).judge(edge(LOKI, FILER, 8333), NOW)

    assert judgement.declared is YES
    assert judgement.reason == "declared by monitoring/loki → seaweedfs/filer:8333/TCP (allowlist.yaml:11): S3 storage"
    assert (judgement.rule, judgement.rule_id) == ("monitoring/loki → seaweedfs/filer:8333/TCP", 1)
    assert (judgement.nearest, judgement.differs) == ("", ())


def test_an_undeclared_edge_says_what_is_missing() -> None:
    """The answer repeats the edge and names no rule."""
    judgement = allowlist().judge(edge(LOKI, WORLD, 443), NOW)

    assert judgement.declared is NO
    assert judgement.reason == "no rule from monitoring/loki to 203.0.113.7 on 443/TCP"
    assert (judgement.rule, judgement.rule_id, judgement.nearest) == ("", -1, "")


def test_a_rule_has_a_direction() -> None:
    """A path from one to the other is none back."""
    assert said("loki → filer:8333", edge(LOKI, FILER, 8333)) is YES
    assert said("loki → filer:8333", edge(FILER, LOKI, 8333)) is NO


def test_every_rule_that_declares_an_edge_can_be_had() -> None:
    """Whoever counts what rules are used for gets all of them, not only the first."""
    some = allowlist("pods → pods:any", "loki → world:443", "loki → filer:8333", "all → all:any")

    assert [rule.id for rule in some.declaring(edge(LOKI, FILER, 8333), NOW)] == [0, 2, 3]


@pytest.mark.parametrize(
    ("peer", "entities"),
    [
        (LOKI, "cluster"),
        (HOST, "host cluster"),
        (REMOTE_NODE, "remote-node cluster"),
        (API_ON_NODE, "kube-apiserver remote-node cluster"),
        (API_ON_HOST, "kube-apiserver host cluster"),
        (API_OUTSIDE, "kube-apiserver world cluster"),
        (entity(Kind.INGRESS), "ingress cluster"),
        (entity(Kind.HEALTH), "health cluster"),
        (entity(Kind.INIT), "init cluster"),
        (entity(Kind.UNMANAGED), "unmanaged cluster"),
        (world(labels=("reserved:world",)), "world"),
        (world(labels=("reserved:world-ipv4",)), "world"),
        (world(labels=("reserved:world-ipv6",)), "world"),
        (world(labels=("cidr:10.0.0.0/8", "reserved:world-ipv4")), "world"),
    ],
    ids=str,
)
def test_entities_are_sets_of_labels(peer: Peer, entities: str) -> None:
    """A peer belongs to every entity that one of its labels names, and to no other."""
    names = ["world", "host", "remote-node", "kube-apiserver", "ingress", "health", "cluster", "init", "unmanaged"]
    found = {name for name in names if said(f"{name} → pods:any", edge(peer, LOKI)) is YES}

    assert found == set(entities.split())
    assert said("all → pods:any", edge(peer, LOKI)) is YES


@pytest.mark.parametrize(
    ("selector", "peers"),
    [
        ("pods", [LOKI, GRAFANA, FILER]),
        ("monitoring/*", [LOKI, GRAFANA]),
        ("{namespace: monitoring}", [LOKI, GRAFANA]),
        ("loki", [LOKI]),
        ("[loki, filer, host]", [LOKI, FILER, HOST]),
        ("{namespace: monitoring, labels: {k8s:app: loki}}", [LOKI]),
        ("{namespace: monitoring, labels: {any:app: loki}}", [LOKI]),
        ("{namespace: monitoring, labels: {container:app: loki}}", []),
        ("{namespace: monitoring, labels: {app: filer}}", []),
        ("{namespace: monitoring, labels: {io.kubernetes.pod.namespace: monitoring}}", [LOKI, GRAFANA]),
        ("{namespace: monitoring, expressions: {key: app, operator: Exists}}", [LOKI, GRAFANA]),
        ("{namespace: monitoring, expressions: {key: tier, operator: DoesNotExist}}", [LOKI, GRAFANA]),
        ("{namespace: monitoring, expressions: {key: app, operator: In, values: [loki, x]}}", [LOKI]),
        ("{namespace: monitoring, expressions: {key: app, operator: NotIn, values: [loki, x]}}", [GRAFANA]),
        ("{namespace: monitoring, expressions: {key: tier, operator: NotIn, values: [x]}}", [LOKI, GRAFANA]),
    ],
)
def test_pods_are_selected_by_namespace_and_labels(selector: str, peers: list[Peer]) -> None:
    """Selectors of pods mean the pods they say, and never anything else."""
    every = [LOKI, GRAFANA, FILER, HOST, REMOTE_NODE, WORLD, entity(Kind.HEALTH)]

    assert [peer for peer in every if said(f"{selector} → pods:any", edge(peer, FILER)) is YES] == peers


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("github.com", ["github.com", "GitHub.com"]),
        ("*.github.com", ["api.github.com"]),
        ("*github.com", ["github.com", "GitHub.com", "my-github.com"]),
        ("**.github.com", ["api.github.com", "a.b.github.com"]),
        ("*.*.github.com", ["a.b.github.com"]),
        ("a*.github.com", ["api.github.com"]),
        ("*", ["github.com", "GitHub.com", "my-github.com", "api.github.com", "a.b.github.com", "github.com.evil"]),
    ],
)
def test_names_are_cilium_patterns(pattern: str, names: list[str]) -> None:
    """A star stays within one label, `**.` takes any number of labels, and nothing is left over at either end."""
    every = ["github.com", "GitHub.com", "my-github.com", "api.github.com", "a.b.github.com", "github.com.evil"]
    rule = f"{{from: loki, to: {{fqdn: '{pattern}'}}, ports: 443, reason: x}}"

    assert [name for name in every if said(rule, edge(LOKI, world("203.0.113.7", name), 443)) is YES] == names


def test_any_name_of_an_address_suffices() -> None:
    """An address looked up by several names is declared by a rule for one of them."""
    rule = "{from: loki, to: {fqdn: github.com}, ports: 443, reason: x}"

    assert said(rule, edge(LOKI, world("203.0.113.7", "evil.example", "github.com"), 443)) is YES
    assert said(rule, edge(LOKI, world("203.0.113.7", "evil.example"), 443)) is NO


def test_the_names_of_the_identity_stand_in_where_the_flow_carries_none() -> None:
    """Cilium's own `fqdn:` labels count when nothing better is known, and only then."""
    exact = "{from: loki, to: {fqdn: github.com}, ports: 443, reason: x}"
    pattern = "{from: loki, to: {fqdn: '*.github.com'}, ports: 443, reason: x}"
    by_name = ("fqdn:github.com", "reserved:world-ipv4")
    by_pattern = ("fqdn:*.github.com", "reserved:world-ipv4")

    assert said(exact, edge(LOKI, world("203.0.113.7", labels=by_name), 443)) is YES
    assert said(pattern, edge(LOKI, world("203.0.113.7", labels=by_pattern), 443)) is YES
    assert said(exact, edge(LOKI, world("203.0.113.7", labels=by_pattern), 443)) is NO
    assert said(exact, edge(LOKI, world("203.0.113.7", "evil.example", labels=by_name), 443)) is NO


def test_a_nameless_flow_says_so() -> None:
    """Where rules for the source go by name, the answer says why they could not be compared."""
    some = allowlist("{from: loki, to: {fqdn: github.com}, ports: 443, reason: x}")

    assert some.judge(edge(LOKI, WORLD, 443), NOW).reason == (
        "no rule from monitoring/loki to 203.0.113.7 on 443/TCP; "
        "the flow carried no DNS name, and rules for this source go by name"
    )
    assert "DNS name" not in some.judge(edge(LOKI, WORLD, 80), NOW).reason
    assert "DNS name" not in some.judge(edge(LOKI, world("203.0.113.7", "a.io"), 443), NOW).reason


@pytest.mark.parametrize(
    ("external", "addresses"),
    [
        ("{cidr: 10.0.0.0/8}", ["10.0.0.1", "10.1.2.3"]),
        ("{cidr: 10.9.9.9/8}", ["10.0.0.1", "10.1.2.3"]),
        ("{cidr: [10.1.2.3/32, '2001:db8::/32']}", ["10.1.2.3", "2001:db8::1"]),
        ("{cidr: 0.0.0.0/0}", ["10.0.0.1", "10.1.2.3", "192.0.2.1"]),
        ("{cidr: '::/0'}", ["2001:db8::1"]),
        ("{cidr: 0.0.0.0/0, except: [10.1.0.0/16, 192.0.2.0/24]}", ["10.0.0.1"]),
        ("{cidr: [10.0.0.0/8, 10.1.0.0/16], except: 10.1.0.0/16}", ["10.0.0.1"]),
    ],
)
def test_addresses_are_ranges_less_exceptions(external: str, addresses: list[str]) -> None:
    """IPv4 and IPv6 ranges are kept apart, and exceptions hold for the whole external."""
    every = ["10.0.0.1", "10.1.2.3", "192.0.2.1", "2001:db8::1", "", "not an address"]
    rule = f"{{from: loki, to: {external}, ports: 443, reason: x}}"

    assert [ip for ip in every if said(rule, edge(LOKI, world(ip), 443)) is YES] == addresses


def test_addresses_only_mean_the_world() -> None:
    """No pod and no node is meant by its address; an API server outside is."""
    rule = "{from: loki, to: {cidr: 0.0.0.0/0}, ports: 443, reason: x}"
    for peer in (FILER, HOST, REMOTE_NODE, API_ON_NODE):
        addressed = Peer(peer.identity, peer.workload, "10.0.0.1")
        assert said(rule, edge(LOKI, addressed, 443)) is NO
    assert said(rule, edge(LOKI, API_OUTSIDE, 443)) is YES


def test_externals_may_be_clients() -> None:
    """What is outside may be declared to come in."""
    assert said("{from: {cidr: 203.0.113.0/24}, to: loki, ports: 80, reason: x}", edge(WORLD, LOKI)) is YES


@pytest.mark.parametrize(
    ("ports", "declared"),
    [
        ("80", {"80/TCP"}),
        ("53/UDP", {"53/UDP"}),
        ("53/ANY", {"53/TCP", "53/UDP", "53/SCTP"}),
        ("50-90/TCP", {"53/TCP", "80/TCP"}),
        ("[80, icmp/8]", {"80/TCP", "ICMP/8"}),
        ("icmp", {"ICMP/0", "ICMP/8"}),
        ("icmpv6/echo-request", {"ICMPV6/128"}),
        ("1-65535/ANY", {"53/TCP", "53/UDP", "53/SCTP", "80/TCP"}),
    ],
)
def test_ports_are_of_one_protocol(ports: str, declared: set[str]) -> None:
    """ANY is every protocol with ports, never ICMP."""
    every = [
        edge(LOKI, FILER, port, protocol)
        for protocol, port in [
            (Protocol.TCP, 53), (Protocol.UDP, 53), (Protocol.SCTP, 53), (Protocol.TCP, 80),
            (Protocol.ICMP, 0), (Protocol.ICMP, 8), (Protocol.ICMPV6, 128), (Protocol.VRRP, 0),
        ]
    ]  # fmt: skip

    assert {one.service for one in every if said(f"loki → filer:{ports}", one) is YES} == declared
    assert all(said("loki → filer:any", one) is YES for one in every)


def test_self_is_the_same_workload() -> None:
    """A workload may talk to itself as it is defined, even where its pods differ in other labels."""
    some = allowlist("pg → [self, filer]:5432", "self → loki:7946", head=f"{HEAD}  database: {{pg: {{cluster: pg}}}}\n")
    primary = pod("database", "pg", {"cluster": "pg", "role": "primary"})
    replica = pod("database", "pg", {"cluster": "pg", "role": "replica"})

    assert some.judge(edge(primary, replica, 5432), NOW).rule_id == 0
    assert some.judge(edge(primary, FILER, 5432), NOW).rule_id == 0
    assert some.judge(edge(primary, LOKI, 5432), NOW).declared is NO
    assert some.judge(edge(FILER, FILER, 5432), NOW).declared is NO
    assert some.judge(edge(LOKI, LOKI, 7946), NOW).rule_id == 1
    assert some.judge(edge(GRAFANA, LOKI, 7946), NOW).declared is NO


@pytest.mark.parametrize("rule", ["pods → self:80", "self → pods:80", "monitoring/* → self:80"])
def test_self_of_any_pods_compares_both_ends(rule: str) -> None:
    """Where no workload is spelt out, both ends must have the same labels or the same controller."""
    other_revision = pod("monitoring", "loki", {"app": "loki", "revision": "2"})
    elsewhere = pod("seaweedfs", "loki", {"app": "loki"})

    assert said(rule, edge(LOKI, LOKI)) is YES
    assert said(rule, edge(LOKI, other_revision)) is YES
    assert said(rule, edge(LOKI, GRAFANA)) is NO
    assert said(rule, edge(LOKI, elsewhere)) is NO
    assert said(rule, edge(LOKI, Peer(other_revision.identity))) is NO


def test_an_end_without_identity_is_unknown() -> None:
    """Nobody can say whether an edge is declared while one end may be anything."""
    some = allowlist("pods → pods:any", "world → pods:any")

    assert some.judge(edge(nobody(), LOKI), NOW).declared is UNKNOWN
    assert some.judge(edge(nobody(), LOKI), NOW).reason == "the flow does not say what its source is"
    assert some.judge(edge(LOKI, nobody()), NOW).reason == "the flow does not say what its destination is"


def test_a_rule_for_all_declares_even_the_unknown() -> None:
    """Whatever the end is, `all` means it."""
    assert said("all → loki:80", edge(nobody(), LOKI)) is YES
    assert said("all → loki:80", edge(nobody(), GRAFANA)) is UNKNOWN


def test_a_pod_without_labels_is_known_by_its_namespace_alone() -> None:
    """Rules for labels, also for missing ones, say nothing about a pod whose labels are not known."""
    bare = Peer(Identity(Kind.POD, "default", "monitoring", ()))
    missing = "{namespace: monitoring, expressions: {key: tier, operator: DoesNotExist}}"

    assert said("monitoring/* → filer:80", edge(bare, FILER)) is YES
    assert said("pods → filer:80", edge(bare, FILER)) is YES
    assert said("seaweedfs/* → filer:80", edge(bare, FILER)) is UNKNOWN
    assert said("loki → filer:80", edge(bare, FILER)) is UNKNOWN
    assert said(f"{missing} → filer:80", edge(bare, FILER)) is UNKNOWN


def test_a_flow_without_ports_is_unknown_where_ports_matter() -> None:
    """A fragment may belong to a declared connection; it is undeclared only where no rule joins its ends."""
    fragment = edge(LOKI, FILER, 0, Protocol.NONE)

    assert said("loki → filer:any", fragment) is YES
    assert said("loki → filer:80", fragment) is UNKNOWN
    assert said("loki → world:80", fragment) is NO
    assert allowlist("loki → filer:80").judge(fragment, NOW).reason == (
        "the flow carries no port, and only rules for certain ports fit"
    )


def test_what_is_not_about_pods_is_ungoverned() -> None:
    """Traffic of nodes is not what an allowlist of pods speaks about, whatever its rules say."""
    some = allowlist("all → all:any")

    assert some.judge(edge(HOST, WORLD), NOW) == some.judge(edge(REMOTE_NODE, entity(Kind.HEALTH)), NOW)
    assert some.judge(edge(HOST, WORLD), NOW).declared is UNGOVERNED
    assert some.judge(edge(HOST, WORLD), NOW).reason == "neither end is a pod"
    assert some.judge(edge(HOST, LOKI), NOW).declared is YES


def test_only_the_governed_namespaces_are_spoken_about() -> None:
    """One governed end is enough; without one, not even an unlabelled pod is of interest."""
    some = allowlist("filer → loki:80", head=f"{HEAD}governs: monitoring\n")

    assert some.judge(edge(FILER, LOKI), NOW).declared is YES
    assert some.judge(edge(LOKI, FILER), NOW).declared is NO
    assert some.judge(edge(FILER, WORLD), NOW).declared is UNGOVERNED
    assert some.judge(edge(FILER, Peer(Identity(Kind.POD, "", "seaweedfs", ()))), NOW).declared is UNGOVERNED
    assert some.judge(edge(FILER, nobody()), NOW).declared is UNKNOWN
    assert some.judge(edge(FILER, WORLD), NOW).reason == ("neither end is a pod of a namespace this allowlist governs")


def test_a_rule_ends_with_its_last_day() -> None:
    """Until midnight UTC the rule declares; then it is listed as expired, and the answer says so."""
    some = allowlist("{from: loki, to: filer, ports: 80, reason: moving, expires: 2026-10-01}", "loki → filer:81")
    midnight = datetime(2026, 10, 2, tzinfo=UTC).timestamp()
    one = edge(LOKI, FILER)

    assert some.judge(one, midnight - 1).declared is YES
    assert some.expired(midnight - 1) == ()
    assert some.judge(one, midnight).declared is NO
    assert some.expired(midnight) == some.rules[:1]
    assert some.judge(one, midnight).reason == (
        "no rule from monitoring/loki to seaweedfs/filer on 80/TCP; "
        "monitoring/loki → seaweedfs/filer:80/TCP (allowlist.yaml:10) expired after 2026-10-01"
    )
    assert some.judge(one, midnight).nearest == "monitoring/loki → seaweedfs/filer:81/TCP"
    assert some.judge(one, NOW).declared is YES


def test_rules_may_never_end() -> None:
    """The last day there is, is not a day too late."""
    some = allowlist("{from: loki, to: filer, ports: 80, reason: x, expires: 9999-12-31}")

    assert some.judge(edge(LOKI, FILER), 1e12).declared is YES


def test_other_clusters_are_meant_where_they_are_named() -> None:
    """With the name of our cluster known, pods of another one need a rule that names a cluster."""
    there = pod("monitoring", "loki", cluster="there")
    named = "{namespace: monitoring, labels: {io.cilium.k8s.policy.cluster: there}}"

    for rule, here_only in [("loki → filer:80", True), ("pods → filer:80", True), ("cluster → filer:80", True)]:
        assert allowlist(rule, cluster="default").judge(edge(LOKI, FILER), NOW).declared is YES
        assert (allowlist(rule, cluster="default").judge(edge(there, FILER), NOW).declared is NO) is here_only
        assert allowlist(rule).judge(edge(there, FILER), NOW).declared is YES
    assert allowlist(f"{named} → filer:80", cluster="default").judge(edge(there, FILER), NOW).declared is YES


def test_addresses_that_no_rule_tells_apart_are_of_one_class() -> None:
    """Whoever keeps edges need not keep addresses that make no difference."""
    some = allowlist("loki → {cidr: 10.0.0.0/8, except: 10.1.0.0/16}:80", "{cidr: 10.0.0.0/8} → loki:80")

    assert some.address_class("10.0.0.1") == some.address_class("10.200.0.1")
    assert some.address_class("10.0.0.1")[0] == some.address_class("10.1.0.1")[0] != 0
    assert some.address_class("10.0.0.1")[1] != some.address_class("10.1.0.1")[1] == 0
    assert some.address_class("192.0.2.1") == some.address_class("") == (0, 0)


def test_memory_is_bounded() -> None:
    """Addresses without end do not pile up, and what is forgotten is found out again."""
    some = Allowlist(read_text(f"{HEAD}rules: []", "allowlist.yaml"), NOW, remembered=100)
    tracemalloc.start()
    try:
        for number in range(20_000):
            some.judge(edge(LOKI, world(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")), NOW)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 1_000_000


def test_what_is_in_use_is_remembered() -> None:
    """The memory forgets what was not asked for, in the order in which it came."""
    memo: Memo[int, str] = Memo(size=3)
    for number in range(20):
        memo.put(number, str(number))
        assert memo.get(0) == "0"

    assert memo.get(19) == "19"
    assert memo.get(5) is None
    assert len(memo) <= 6
