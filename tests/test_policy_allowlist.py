"""Native rules and network policies as one allowlist."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowwatch.allowlist import Allowlist, load, parse
from flowwatch.errors import AllowlistError
from flowwatch.model import Declared, Edge
from flowwatch.policy.options import Options
from tests.support.policies import UNKNOWN, edge, entity, pod, policy, world

A, B, C = pod("shop", app="a"), pod("shop", app="b"), pod("bank", app="c")
INTO_A = policy(
    "cnp",
    "{description: only b, endpointSelector: {matchLabels: {app: a}},"
    ' ingress: [{fromEndpoints: [{matchLabels: {app: b}}], toPorts: [{ports: [{port: "80"}]}]}]}',
    "into-a",
)
OUT_OF_B = policy(
    "cnp",
    "{endpointSelector: {matchLabels: {app: b}},"
    " egress: [{toEndpoints: [{matchLabels: {app: a}}]}, {toCIDR: [192.0.2.0/24]},"
    ' {toFQDNs: [{matchPattern: "*.x"}]}]}',
    "out-of-b",
)
NATIVE = """apiVersion: flowwatch/v1
kind: Allowlist
governs: [bank]
workloads: {shop: {a: {app: a}}, bank: {c: {app: c}}}
rules:
- {from: bank/c, to: shop/a, ports: 443, reason: pays}
"""


def allowlist(*documents: str) -> Allowlist:
    return parse("---\n".join(documents), "mixed.yaml", 0.0)


@pytest.mark.parametrize(
    ("documents", "asked", "declared"),
    [
        ([INTO_A], edge(B, A), Declared.YES),
        ([INTO_A], edge(B, A, 81), Declared.NO),
        ([INTO_A], edge(A, C), Declared.UNGOVERNED),
        ([INTO_A], edge(entity("host"), A), Declared.YES),
        ([INTO_A], edge(UNKNOWN, A), Declared.UNKNOWN),
        ([INTO_A, OUT_OF_B], edge(B, A), Declared.YES),
        ([INTO_A, OUT_OF_B], edge(B, A, 81), Declared.NO),
        ([OUT_OF_B], edge(B, world("192.0.2.9")), Declared.YES),
        ([OUT_OF_B], edge(B, world("198.51.100.9", "a.x")), Declared.YES),
        ([OUT_OF_B], edge(B, world("198.51.100.9")), Declared.NO),
        # Native rules beside policies.
        ([INTO_A, NATIVE], edge(C, A, 443), Declared.YES),
        ([INTO_A, NATIVE], edge(C, A, 444), Declared.NO),
        ([INTO_A, NATIVE], edge(B, A), Declared.YES),
        ([INTO_A, NATIVE], edge(C, B), Declared.NO),
        ([INTO_A, NATIVE], edge(B, pod("else", app="z")), Declared.UNGOVERNED),
        ([NATIVE], edge(C, A, 443), Declared.YES),
    ],
)
def test_what_is_declared(documents: list[str], asked: Edge, declared: Declared) -> None:
    """By a native rule, or by policies on every side that they govern."""
    assert allowlist(*documents).judge(asked, 0.0).declared is declared


def test_a_declared_edge_names_the_policies_of_both_sides() -> None:
    """With the places of the rules that allow it, and the first policy as its rule."""
    given = allowlist(INTO_A, OUT_OF_B)
    judged = given.judge(edge(B, A), 0.0)
    assert judged.rule == (
        "CiliumNetworkPolicy:shop/out-of-b (mixed.yaml:9), CiliumNetworkPolicy:shop/into-a (mixed.yaml:4)"
    )
    assert judged.reason == (
        "allowed at its source by CiliumNetworkPolicy:shop/out-of-b (mixed.yaml:9)"
        " and at its destination by CiliumNetworkPolicy:shop/into-a (mixed.yaml:4)"
    )
    assert given.rules[judged.rule_id].title == "CiliumNetworkPolicy:shop/out-of-b"
    assert [rule.title for rule in given.declaring(edge(B, A), 0.0)] == [
        "CiliumNetworkPolicy:shop/out-of-b",
        "CiliumNetworkPolicy:shop/into-a",
    ]
    assert given.declaring(edge(B, A, 81), 0.0) == ()


def test_an_undeclared_edge_names_who_isolates_and_what_is_near() -> None:
    """The side, the policies that together deny by default, and the closest rule with its difference."""
    judged = allowlist(INTO_A).judge(edge(B, A, 81), 0.0)
    assert judged.reason == (
        "no policy allows shop/b → shop/a:81/TCP (ingress of shop/a), which is denied by default because of"
        " CiliumNetworkPolicy:shop/into-a (mixed.yaml:1)"
    ).replace("shop/b", str(B)).replace("shop/a:", f"{A}:").replace("shop/a)", f"{A})")
    assert judged.nearest == "CiliumNetworkPolicy:shop/into-a (mixed.yaml:4)"
    assert judged.differs == ("port",)


@pytest.mark.parametrize(
    ("documents", "asked", "nearest", "differs"),
    [
        ([INTO_A], edge(C, A), "into-a", ("source",)),
        ([OUT_OF_B], edge(B, C), "out-of-b", ("destination",)),
        ([OUT_OF_B], edge(B, world("198.51.100.9", "a.y")), "out-of-b", ("destination",)),
        ([INTO_A, policy("cnp", "{endpointSelector: {}, ingress: [{}]}")], edge(B, C), "", ()),
    ],
)
def test_the_nearest_rule(documents: list[str], asked: Edge, nearest: str, differs: tuple[str, ...]) -> None:
    """It is one that allows something, for the side that denies."""
    judged = allowlist(*documents).judge(asked, 0.0)
    assert judged.differs == differs
    assert (f"CiliumNetworkPolicy:shop/{nearest} " in judged.nearest) is bool(nearest)


def test_a_deny_names_its_rule() -> None:
    """Then no rule is near: somebody said no."""
    shut = policy("ccnp", "{endpointSelector: {}, ingressDeny: [{fromEntities: [world]}]}", "shut")
    judged = allowlist(INTO_A, shut).judge(edge(world("192.0.2.1"), A), 0.0)
    assert judged.declared is Declared.NO
    assert judged.reason.startswith("CiliumClusterwideNetworkPolicy:shut (mixed.yaml:9) denies ")
    assert judged.nearest == ""


def test_policies_are_rules_too() -> None:
    """Each with a number of its own after the native ones, its reason and its place."""
    given = allowlist(INTO_A, NATIVE, OUT_OF_B)
    assert [(rule.id, rule.title, rule.reason, rule.place) for rule in given.rules] == [
        (0, "bank/c → shop/a:443/TCP", "pays", "mixed.yaml:11"),
        (1, "CiliumNetworkPolicy:shop/into-a", "only b", "mixed.yaml:1"),
        (2, "CiliumNetworkPolicy:shop/out-of-b", "a network policy", "mixed.yaml:13"),
    ]
    assert given.expired(0.0) == ()


def test_addresses_that_policies_tell_apart_are_told_apart() -> None:
    """So that the ledger of edges keeps them apart."""
    given = allowlist(OUT_OF_B, NATIVE)
    assert given.address_class("192.0.2.1") == given.address_class("192.0.2.2") != given.address_class("198.51.100.1")
    assert given.address_class("198.51.100.1") == (0, 0)


def test_the_digest_is_of_what_is_said() -> None:
    """It changes with the meaning, and not with names of files or places."""
    one = allowlist(INTO_A, OUT_OF_B).digest
    assert one == parse("---\n".join([OUT_OF_B, INTO_A]), "other.yaml", 0.0).digest
    assert one != allowlist(INTO_A).digest
    assert one != allowlist(INTO_A.replace('"80"', '"81"'), OUT_OF_B).digest


def test_a_directory_may_hold_anything(tmp_path: Path) -> None:
    """Native files, policies as YAML and JSON, lists, rendered charts with empty documents and other kinds."""
    (tmp_path / "a.yaml").write_text(f"# Source: chart/a.yaml\n---\n# nothing here\n---\n{INTO_A}---\nnull\n---\n")
    (tmp_path / "b.json").write_text(
        '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "networking.k8s.io/v1",'
        ' "kind": "NetworkPolicy", "metadata": {"name": "n", "namespace": "shop"}, "spec": {"podSelector": {}}},'
        ' {"apiVersion": "apps/v1", "kind": "Deployment"}]}'
    )
    (tmp_path / "c.yml").write_text(NATIVE)
    (tmp_path / "d.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    given = load([tmp_path], 0.0)
    assert [rule.title for rule in given.rules[1:]] == ["CiliumNetworkPolicy:shop/into-a", "NetworkPolicy:shop/n"]
    assert given.ignored == {"Deployment": 1, "ConfigMap": 1}


def test_problems_of_every_format_are_told_together() -> None:
    """In the order of the file."""
    with pytest.raises(AllowlistError) as raised:
        allowlist(NATIVE.replace("443", "0"), INTO_A.replace('"80"', "80"), "kind: Allowlist\nrules: 3\n")
    assert [(problem.line, problem.field) for problem in raised.value.problems] == [
        (6, "rules[0].ports"),
        (11, "spec.ingress[0].toPorts[0].ports[0].port"),
        (13, ""),
        (14, "rules"),
    ]


def test_files_without_a_declaration_are_an_error() -> None:
    """Manifests of other kinds alone declare nothing, which nobody can have meant."""
    with pytest.raises(AllowlistError, match="holds no allowlist") as raised:
        allowlist("apiVersion: apps/v1\nkind: Deployment\n")
    assert "Deployment" in str(raised.value)


def test_policies_mean_what_the_cluster_is_set_up_for() -> None:
    """The same text, read for two versions of Cilium."""
    text = policy(
        "knp", "{podSelector: {}, policyTypes: [Egress], egress: [{}], ingress: [{from: [{podSelector: {}}]}]}"
    )
    asked = edge(C, A)
    assert parse(text, "k.yaml", 0.0).judge(asked, 0.0).declared is Declared.NO
    strict = parse(text, "k.yaml", 0.0, options=Options(strict_policy_types=True))
    assert strict.judge(asked, 0.0).declared is Declared.UNGOVERNED
    assert strict.digest != parse(text, "k.yaml", 0.0).digest
