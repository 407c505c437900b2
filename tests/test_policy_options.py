"""What depends on the version or on how Cilium is set up, one switch at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flowwatch.config import PolicySettings
from flowwatch.declared import options_of, read
from flowwatch.errors import AllowlistError
from flowwatch.model import Edge, Protocol
from flowwatch.policy.compiled import PolicySet
from flowwatch.policy.judging import Verdict
from flowwatch.policy.l7 import Request
from flowwatch.policy.options import DECLARED, Enforcement, Options, for_cilium
from tests.support.policies import edge, entity, pod, policies, policy, problems, world

A, B = pod("shop", app="a"), pod("shop", app="b")
SELECT = "endpointSelector: {matchLabels: {app: a}}"
ALLOW, DENY, UNKNOWN = Verdict.ALLOW, Verdict.DENY, Verdict.UNKNOWN


def sides(given: PolicySet, asked: Edge) -> tuple[Verdict, Verdict]:
    judged = given.judge(asked)
    return judged.egress.verdict, judged.ingress.verdict


def both(document: str, asked: Edge, **switches: object) -> tuple[tuple[Verdict, Verdict], tuple[Verdict, Verdict]]:
    """The answers without and with some switches thrown."""
    options = replace(DECLARED, **switches)  # type: ignore[arg-type]  # names and types as the tests give them
    return sides(policies(document, cluster="here"), asked), sides(
        policies(document, options=options, cluster="here"), asked
    )


ISOLATED = policy("cnp", f"{{{SELECT}, ingress: [{{}}], egress: [{{}}]}}")


@pytest.mark.parametrize(
    ("document", "asked", "switches", "without", "thrown"),
    [
        (ISOLATED, edge(B, A), {"enforcement": Enforcement.NEVER}, (ALLOW, DENY), (ALLOW, ALLOW)),
        (ISOLATED, edge(A, B), {"enforcement": Enforcement.ALWAYS}, (DENY, ALLOW), (DENY, DENY)),
        (ISOLATED, edge(entity("host"), A), {"allow_localhost": False}, (ALLOW, ALLOW), (ALLOW, DENY)),
        (
            ISOLATED,
            edge(entity("host"), B),
            {"enforcement": Enforcement.ALWAYS, "always_drops_localhost": True, "host_firewall": False},
            (ALLOW, ALLOW),
            (ALLOW, DENY),
        ),
        (
            policy("ccnp", "{nodeSelector: {}, ingress: [{}]}"),
            edge(world("192.0.2.1"), entity("host")),
            {"host_firewall": False},
            (ALLOW, DENY),
            (ALLOW, ALLOW),
        ),
        (
            policy("cnp", f"{{{SELECT}, ingress: [{{}}], enableDefaultDeny: {{ingress: false}}}}"),
            edge(B, A),
            {"non_default_deny": False},
            (ALLOW, ALLOW),
            (ALLOW, DENY),
        ),
        (
            policy("cnp", f"{{{SELECT}, egress: [{{toCIDR: [10.0.0.0/8]}}]}}"),
            edge(A, replace(entity("remote-node"), ip="10.0.0.1")),
            {"cidr_nodes": True},
            (DENY, ALLOW),
            (ALLOW, ALLOW),
        ),
        (
            policy("cnp", f"{{{SELECT}, egress: [{{toCIDR: [0.0.0.0/0]}}]}}"),
            edge(A, replace(entity("remote-node"), ip="10.0.0.1")),
            {"cidr_nodes": True, "cidr_zero_selects_nodes": True},
            (DENY, ALLOW),
            (ALLOW, ALLOW),
        ),
        (
            policy("cnp", f"{{{SELECT}, egress: [{{toCIDR: [10.0.0.0/8]}}]}}"),
            edge(A, replace(B, ip="10.0.0.1")),
            {"cidr_pods": True},
            (DENY, ALLOW),
            (ALLOW, ALLOW),
        ),
        (
            policy("cnp", f"{{{SELECT}, ingress: [{{fromEndpoints: [{{}}]}}]}}"),
            edge(pod("shop", "there", app="b"), A),
            {"default_local_cluster": False},
            (ALLOW, DENY),
            (ALLOW, ALLOW),
        ),
        (
            policy("cnp", f'{{{SELECT}, egress: [{{toFQDNs: [{{matchPattern: "**.x.io"}}]}}]}}'),
            edge(A, world("192.0.2.1", "a.b.x.io")),
            {"deep_wildcard": False},
            (ALLOW, ALLOW),
            (DENY, ALLOW),
        ),
        (
            policy("knp", "{podSelector: {}, policyTypes: [Egress], ingress: [{from: [{podSelector: {}}]}]}"),
            edge(entity("remote-node"), A),
            {"strict_policy_types": True},
            (ALLOW, DENY),
            (ALLOW, ALLOW),
        ),
        (
            policy("cnp", f"{{{SELECT}, ingress: [{{fromEndpoints: [{{}}], authentication: {{mode: required}}}}]}}"),
            edge(B, A),
            {"mesh_auth": True},
            (ALLOW, ALLOW),
            (ALLOW, UNKNOWN),
        ),
        (
            policy(
                "cnp", f"{{{SELECT}, ingress: [{{fromEndpoints: [{{}}], authentication: {{mode: test-always-fail}}}}]}}"
            ),
            edge(B, A),
            {"mesh_auth": True},
            (ALLOW, ALLOW),
            (ALLOW, DENY),
        ),
        (
            policy("cnp", f"{{{SELECT}, egress: [{{toEntities: [all]}}]}}")
            + "---\n"
            + policy(
                "kcnp",
                "{tier: Baseline, priority: 1, subject: {namespaces: {}},"
                " ingress: [{action: Accept, from: [{namespaces: {}}]}]}",
                "base",
            )
            + "---\n"
            + policy("cnp", "{endpointSelector: {matchLabels: {app: b}}, ingress: [{}]}", "shut"),
            edge(A, B),
            {"baseline_overrides_isolation": False},
            (ALLOW, ALLOW),
            (ALLOW, DENY),
        ),
    ],
)
def test_a_switch_changes_one_thing(
    document: str,
    asked: Edge,
    switches: dict[str, object],
    without: tuple[Verdict, Verdict],
    thrown: tuple[Verdict, Verdict],
) -> None:
    """The same edge, judged without the switch and with it."""
    assert both(document, asked, **switches) == (without, thrown)


def test_families_of_the_world_need_both_families() -> None:
    """In a cluster with one IP family `world-ipv6` selects nothing."""
    spec = f"{{{SELECT}, egress: [{{toEntities: [world]}}]}}"
    objects = policies(policy("cnp", spec)).objects
    assert sides(PolicySet(objects), edge(A, world("2001:db8::1"))) == (ALLOW, ALLOW)


@pytest.mark.parametrize(
    ("spec", "switches"),
    [
        (f"{{{SELECT}, ingress: [{{fromNodes: [{{}}]}}]}}", {"node_selector_labels": True}),
        (f"{{{SELECT}, ingress: [{{fromCIDR: [10.0.0.1]}}]}}", {"bare_addresses": True}),
        (f"{{{SELECT}, ingress: []}}", {"empty_rules": True}),
        (f"{{{SELECT}, ingress: [{{fromRequires: [{{}}]}}]}}", {"requires": True}),
    ],
)
def test_a_switch_lets_in_what_is_rejected_otherwise(spec: str, switches: dict[str, bool]) -> None:
    """What older versions accepted, or what must be switched on first."""
    assert problems("cnp", spec, Options())
    assert problems("cnp", spec, Options(**switches)) == []


def test_services_with_ports_came_with_1_18() -> None:
    """Until then the two could not stand in one rule."""
    spec = (
        f"{{{SELECT}, egress: [{{toServices: [{{k8sService: {{serviceName: s}}}}],"
        ' toPorts: [{ports: [{port: "80"}]}]}]}'
    )
    assert problems("cnp", spec) == []
    assert "before Cilium 1.18" in problems("cnp", spec, replace(DECLARED, services_with_ports=False))[0].message


def test_kafka_rules_were_enforced_once() -> None:
    """Until 1.19 their requests were checked, which cannot be repeated here; since then they are not read."""
    spec = (
        f"{{{SELECT}, ingress: [{{fromEndpoints: [{{}}],"
        ' toPorts: [{ports: [{port: "9092", protocol: TCP}], rules: {kafka: [{topic: t}]}}]}]}'
    )
    request = Request(method="GET")
    for options, expected in ((DECLARED, ALLOW), (replace(DECLARED, legacy_l7=True), UNKNOWN)):
        given = policies(policy("cnp", spec), options=options)
        _, ingress = given.answer(given.of_peer(B), given.of_peer(A), Protocol.TCP, 9092, request)
        assert ingress.verdict is expected


def test_requests_of_soft_policies_were_checked_once() -> None:
    """Until 1.17 the proxy held back requests of a policy without default deny."""
    spec = (
        f"{{{SELECT}, enableDefaultDeny: {{ingress: false}}, ingress: [{{fromEndpoints: [{{}}],"
        ' toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: GET}]}}]}]}'
    )
    for options, expected in ((DECLARED, ALLOW), (replace(DECLARED, l7_default_deny_only=False), Verdict.DENY_L7)):
        given = policies(policy("cnp", spec), options=options)
        _, ingress = given.answer(given.of_peer(B), given.of_peer(A), Protocol.TCP, 80, Request(method="PUT"))
        assert ingress.verdict is expected


def test_versions_change_what_policies_mean() -> None:
    """The newest known version is as the defaults are; each older one has what was changed after it."""
    assert for_cilium("1.20", Options()) == for_cilium("1.21", Options()) == Options()
    assert for_cilium("1.19", Options()) == replace(Options(), bare_addresses=True, legacy_l7=True)
    assert not for_cilium("1.18").default_local_cluster
    assert for_cilium("1.18").services_with_ports
    assert not for_cilium("1.17").services_with_ports
    assert for_cilium("1.17").empty_rules


def test_the_configuration_decides_how_policies_are_meant(tmp_path: Path) -> None:
    """The version and the switches of `policy:` reach the judge."""
    file = tmp_path / "policies.yaml"
    file.write_text(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: web, namespace: shop}\n"
        "spec: {endpointSelector: {}, egress: [{toCIDR: [203.0.113.7]}]}\n"
    )
    with pytest.raises(AllowlistError, match=r"203\.0\.113\.7"):
        read([file], 0.0, PolicySettings())
    assert read([file], 0.0, PolicySettings(cilium="1.19"))
    assert options_of(PolicySettings(enforcement="always")).enforcement is Enforcement.ALWAYS
    assert options_of(PolicySettings()) == DECLARED
