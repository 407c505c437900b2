"""The compiled judge agrees with a naive one about any rules and any edges."""

from __future__ import annotations

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.allowlist import Allowlist
from flowwatch.allowlist.rules import (
    ENTITIES,
    Declaration,
    Entity,
    External,
    Operator,
    Pods,
    PortRange,
    PortSet,
    Requirement,
    Rule,
    Same,
    Selector,
)
from flowwatch.model import Declared, Edge, Identity, Kind, Peer, Protocol
from tests.support import naive_allowlist as naive

NOW = 1_790_812_800.0
"""2026-10-01, a few hours into the day."""

NAMES = ["a.io", "b.a.io", "c.b.a.io", "xa.io", "b-1.a.io", "a.io.evil"]
PATTERNS = [*NAMES, "*", "**", "*.a.io", "**.a.io", "*a.io", "b*.a.io", "*.b.a.io", "**.b.*.io", "*.*.a.io", "a.**"]
ADDRESSES = ["", "10.0.0.1", "10.1.2.3", "192.168.0.1", "0.0.0.0", "255.255.255.255", "fd00::1", "2001:db8::7"]
NETWORKS = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3/32",
    "0.0.0.0/0",
    "192.168.0.0/31",
    "fd00::/8",
    "::/0",
    "fd00::1/128",
]
RESERVED = [
    (Kind.HOST, ["host"]),
    (Kind.HOST, ["host", "kube-apiserver"]),
    (Kind.REMOTE_NODE, ["remote-node"]),
    (Kind.KUBE_APISERVER, ["kube-apiserver", "remote-node"]),
    (Kind.REMOTE_NODE, ["kube-apiserver", "remote-node"]),
    (Kind.INGRESS, ["ingress"]),
    (Kind.HEALTH, ["health"]),
    (Kind.INIT, ["init"]),
    (Kind.UNMANAGED, ["unmanaged"]),
    (Kind.UNKNOWN, []),
]
OUTSIDE = [
    (Kind.WORLD, ["world"]),
    (Kind.WORLD, ["world-ipv4"]),
    (Kind.WORLD, ["world-ipv6"]),
    (Kind.KUBE_APISERVER, ["kube-apiserver", "world"]),
    (Kind.WORLD, ["kube-apiserver", "world"]),
]

KEYS = ["app", "tier", "io.kubernetes.pod.namespace", "io.cilium.k8s.policy.cluster"]
VALUES = ["x", "y", "a", "here"]

namespaces = st.sampled_from(["a", "b"])
keys = st.sampled_from(KEYS)
values = st.sampled_from(VALUES)


def requirement(operator: Operator, key: str, chosen: list[str], source: str) -> Requirement:
    """A requirement, with values where its operator compares."""
    compares = operator in (Operator.IN, Operator.NOT_IN)
    return Requirement(key, operator, tuple(sorted(set(chosen))) if compares else (), source)


requirements = st.builds(
    requirement,
    st.sampled_from(list(Operator)),
    keys,
    st.lists(values, min_size=1, max_size=2),
    st.sampled_from(["", "k8s", "other"]),
)
pods = st.builds(Pods, st.just("pods"), st.sampled_from(["", "a", "b"]), st.lists(requirements, max_size=2).map(tuple))
externals = st.builds(
    External,
    st.just("external"),
    st.lists(st.sampled_from(PATTERNS), max_size=2).map(tuple),
    st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple),
    st.lists(st.sampled_from(NETWORKS), max_size=1).map(tuple),
)
entities = st.builds(Entity, st.sampled_from(ENTITIES))
selectors: st.SearchStrategy[Selector] = st.one_of(pods, externals, entities)
spans = st.builds(
    lambda protocol, first, more: PortRange(protocol, first, first + more),
    st.sampled_from([Protocol.TCP, Protocol.UDP, Protocol.ICMP]),
    st.integers(0, 6),
    st.integers(0, 4),
)
ports = st.one_of(
    st.builds(PortSet, st.just(("some",)), st.lists(spans, min_size=1, max_size=3).map(tuple)),
    st.just(PortSet(("any",), (), everything=True)),
)
peers_of_rules = st.lists(selectors, min_size=1, max_size=3).map(tuple)
peers_with_self = st.lists(selectors, max_size=2).map(lambda some: (Same(), *some))
ends = st.one_of(
    st.tuples(peers_of_rules, peers_of_rules),
    st.tuples(peers_of_rules, peers_with_self),
    st.tuples(peers_with_self, peers_of_rules),
)
expiries = st.sampled_from([None, None, None, date(2026, 9, 30), date(2026, 10, 1), date(2026, 10, 2)])


