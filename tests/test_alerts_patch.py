"""The patches in an alert do what they say: pasted, they make the edge declared, and they isolate nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch import allowlist
from flowwatch.alerts_patch import allowlist_line, policy
from flowwatch.model import Declared, Edge, Finding, Identity, Judgement, Kind, Peer, Protocol, Side, Square
from tests.support.drift import NOON, finding, peer

ISOLATED = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: isolated, namespace: NAMESPACE}
spec:
  endpointSelector: {}
  ingress: [{fromEndpoints: [{matchLabels: {nobody: has-this}}]}]
  egress: [{toEndpoints: [{matchLabels: {nobody: has-this}}]}]
---
"""
"""Default deny for a namespace: rules that isolate and allow next to nothing."""
EMPTY_NATIVE = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {other: {thing: {app: thing}}}
rules:
- {from: other/thing, to: other/thing, ports: 1/TCP, reason: nothing to do with it}
"""

names = st.from_regex(r"[a-z]([-a-z0-9]{0,12}[a-z0-9])?", fullmatch=True)
values = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True)
keys = st.sampled_from(
    ["app", "k8s-app", "name", "run", "app.kubernetes.io/name", "app.kubernetes.io/component", "version", "tier"]
)


@st.composite
def pods(draw: st.DrawFn) -> Peer:
    """A pod with one label at least that people select pods by."""
    namespace, workload = draw(names), draw(names)
    labels = {
        **draw(st.dictionaries(keys, values, max_size=3)),
        draw(st.sampled_from(["app", "k8s-app"])): draw(values),
    }
    written = [f"k8s:{key}={value}" for key, value in labels.items()]
    written.append(f"k8s:io.kubernetes.pod.namespace={namespace}")
    return Peer(Identity(Kind.POD, "homelab", namespace, tuple(sorted(written))), workload)


servers = st.one_of(
    pods(),
    names.map(lambda name: peer(f"{name}.example.com=203.0.113.7")),
    st.ip_addresses().filter(lambda ip: not ip.is_loopback and not ip.is_unspecified).map(lambda ip: peer(str(ip))),
    st.sampled_from(["host", "remote-node", "kube-apiserver"]).map(peer),
)
clients = st.one_of(pods(), st.ip_addresses(v=4).map(lambda ip: peer(str(ip))), st.just(peer("remote-node")))
services = st.one_of(
    st.tuples(st.sampled_from([Protocol.TCP, Protocol.UDP, Protocol.SCTP]), st.integers(1, 65535)),
    st.tuples(st.just(Protocol.ICMP), st.sampled_from([0, 8])),
    st.tuples(st.just(Protocol.ICMPV6), st.sampled_from([128, 129])),
)


@st.composite
def edges(draw: st.DrawFn) -> Edge:
    """An edge of which one end at least is a pod."""
    source, destination = draw(clients), draw(servers)
    if Kind.POD not in (source.identity.kind, destination.identity.kind):
        source = draw(pods())
    protocol, port = draw(services)
    return Edge(source, destination, protocol, port)


def found(edge: Edge, judgement: Judgement, square: Square = Square.UNEXPECTED) -> Finding:
    return replace(finding(), edge=edge, judgement=judgement, square=square, side=Side.EGRESS)


@given(edge=edges())
@settings(max_examples=300, deadline=None)
def test_the_policy_makes_the_finding_expected(edge: Edge) -> None:
    """Read by flowwatch's own reader and judged by its own engine: under default deny the edge is denied; with the
    policy of the annotation beside it, it is declared."""
    namespaces = {end.identity.namespace for end in (edge.source, edge.destination)} - {""}
    base = "".join(ISOLATED.replace("NAMESPACE", f'"{namespace}"') for namespace in sorted(namespaces))
    before = allowlist.parse(base, "base.yaml", NOON).judge(edge, NOON)
    assert before.declared is Declared.NO
    assert before.isolated_by
    written = policy(found(edge, before))
    assert written
    after = allowlist.parse(base + written, "patched.yaml", NOON).judge(edge, NOON)
    assert after.declared is Declared.YES, f"{after.reason}\n{written}"


@given(edge=edges())
@settings(max_examples=300, deadline=None)
def test_the_line_makes_the_finding_expected(edge: Edge) -> None:
    """Pasted under the rules of an allowlist that does not know the edge, the line declares it."""
    before = allowlist.parse(EMPTY_NATIVE, "base.yaml", NOON).judge(edge, NOON)
    assert before.declared is Declared.NO
    line = allowlist_line(found(edge, before))
    assert line
    after = allowlist.parse(EMPTY_NATIVE + line, "patched.yaml", NOON).judge(edge, NOON)
    assert after.declared is Declared.YES, f"{after.reason}\n{line}"


@given(edge=edges(), other=pods())
@settings(max_examples=100, deadline=None)
def test_the_policy_isolates_nothing(edge: Edge, other: Peer) -> None:
    """Applied where no policy is, it leaves every pod as open as it was."""
    written = policy(found(edge, Judgement(Declared.NO)))
    declared = allowlist.parse(written, "patched.yaml", NOON)
    for pod in (end for end in (edge.source, edge.destination) if end.identity.kind is Kind.POD):
        for asked in (Edge(pod, other, Protocol.TCP, 4711), Edge(other, pod, Protocol.TCP, 4711)):
            assert declared.judge(asked, NOON).declared is not Declared.NO


def test_no_policy_is_offered_against_a_rule_that_denies() -> None:
    """Neither where a declared policy denies the edge nor where the datapath named such a rule: it would not help."""
    denied = finding(square=Square.DENIED)
    assert policy(denied)
    assert policy(replace(denied, drop_reasons=("POLICY_DENY",))) == ""
    assert policy(replace(denied, judgement=replace(denied.judgement, denied_by=("CiliumNetworkPolicy:a/b",)))) == ""


@pytest.mark.parametrize("destination", ["unknown", "203.0.113.7"])
def test_what_cannot_be_selected_is_not_guessed(destination: str) -> None:
    """A pod without a label to select it by, or an end that is unknown: no policy."""
    plain = finding(destination=destination)
    source = replace(plain.edge.source, identity=replace(plain.edge.source.identity, labels=("k8s:x=y",)))
    assert policy(replace(plain, edge=replace(plain.edge, source=source))) == ""


def test_one_policy_for_each_end() -> None:
    """Between namespaces both ends need one: egress for the client's owner, ingress for the server's."""
    documents = list(yaml.safe_load_all(policy(finding("shop/web", "payments/api", port=8443))))
    assert [(one["metadata"]["namespace"], *(set(one["spec"]) & {"egress", "ingress"})) for one in documents] == [
        ("shop", "egress"),
        ("payments", "ingress"),
    ]
