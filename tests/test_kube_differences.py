"""Declared against live: which differences there are, and which are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch import allowlist
from flowwatch.config import PolicySettings
from flowwatch.declared import options_of
from flowwatch.kube.comparing import fields, normal
from flowwatch.kube.differences import differences, enforced, grave
from flowwatch.kube.live import Live
from flowwatch.kube.resources import WATCHED, LivePolicy, Namespace, Pod
from flowwatch.model import Deviation, Difference, Edge, Identity, Kind, Peer, Protocol
from flowwatch.policy.judging import Verdict
from tests.support.apiserver import FakeCluster

OPTIONS = options_of(PolicySettings())
KNP = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db, tier: back}}
  ingress:
    - from: [{podSelector: {matchLabels: {app: api}}}, {podSelector: {matchLabels: {app: jobs}}}]
      ports: [{port: 5432}]
"""
CNP = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: api}}
  egress:
    - toFQDNs: [{matchName: example.com}]
      toPorts: [{ports: [{port: "443", protocol: TCP}], serverNames: [example.com]}]
    - toEndpoints: [{matchLabels: {app: db}}]
      toPorts: [{ports: [{port: "5432"}]}]
"""
DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
"""
BY_KIND = {one.kind: one for one in WATCHED}


def declared(*texts: str) -> Any:
    return allowlist.parse("\n---\n".join(texts), "shop.yaml", 0.0).objects


def live(*objects: dict[str, Any], pods: tuple[Pod, ...] = (), namespaces: tuple[Namespace, ...] = ()) -> Live:
    kept = [BY_KIND[one["kind"]].keep(one) for one in objects]
    return Live(tuple(one for one in kept if isinstance(one, LivePolicy)), (), namespaces, pods, 1.0)


