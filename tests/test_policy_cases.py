"""The generated policy scenarios contain every construct, are reproducible, and would catch a wrong implementation."""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support import (
    policy_oracle,
    policy_oracle_labels,
    policy_oracle_peers,
    policy_oracle_ports,
    policy_oracle_rules,
)
from tests.support.effort import TWICE, effort
from tests.support.policy_cases import random_scenarios, scenarios
from tests.support.policy_constructs import CONSTRUCTS
from tests.support.policy_oracle import answer
from tests.support.policy_oracle_labels import Need
from tests.support.policy_oracle_rejects import rejected

SEED = 20
Patch = tuple[Any, str, Callable[..., Any]]


def test_every_construct_occurs() -> None:
    """Four thousand scenarios contain every construct at least twenty times."""
    seen: Counter[str] = Counter()
    for scenario in random_scenarios(SEED, 4000, probes=8):
        seen.update(scenario["tags"])
    assert {name: seen[name] for name in CONSTRUCTS if seen[name] < 20} == {}


def test_verdicts_are_mixed() -> None:
    """A fair share of the probes is allowed, denied, denied by L7, unknown, and decided by a policy."""
    verdicts: Counter[str] = Counter()
    for scenario in random_scenarios(SEED, 1000):
        for its in answer(scenario):
            verdicts.update([its["verdict"], *({its["egress"], its["ingress"]} & {"deny-l7"})])
            verdicts["decided by a policy"] += bool(its["by"])
    total = 25_000
    assert verdicts["allow"] > total * 0.4
    assert verdicts["deny"] > total * 0.25
    assert verdicts["decided by a policy"] > total * 0.15
    assert verdicts["deny-l7"] > 40
    assert verdicts["unknown"] > 20


def test_same_seed_same_scenarios() -> None:
    """A seed names its scenarios for good, and they survive JSON."""
    first = list(random_scenarios(SEED, 20))
    assert first == list(random_scenarios(SEED, 20))
    assert json.loads(json.dumps(first)) == first
    assert first != list(random_scenarios(SEED + 1, 20))


def test_policies_are_valid() -> None:
    """Nothing generated would be refused by the cluster, so that every rule counts."""
    for scenario in random_scenarios(SEED, 500, probes=1):
        for policy in scenario["policies"]:
            assert rejected(policy, scenario.get("config") or {}) == "", policy


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_hypothesis_makes_the_same_shapes(scenario: dict[str, Any]) -> None:
    """The shrinkable scenarios are of the same format, and the oracle answers each of their probes."""
    assert [its["id"] for its in answer(scenario)] == [probe["id"] for probe in scenario["probes"]]
    assert set(scenario["tags"]) <= CONSTRUCTS


def test_a_probe_is_little_work_for_the_oracle() -> None:
    """Six hundred lines or so, of which a core does thousands of probes a second; three times that is too much, and
    twice as many probes or policies cost twice as much."""
    prepared = list(random_scenarios(SEED, 100))

    def asked(**times: int) -> int:
        """What all scenarios cost, with some of their lists repeated."""
        grown = [{**each, **{key: each[key] * count for key, count in times.items()}} for each in prepared]
        return effort(lambda: [answer(each) for each in grown])

    once = asked()
    assert once < 2000 * sum(len(scenario["probes"]) for scenario in prepared)
    assert asked(probes=2) < TWICE * once
    assert asked(policies=2) < TWICE * once


def notin_needs_key(need: Need, labels: list[policy_oracle_labels.Label]) -> bool:
    """The mistake: NotIn only matches where the key is there."""
    keys = {key for _, key, _ in labels}
    return NEED_HOLDS(need, labels) and (need.operator != "NotIn" or need.key in keys)


def no_namespace(selector: Any, _namespace: Any, _init: Any) -> list[Need]:
    """The mistake: fromEndpoints reaches every namespace."""
    return policy_oracle_labels.needs(selector, cilium=True)


def empty_is_wildcard(rule: dict[str, Any], *rest: Any) -> Any:
    """The mistake: an empty list of peers is as good as none, and none is everybody."""
    kept = {key: value for key, value in rule.items() if value != []}
    return CILIUM_PEERS(kept, *rest) or [policy_oracle_peers.EVERYTHING]