def declaration(
    rules: list[tuple[tuple[tuple[Selector, ...], tuple[Selector, ...]], PortSet, date | None]],
    governs: frozenset[str] | None,
) -> Declaration:
    """A declaration of rules in order."""
    return Declaration(
        tuple(
            Rule(number, sources, destinations, ports, "a test", expires=expires)
            for number, ((sources, destinations), ports, expires) in enumerate(rules)
        ),
        governs,
    )


declarations = st.builds(
    declaration,
    st.lists(st.tuples(ends, ports, expiries), max_size=8),
    st.sampled_from([None, None, frozenset({"a"}), frozenset({"b", "c"})]),
)

labels = st.lists(
    st.sampled_from([f"{source}:{key}={value}" for source in ("k8s", "other") for key in KEYS for value in VALUES]),
    max_size=3,
)
workloads = st.sampled_from(["", "w", "v"])
pod_peers = st.builds(
    lambda cluster, namespace, some, workload: Peer(
        Identity(Kind.POD, cluster, namespace, tuple(sorted(set(some)))), workload
    ),
    st.sampled_from(["", "here", "there"]),
    namespaces,
    labels,
    workloads,
)
reserved_peers = st.builds(
    lambda known: Peer(Identity(known[0], "", "", tuple(f"reserved:{name}" for name in known[1]))),
    st.sampled_from(RESERVED),
)


def outside(known: tuple[Kind, list[str]], fqdns: set[str], ip: str, names: set[str]) -> Peer:
    """A peer outside the cluster."""
    labels = [f"reserved:{name}" for name in known[1]] + [f"fqdn:{pattern}" for pattern in fqdns]
    return Peer(Identity(known[0], "", "", tuple(sorted(labels))), "", ip, tuple(sorted(names)))


world_peers = st.builds(
    outside,
    st.sampled_from(OUTSIDE),
    st.sets(st.sampled_from(PATTERNS), max_size=1),
    st.sampled_from(ADDRESSES),
    st.sets(st.sampled_from([*NAMES, "B.A.io"]), max_size=2),
)
peers = st.one_of(pod_peers, pod_peers, pod_peers, reserved_peers, world_peers)
edges = st.builds(
    Edge,
    peers,
    peers,
    st.sampled_from([Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ICMPV6, Protocol.VRRP, Protocol.NONE]),
    st.integers(0, 12),
)


@settings(max_examples=150, deadline=None)
@given(declarations, st.lists(edges, min_size=1, max_size=8), st.sampled_from(["", "here"]))
def test_the_judge_agrees_with_a_naive_one(declared: Declaration, some: list[Edge], cluster: str) -> None:
    """Verdict and rule are those that looking at one rule after the other gives, also the second time."""
    allowlist = Allowlist(declared, NOW, cluster=cluster, remembered=3)
    for edge in [*some, *some]:
        judgement = allowlist.judge(edge, NOW)
        rules = allowlist.declaring(edge, NOW)

        assert (judgement.declared, judgement.rule_id) == naive.judged(declared, edge, NOW, cluster)
        assert rules == tuple(rule for rule in declared.rules if naive.declares(rule, edge, NOW, cluster))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.tuples(peers_of_rules, peers_of_rules), ports, expiries), max_size=6),
    edges,
)
def test_nothing_is_nearer_than_the_nearest(
    rules: list[tuple[tuple[tuple[Selector, ...], tuple[Selector, ...]], PortSet, date | None]], edge: Edge
) -> None:
    """The nearest rule agrees in all but what it is said to differ in, and no rule agrees in more that counts."""
    declared = declaration(rules, None)
    judgement = Allowlist(declared, NOW).judge(edge, NOW)
    order = [("port",), ("destination",), ("source",), ("destination", "port"), ("source", "port")]

    found = set()
    for rule in declared.rules:
        agrees = {
            "source": any(naive.means(selector, edge.source) for selector in rule.sources),
            "destination": any(naive.means(selector, edge.destination) for selector in rule.destinations),
            "port": naive.covers(rule.ports, edge.protocol, edge.port),
        }
        differs = tuple(part for part, same in agrees.items() if not same)
        if naive.is_alive(rule, NOW) and differs in order and naive.is_hint(rule, differs):
            found.add(differs)

    if judgement.declared is Declared.NO:
        assert judgement.differs == next((differs for differs in order if differs in found), ())
        assert bool(judgement.nearest) == bool(judgement.differs)
    else:
        assert (judgement.nearest, judgement.differs) == ("", ())