def stored(text: str) -> dict[str, Any]:
    """As the API server gives it back: an item of a list, keys sorted, defaults filled in."""
    found = yaml.safe_load(text)
    spec = found["spec"]
    if found["kind"] == "NetworkPolicy":
        spec.setdefault("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])])
        for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
            for port in rule.get("ports", ()):
                port.setdefault("protocol", "TCP")
    found["metadata"] |= {"resourceVersion": "9", "uid": "u", "generation": 2, "annotations": {"a": "b"}}
    return dict(json.loads(json.dumps(found, sort_keys=True)))


def differ(wanted: Any, there: Live, **more: Any) -> tuple[Difference, ...]:
    return differences(wanted, there, enforced(there, OPTIONS), **more)


def told(*found: Any) -> list[tuple[str, str]]:
    return [(str(one.deviation), one.what) for one in found]


def test_what_the_api_server_makes_of_a_policy_is_the_same_policy() -> None:
    """Defaults, sorted keys and metadata are no difference."""
    there = live(*map(stored, (KNP, CNP, DENY)))
    assert grave(differ(declared(KNP, CNP, DENY), there)) == ()


def test_policies_that_are_missing_differ_or_are_declared_nowhere() -> None:
    """Each is told with where it is declared, and which fields differ."""
    other = stored(KNP)
    other["spec"]["ingress"][0]["ports"][0]["port"] = 5433
    other["spec"]["podSelector"]["matchLabels"]["app"] = "base"
    extra = stored(DENY.replace("nothing", "extra"))
    found = grave(differ(declared(KNP, CNP), live(other, extra)))
    assert told(*found) == [
        ("missing", "CiliumNetworkPolicy:shop/api"),
        ("differs", "NetworkPolicy:shop/db"),
        ("undeclared", "NetworkPolicy:shop/extra"),
    ]
    missing, differs, undeclared = found
    assert (missing.place, undeclared.place) == ("shop.yaml:13", "")
    assert differs.fields == (
        "spec.ingress[0].ports[0].port: declared 5432, in the cluster 5433",
        'spec.podSelector.matchLabels.app: declared "db", in the cluster "base"',
    )


def test_where_no_policy_is_declared_live_ones_are_compared_with_nothing() -> None:
    """Neither without an allowlist, nor with one of rules alone."""
    rules = "apiVersion: flowwatch/v1\nkind: Allowlist\nrules: []\n"
    assert grave(differ(None, live(stored(KNP)))) == ()
    assert grave(differ(declared(rules), live(stored(KNP)))) == ()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("knp", lambda spec: spec["ingress"][0]["from"].reverse()),
        ("knp", lambda spec: spec.__setitem__("policyTypes", ["Ingress"])),
        ("knp", lambda spec: spec.__setitem__("egress", None)),
        ("knp", lambda spec: spec["ingress"][0]["ports"].append({"port": 5432, "protocol": "TCP"}) or
            spec["ingress"][0]["ports"].pop(0)),
        ("cnp", lambda spec: spec["egress"].reverse()),
        ("cnp", lambda spec: spec.__setitem__("description", "other words")),
        ("cnp", lambda spec: spec["egress"][1]["toPorts"][0]["ports"][0].__setitem__("protocol", "ANY")),
        ("cnp", lambda spec: spec["endpointSelector"].__setitem__("matchExpressions", [])),
        ("cnp", lambda spec: spec["endpointSelector"].__setitem__("matchLabels", {"any:app": "api"})),
    ],
)  # fmt: skip
def test_texts_that_mean_the_same_are_the_same(kind: str, change: Any) -> None:
    """Order, defaults written out, empty selectors, descriptions."""
    text = KNP if kind == "knp" else CNP
    other = stored(text)
    change(other["spec"])
    assert grave(differ(declared(text), live(other))) == ()


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("knp", lambda spec: spec.__setitem__("policyTypes", ["Ingress", "Egress"]), "spec.policyTypes[1]: not "),
        ("knp", lambda spec: spec["ingress"][0].pop("from"), "spec.ingress[0].from: declared"),
        ("knp", lambda spec: spec["podSelector"].clear(), "spec.podSelector.matchLabels: declared"),
        ("cnp", lambda spec: spec["egress"][0]["toPorts"][0].pop("serverNames"), "spec.egress[0].toPorts[0].serv"),
        ("cnp", lambda spec: spec.__setitem__("enableDefaultDeny", {"egress": False}), "spec.enableDefaultDeny: not "),
        ("cnp", lambda spec: spec["egress"][1].__setitem__("toEndpoints", []), "spec.egress[1].toEndpoints[0]: "),
        ("cnp", lambda spec: spec["egress"].append({"toEntities": ["world"]}), "spec.egress[2]: not declared"),
    ],
)  # fmt: skip
def test_texts_that_mean_something_else_differ_in_a_field(kind: str, change: Any, field: str) -> None:
    """Also what only Cilium reads: the names a TLS connection may ask for."""
    text = KNP if kind == "knp" else CNP
    other = stored(text)
    change(other["spec"])
    (found,) = grave(differ(declared(text), live(other)))
    assert found.deviation is Deviation.DIFFERS
    assert found.fields[0].startswith(field), found.fields


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ingress", "from", "port", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(one=JSON, other=JSON, kind=st.sampled_from(["NetworkPolicy", "CiliumNetworkPolicy"]))
def test_fields_are_named_exactly_where_normal_texts_differ(one: Any, other: Any, kind: str) -> None:
    """Whatever the documents hold; lists are compared as sets that may hold an element more than once."""

    def unordered(value: Any) -> str:
        if isinstance(value, dict):
            return repr(sorted((key, unordered(each)) for key, each in value.items()))
        return repr(sorted(map(unordered, value))) if isinstance(value, list) else repr(value)

    left, right = {"specs": [{"x": one}]}, {"specs": [{"x": other}]}
    same = unordered(normal(kind, left)) == unordered(normal(kind, right))
    assert fields(kind, left, left) == ()
    if fields(kind, left, right) == ():
        assert same