def or_instead_of_and(peers: Any, namespace: str) -> Any:
    """The mistake: namespaceSelector OR podSelector."""
    split: list[dict[str, Any]] = []
    for peer in peers or []:
        split += [{key: value} for key, value in peer.items()] or [peer]
    return NETWORK_PEERS(split, namespace)


def any_with_icmp(port: dict[str, Any], l7: Any) -> Any:
    """The mistake: ANY is really any protocol."""
    made = CILIUM_PORT(port, l7)
    wide = (*made.protocols, "icmp") if len(made.protocols) > 1 else made.protocols
    return policy_oracle_ports.Port(wide, made.low, made.high, made.name, made.l7)


def omitted_is_tcp(port: dict[str, Any], l7: Any) -> Any:
    """The mistake: a port without protocol is TCP in a CNP too."""
    return CILIUM_PORT({**port, "protocol": port.get("protocol") or "TCP"}, l7)


def zero_is_literal(protocols: Any, port: int, end: int, l7: Any = None) -> Any:
    """The mistake: port 0 is port 0."""
    return policy_oracle_ports.Port(protocols, port, max(port, end), "", l7)


def no_end_port(protocols: Any, port: int, _end: int, l7: Any = None) -> Any:
    """The mistake: endPort is not read."""
    return NUMBERED(protocols, port, 0, l7)


def http_prefix(rule: dict[str, Any], request: dict[str, Any]) -> bool:
    """The mistake: a path is a prefix."""
    path = rule.get("path")
    if path and re.match(path, request["path"]):
        return HTTP_ALLOWS({key: value for key, value in rule.items() if key != "path"}, request)
    return HTTP_ALLOWS(rule, request)


def deny_only_is_open(spec: dict[str, Any], direction: str, config: dict[str, Any]) -> bool:
    """The mistake: a policy of denials alone does not isolate."""
    return bool(ASKS(spec, direction, config) and spec.get(direction))


def allow_beats_deny(*args: Any) -> Any:
    """The mistake: a matching allow wins over a denial."""
    *start, matching, config = args
    allows = [entry for entry in matching if entry.action == "allow"]
    return DECIDE(*start, allows or matching, config)


def no_localhost(*args: Any) -> Any:
    """The mistake: kubelet is denied like everyone else."""
    return WITHOUT_MATCH(*args[:-1], {"no_localhost": True, **args[-1]})


def pass_is_allow(*args: Any) -> Any:
    """The mistake: Pass accepts."""
    *start, matching, config = args
    made = [replace(entry, action=entry.action.replace("pass", "allow")) for entry in matching]
    return DECIDE(*start, made, config)


def one_tier(*args: Any) -> Any:
    """The mistake: tiers and priorities do not order anything."""
    *start, matching, config = args
    made = [replace(entry, tier=0, priority=(0, 0)) for entry in matching]
    return DECIDE(*start, made, config)


def cluster_is_pods(entity: str, endpoint: dict[str, Any]) -> bool:
    """The mistake: the entity cluster is the pods."""
    return policy_oracle_peers.is_local_pod(endpoint) if entity == "cluster" else ENTITY(entity, endpoint)


def host_is_every_node(entity: str, endpoint: dict[str, Any]) -> bool:
    """The mistake: the entity host is every node."""
    return ENTITY(entity, endpoint) or (entity == "host" and ENTITY("remote-node", endpoint))


def groups_match_nothing(*args: Any) -> Any:
    """The mistake: a cloud group is nobody."""
    return [peer for peer in CILIUM_PEERS(*args) if peer[0] != "group"]


def named_port_of_source(entry: Any, peer: Any, destination: Any, *rest: Any) -> Any:
    """The mistake: a named port is looked up in the other pod on egress."""
    return MATCHES(entry, peer, destination if entry.direction == "ingress" else {}, *rest)


