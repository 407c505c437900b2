"""Edges of flows, judged by policies: both sides, who decides, and what flows do not tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowwatch.model import Edge, Identity, Kind, Peer, Protocol
from flowwatch.policy.judging import Implicit, Verdict
from flowwatch.policy.options import DECLARED
from tests.support.policies import UNKNOWN, edge, entity, pod, policies, policy, world

A, B, C = pod("shop", app="a"), pod("shop", app="b"), pod("bank", app="c")
INTO_A = policy(
    "cnp",
    "{endpointSelector: {matchLabels: {app: a}}, ingress: [{fromEndpoints: [{matchLabels: {app: b}}],"
    ' toPorts: [{ports: [{port: "80"}]}]}]}',
    "into-a",
)
OUT_OF_SHOP = policy("knp", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}", "out")
MASKED = Peer(Identity(Kind.POD, "here", "shop", ()), "masked")


def test_both_sides_are_judged_by_their_own_policies() -> None:
    """The source by its egress, the destination by its ingress, each with the entry that decides."""
    judged = policies(INTO_A, OUT_OF_SHOP).judge(edge(B, A))
    assert (judged.egress.verdict, judged.ingress.verdict) == (Verdict.ALLOW, Verdict.ALLOW)
    assert judged.egress.governed
    assert judged.ingress.governed
    assert [str(entry.policy) for entry in judged.egress.entries] == ["NetworkPolicy:shop/out"]
    assert [str(entry.policy) for entry in judged.ingress.entries] == ["CiliumNetworkPolicy:shop/into-a"]
    assert judged.ingress.entries[0].place == "policies.yaml:4"


def test_a_side_without_policy_is_not_governed() -> None:
    """It allows, for no policy asks for anything."""
    judged = policies(INTO_A).judge(edge(B, A))
    assert (judged.egress.verdict, judged.egress.governed) == (Verdict.ALLOW, False)
    assert judged.egress.implicit is Implicit.UNISOLATED


def test_default_deny_names_every_policy_that_isolates() -> None:
    """Together they do what none of them says."""
    other = policy("cnp", "{endpointSelector: {}, ingress: [{fromEntities: [health]}]}", "all")
    judged = policies(INTO_A, other).judge(edge(C, A))
    assert judged.ingress.verdict is Verdict.DENY
    assert judged.ingress.implicit is Implicit.ISOLATED
    assert [str(one) for one in judged.ingress.isolating] == [
        "CiliumNetworkPolicy:shop/into-a",
        "CiliumNetworkPolicy:shop/all",
    ]


def test_ends_without_policies_of_this_cluster_are_not_judged() -> None:
    """The world, other nodes, and pods of other clusters."""
    given = policies(policy("ccnp", "{endpointSelector: {}, ingress: [{}], egress: [{}]}"), cluster="here")
    for peer in (world("192.0.2.1"), entity("remote-node"), pod("shop", "there", app="a")):
        judged = given.judge(edge(peer, peer))
        assert judged.egress.implicit is Implicit.UNPOLICED
        assert judged.ingress.implicit is Implicit.UNPOLICED
        assert not judged.egress.governed


@pytest.mark.parametrize(
    ("document", "asked", "reason"),
    [
        (INTO_A, edge(B, MASKED), "the flow does not carry the labels of its destination"),
        (INTO_A, edge(MASKED, A), "the flow does not carry the labels of its source"),
        (INTO_A, edge(UNKNOWN, A), "the flow does not carry what its source is"),
        (INTO_A, edge(B, UNKNOWN), "the flow does not say what its destination is"),
        (INTO_A, edge(B, A, 0, Protocol.NONE), "the flow carries no port"),
        (
            policy(
                "cnp",
                "{endpointSelector: {}, ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: web}]}]}]}",
            ),
            edge(B, A),
            "which port `web` is, only the pods tell (CiliumNetworkPolicy:shop/p, policies.yaml:4)",
        ),
        (
            policy("cnp", "{endpointSelector: {}, egress: [{toGroups: [{aws: {region: x}}]}]}"),
            edge(A, world("192.0.2.1")),
            "`toGroups` is resolved by the cloud provider (CiliumNetworkPolicy:shop/p, policies.yaml:4)",
        ),
        (
            policy("cnp", "{endpointSelector: {}, egress: [{toServices: [{k8sService: {serviceName: s}}]}]}"),
            edge(A, world("192.0.2.1")),
            "there is no Service `/s` among the files",
        ),
        (
            policy("cnp", "{endpointSelector: {}, egress: [{toCIDRSet: [{cidrGroupRef: g}]}]}"),
            edge(A, world("192.0.2.1")),
            "there is no CiliumCIDRGroup `g` among the files",
        ),
        (
            policy("cnp", "{endpointSelector: {}, egress: [{toNodes: [{matchLabels: {pool: x}}]}]}"),
            edge(A, entity("remote-node")),
            "the flow does not carry the node labels of its destination",
        ),
        (
            policy("ccnp", "{nodeSelector: {matchLabels: {pool: x}}, ingress: [{}]}"),
            edge(A, entity("host")),
            "the flow does not carry the node labels of its destination",
        ),
    ],
)
def test_what_a_flow_does_not_tell_is_unknown_with_a_reason(document: str, asked: Edge, reason: str) -> None:
    """Never a guess."""
    judged = policies(document).judge(asked)
    found = [side for side in (judged.egress, judged.ingress) if side.verdict is Verdict.UNKNOWN]
    assert len(found) == 1, judged
    assert found[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("document", "asked", "verdict"),
    [
        # Whatever the labels are, nothing is allowed from outside the namespace.
        (INTO_A, edge(Peer(Identity(Kind.POD, "here", "bank", ()), "x"), A), Verdict.DENY),
        (INTO_A, edge(B, A, 80, Protocol.ICMP), Verdict.DENY),
        (policy("knp", "{podSelector: {}, ingress: [{}]}"), edge(UNKNOWN, A), Verdict.ALLOW),
        (policy("knp", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"), edge(MASKED, A), Verdict.ALLOW),
        (
            policy("knp", "{podSelector: {}, ingress: [{ports: [{port: web}]}]}"),
            edge(B, A, 8, Protocol.UDP),
            Verdict.DENY,
        ),
        (
            policy("cnp", "{endpointSelector: {}, ingress: [{fromEntities: [all]}], ingressDeny: [{}]}"),
            edge(UNKNOWN, A, 0, Protocol.NONE),
            Verdict.ALLOW,
        ),
    ],
)
def test_what_is_not_known_may_not_matter(document: str, asked: Edge, verdict: Verdict) -> None:
    """Where every possibility leads to the same verdict, it is that."""
    assert policies(document).judge(asked).ingress.verdict is verdict


def test_names_of_ports_mean_nothing_outside_the_cluster() -> None:
    """The world has no containers: a rule with a named port never matches it."""
    spec = "{endpointSelector: {}, egress: [{toEntities: [world], toPorts: [{ports: [{port: web}]}]}]}"
    assert policies(policy("cnp", spec)).judge(edge(A, world("192.0.2.1"))).egress.verdict is Verdict.DENY


def test_addresses_are_told_apart_where_a_policy_does() -> None:
    """As a client by ingress rules, as a server by egress rules, and not at all elsewhere."""
    given = policies(
        policy(
            "cnp",
            "{endpointSelector: {}, ingress: [{fromCIDR: [192.0.2.0/24]}],"
            " egress: [{toCIDRSet: [{cidr: 198.51.100.0/24, except: [198.51.100.8/32]}]}]}",
        )
    )
    classes = {
        text: given.address_class((4, int.from_bytes(map(int, text.split(".")))))
        for text in ("192.0.2.1", "192.0.2.2", "198.51.100.7", "198.51.100.8", "203.0.113.1")
    }
    assert classes["192.0.2.1"] == classes["192.0.2.2"] != classes["203.0.113.1"] == (0, 0)
    assert classes["192.0.2.1"][1] == 0
    assert classes["198.51.100.7"][0] == 0
    assert classes["198.51.100.7"][1] != 0
    assert classes["198.51.100.8"] == (0, 0)


def test_an_end_is_looked_at_once() -> None:
    """The same peer is remembered between edges."""
    given = policies(INTO_A)
    assert given.of_peer(A) is given.of_peer(replace(A))
    assert given.options is DECLARED


def test_a_thousand_policies_are_judged_by_few_look_ups() -> None:
    """Every edge is decided by the policies about its ends, however many others there are."""
    documents = [
        policy(
            "cnp",
            f"{{endpointSelector: {{matchLabels: {{app: a{number}}}}}, ingress: [{{fromEndpoints:"
            f' [{{matchLabels: {{app: b{number}}}}}], toPorts: [{{ports: [{{port: "{8000 + number}"}}]}}]}}]}}',
            f"p{number}",
        )
        for number in range(200)
    ]
    given = policies(*documents)
    for number in (0, 57, 199):
        source, destination = pod("shop", app=f"b{number}"), pod("shop", app=f"a{number}")
        judged = given.judge(edge(source, destination, 8000 + number)).ingress
        assert [str(entry.policy) for entry in judged.entries] == [f"CiliumNetworkPolicy:shop/p{number}"]
        assert given.judge(edge(source, destination, 7999)).ingress.verdict is Verdict.DENY