def test_a_policy_that_cilium_rejects_enforces_nothing() -> None:
    """By its own word, and by ours where it has not spoken."""
    invalid = stored(CNP) | {"status": {"conditions": [{"type": "Valid", "status": "False", "message": "bad FQDN"}]}}
    found = differ(declared(CNP), live(invalid))
    assert told(*grave(found)) == [("rejected", "CiliumNetworkPolicy:shop/api")]
    assert "bad FQDN" in found[0].reason
    both = stored(CNP)
    both["spec"]["egress"][0]["toEntities"] = ["world"]
    (ours,) = grave(differ(declared(CNP), live(both)))
    assert ours.deviation is Deviation.REJECTED
    assert "cannot stand in one rule" in ours.reason


def test_kinds_that_are_not_read_are_not_said_to_be_missing() -> None:
    """An AdminNetworkPolicy that is declared is compared with nothing."""
    text = """
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: first}
spec: {priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}
"""
    assert grave(differ(declared(text, KNP), live(stored(KNP)))) == ()


def pod(name: str, namespace: str = "shop", **more: Any) -> Pod:
    labels = tuple(sorted({"app": name, **more.pop("labels", {})}.items()))
    return Pod(namespace, f"{name}-0", labels, "default", "n1", "10.0.0.1", 1.0, name, **more)


def test_what_is_left_open_is_told_of_namespaces_workloads_and_policies() -> None:
    """Default deny in each direction, pods that no policy selects, policies that select no pod."""
    there = live(
        stored(KNP),
        stored(CNP),
        stored(DENY.replace("shop", "safe")),
        pods=(
            pod("api"),
            pod("lonely"),
            pod("lonely", labels={"pod-template-hash": "x"}),
            pod("done", ended=True),
            pod("agent", host_network=True),
            pod("any", "safe"),
            pod("dns", "kube-system"),
        ),
        namespaces=(Namespace("shop"), Namespace("safe"), Namespace("kube-system"), Namespace("empty")),
    )
    found = differ(None, there, exempt=("kube-system",))
    assert told(*found) == [
        ("no-default-deny", "shop (egress)"),
        ("no-default-deny", "shop (ingress)"),
        ("unselected", "shop/lonely"),
        ("selects-nothing", "NetworkPolicy:shop/db"),
    ]
    assert found[2].reason == "no policy selects 2 pods of it"
    assert ("no-default-deny", "kube-system (egress)") in told(*differ(None, there))


@pytest.mark.parametrize(
    ("selector", "isolated"),
    [
        ("{}", True),
        (
            "{matchExpressions: [{key: 'k8s:io.kubernetes.pod.namespace', operator: NotIn, values: [kube-system]}]}",
            True,
        ),
        ("{matchExpressions: [{key: 'k8s:io.kubernetes.pod.namespace', operator: NotIn, values: [shop]}]}", False),
        ("{matchLabels: {'k8s:io.cilium.k8s.namespace.labels.team': a}}", True),
        ("{matchLabels: {'k8s:io.cilium.k8s.namespace.labels.team': b}}", False),
        ("{matchLabels: {app: api}}", False),
        ("{matchExpressions: [{key: app, operator: Exists}]}", False),
    ],
)
def test_default_deny_of_a_namespace_is_one_for_any_pod_there_may_be(selector: str, isolated: bool) -> None:
    """A policy of the whole cluster counts where it asks for the namespace alone."""
    text = f"""
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {{name: deny}}
spec: {{endpointSelector: {selector}, ingress: [{{}}], egress: [{{}}]}}
"""
    there = live(stored(text), pods=(pod("api"),), namespaces=(Namespace("shop", (("team", "a"),)),))
    missing = [one for one in differ(None, there) if one.deviation is Deviation.OPEN]
    assert (missing == []) is isolated


def test_the_live_policies_judge_with_the_groups_they_name() -> None:
    """A CiliumCIDRGroup that is live is known, a Service is not: there the answer is unknown."""
    text = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: out, namespace: shop}