def network_without_host_bits(text: str) -> Any:
    """The mistake: a prefix with host bits is that one address."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return ipaddress.ip_network(text.split("/", maxsplit=1)[0])


NEED_HOLDS = policy_oracle_labels.need_holds
CILIUM_PEERS = policy_oracle_peers.cilium_peers
NETWORK_PEERS = policy_oracle_rules.network_policy_peers
CILIUM_PORT = policy_oracle_ports.cilium_port
NUMBERED = policy_oracle_ports.numbered
HTTP_ALLOWS = policy_oracle_ports.http_allows
ASKS: Callable[..., Any] = policy_oracle_rules.asks_default_deny
DECIDE: Callable[..., Any] = policy_oracle.decide
WITHOUT_MATCH: Callable[..., Any] = policy_oracle.without_match
ENTITY = policy_oracle_peers.entity_matches
PATTERN = policy_oracle_peers.pattern_regex
MATCHES = policy_oracle.matches_probe
CIDR = policy_oracle_peers.cidr_matches

MISTAKES: dict[str, Patch] = {
    "NotIn needs key": (policy_oracle_labels, "need_holds", notin_needs_key),
    "CIDR matches pods": (policy_oracle_peers, "cidr_can_select", lambda *_: True),
    "except ignored": (policy_oracle_peers, "cidr_matches", lambda prefix, _, *rest: CIDR(prefix, [], *rest)),
    "* crosses dots": (policy_oracle_peers, "pattern_regex", lambda text: PATTERN(text).replace("[-a-z", "[-.a-z")),
    "cluster = pods only": (policy_oracle_peers, "entity_matches", cluster_is_pods),
    "host = all nodes": (policy_oracle_peers, "entity_matches", host_is_every_node),
    "no implicit namespace": (policy_oracle_peers, "cilium_peer", no_namespace),
    "enableDefaultDeny ignored": (policy_oracle_rules, "asks_default_deny", lambda *_: True),
    "[] = wildcard": (policy_oracle_rules, "cilium_peers", empty_is_wildcard),
    "policyTypes ignored": (policy_oracle_rules, "directions_of", lambda _: ["ingress", "egress"]),
    "ns+pod OR instead of AND": (policy_oracle_rules, "network_policy_peers", or_instead_of_and),
    "ANY includes ICMP": (policy_oracle_ports, "cilium_port", any_with_icmp),
    "omitted protocol = TCP": (policy_oracle_ports, "cilium_port", omitted_is_tcp),
    "port 0 literal": (policy_oracle_ports, "numbered", zero_is_literal),
    "endPort ignored": (policy_oracle_ports, "numbered", no_end_port),
    "HTTP prefix match": (policy_oracle_ports, "http_allows", http_prefix),
    "every policy default-denies": (policy_oracle, "is_default_deny", lambda _, mine, __: bool(mine)),
    "deny-only does not default-deny": (policy_oracle_rules, "asks_default_deny", deny_only_is_open),
    "allow beats deny": (policy_oracle, "decide", allow_beats_deny),
    "no localhost allow": (policy_oracle, "without_match", no_localhost),
    "Pass accepts": (policy_oracle, "decide", pass_is_allow),
    "no tiers": (policy_oracle, "decide", one_tier),
    "no local cluster": (policy_oracle_labels, "with_local_cluster", lambda selector: selector),
    "names never match": (policy_oracle_peers, "fqdn_matches", lambda *_: False),
    "** is *": (policy_oracle_peers, "pattern_regex", lambda text: PATTERN(re.sub(r"\*+", "*", text))),
    "cloud groups match nothing": (policy_oracle_rules, "cilium_peers", groups_match_nothing),
    "named port of the subject": (policy_oracle, "matches_probe", named_port_of_source),
    "host bits kept apart": (policy_oracle_peers, "network", network_without_host_bits),
    "L7 ignored": (policy_oracle, "l7_passes", lambda *_: True),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the common mistakes of §12, and some more, changes an answer within a few thousand scenarios."""
    module, name, wrong = MISTAKES[mistake]
    for scenario in random_scenarios(SEED, 4000, probes=8):
        right = answer(scenario)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, wrong)
            made = answer(scenario)
        if right != made:
            return
    pytest.fail("no generated scenario notices this")