spec: {endpointSelector: {}, egress: [{toCIDRSet: [{cidrGroupRef: office}]}]}
"""
    group = {"metadata": {"name": "office", "labels": {"a": "b"}}, "spec": {"externalCIDRs": ["192.0.2.0/24"]}}
    kept = BY_KIND["CiliumCIDRGroup"].keep(group)
    assert isinstance(kept, LivePolicy)
    there = live(stored(text))
    web = Peer(Identity(Kind.POD, "", "shop", ("k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop")), "web")

    def verdict(ip: str, state: Live) -> Verdict:
        outside = Peer(Identity(Kind.WORLD, "", "", ("reserved:world",)), ip=ip)
        return enforced(state, OPTIONS).judge(Edge(web, outside, Protocol.TCP, 443)).egress.verdict

    assert verdict("192.0.2.7", there) is Verdict.UNKNOWN
    full = Live(there.policies, (kept,))
    assert (verdict("192.0.2.7", full), verdict("198.51.100.7", full)) == (Verdict.ALLOW, Verdict.DENY)


def check(tmp_path: Path, cluster: FakeCluster, *options: str, policies: tuple[str, ...]) -> Any:
    (tmp_path / "policies.yaml").write_text("\n---\n".join(policies), encoding="utf-8")
    settings = {
        "FLOWWATCH_KUBERNETES_API": cluster.url,
        "FLOWWATCH_ALLOWLIST": str(tmp_path / "policies.yaml") if policies else "",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "COLUMNS": "160",
    }
    command = [sys.executable, "-m", "flowwatch", "cluster", "check", *options]
    return subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_says_what_differs_and_exits_by_it(tmp_path: Path) -> None:
    """0: as declared; 1: not, or with --strict something is left open; 2: the cluster cannot be asked."""
    with FakeCluster() as cluster:
        cluster.put(BY_KIND["NetworkPolicy"], stored(KNP))
        cluster.put(
            BY_KIND["Pod"], {"metadata": {"name": "db-0", "namespace": "shop", "labels": {"app": "db", "tier": "back"}}}
        )
        good = check(tmp_path, cluster, policies=(KNP,))
        assert (good.returncode, good.stderr) == (0, "")
        assert "1 live policy and 1 pod: every policy is as declared; 2 things left open" in good.stdout
        assert check(tmp_path, cluster, "--strict", policies=(KNP,)).returncode == 1
        bad = check(tmp_path, cluster, "--format", "json", policies=(KNP, CNP))
        assert bad.returncode == 1
        answer = json.loads(bad.stdout)
        assert (answer["declared"], answer["policies"], answer["pods"]) == (2, 1, 1)
        assert answer["differences"][0] == {
            "difference": "missing",
            "of": "CiliumNetworkPolicy:shop/api",
            "reason": "it is declared, and not in the cluster",
            "declared_at": f"{tmp_path}/policies.yaml:13",
            "fields": [],
        }
    with FakeCluster(token="secret") as closed:
        refused = check(tmp_path, closed, policies=(KNP,))
        assert refused.returncode == 2
        assert "/apis/networking.k8s.io/v1/networkpolicies: 401 Unauthorized" in refused.stderr
    gone = check(tmp_path, closed, policies=(KNP,))
    assert (gone.returncode, "Traceback" in gone.stderr) == (2, False)


def test_rights_are_printed_as_rules_of_a_role() -> None:
    """What a chart grants can be compared with it."""
    command = [sys.executable, "-m", "flowwatch", "cluster", "rights"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    env |= {"FLOWWATCH_KUBERNETES_LEASE": "flowwatch"}
    found = json.loads(subprocess.run(command, env=env, capture_output=True, check=True, timeout=120).stdout)
    rules = found["clusterRole"]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in found["role"]] == [
        (["create"], None),
        (["get", "update"], ["flowwatch"]),
    ]
    assert {(rule["apiGroups"][0], rule["resources"][0]) for rule in rules} == {
        (one.group, one.plural) for one in WATCHED
    }
