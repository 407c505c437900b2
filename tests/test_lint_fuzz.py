"""Whatever a file holds, the checks end, and say something or nothing; never a traceback."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.lint import Options, Sources, lint, observe, parse
from flowwatch.model import Edge, Identity, Kind, Peer, Protocol
from tests.support.lintfixtures import FOLDER

NOW = 1_790_812_800.0

WORDS = (
    *("apiVersion", "kind", "metadata", "name", "namespace", "spec", "specs", "status", "conditions", "items"),
    *("endpointSelector", "nodeSelector", "podSelector", "namespaceSelector", "matchLabels", "matchExpressions"),
    *("key", "operator", "values", "ingress", "ingressDeny", "egress", "egressDeny", "enableDefaultDeny"),
    *("fromEndpoints", "toEndpoints", "fromEntities", "toEntities", "fromCIDR", "toCIDR", "toCIDRSet", "fromCIDRSet"),
    *("cidr", "except", "cidrGroupRef", "toFQDNs", "matchName", "matchPattern", "toServices", "k8sService"),
    *("serviceName", "toGroups", "fromNodes", "fromRequires", "toPorts", "ports", "port", "endPort", "protocol"),
    *("rules", "http", "dns", "path", "method", "host", "kafka", "serverNames", "terminatingTLS", "icmps", "fields"),
    *("type", "family", "authentication", "mode", "policyTypes", "from", "to", "ipBlock", "tier", "priority"),
    *("subject", "namespaces", "pods", "networks", "domainNames", "action", "protocols", "tcp", "destinationPort"),
    *("number", "range", "start", "end", "portNumber", "workloads", "externals", "governs", "reason", "owner"),
    *("expires", "fqdn", "labels", "template", "containers", "hostNetwork", "selector", "targetPort", "backendRefs"),
    *("parentRefs", "listeners", "tls", "gatewayClassName", "data", "enable-policy", "annotations", "description"),
)
TEXTS = (
    *("", "*", "**.", "web", "true", "0", "80", "65536", "-1", "99999999999999999999", "In", "NotIn", "Exists"),
    *("10.0.0.0/8", "10.0.0.1", "::/0", "0.0.0.0/0", "300.1.1.1/8", "cluster", "host", "world", "kube-apiserver"),
    *("example.com", "*.example.com", "http://x/", "k8s:io.kubernetes.pod.namespace", "reserved:health", "TCP", "ANY"),
    *("Ingress", "Egress", "Deny", "Accept", "(((", "[", "a{9999}", "required", "2026-02-30", "\x85", "é\u202e"),
)
KINDS = (
    ("cilium.io/v2", "CiliumNetworkPolicy"),
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
    ("flowwatch/v1", "Allowlist"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("gateway.networking.k8s.io/v1", "TLSRoute"),
    ("networking.k8s.io/v1", "Ingress"),
    ("v1", "List"),
)

_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(TEXTS), st.text(max_size=8)
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from((*WORDS, *TEXTS)), inner, max_size=4)
    ),
    max_leaves=40,
)
_documents = st.builds(
    lambda kind, body, extra: {
        "apiVersion": kind[0],
        "kind": kind[1],
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": body,
        **extra,
    },
    st.sampled_from(KINDS),
    _values,
    st.dictionaries(st.sampled_from(WORDS), _values, max_size=3),
)

POD = Identity(Kind.POD, "default", "shop", ("k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop"))
WORLD = Identity(Kind.WORLD, "", "", ("reserved:world",))
SEEN = observe(
    [POD, WORLD],
    [Edge(Peer(POD, "web"), Peer(WORLD, "", "203.0.113.7", ("a.example.com",)), Protocol.TCP, 443)],
    dropped=[Edge(Peer(POD, "web"), Peer(POD, "web"), Protocol.ICMP, 8)],
    policies=[("CiliumNetworkPolicy:shop/x", True), ("", False), ("x:/", True)],
)
FILES = sorted(FOLDER.rglob("*.yaml"))

relaxed = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(text: str) -> None:
    """Run every check over a text; every finding has a sentence and a line of the text, or none."""
    source = parse(text, "fuzz.yaml")
    result = lint(Sources((source,)), Options(NOW, version=(1, 16)), SEEN)
    result = lint(Sources((source,)), Options(NOW), SEEN)
    for each in result.findings:
        assert each.problem.message
        assert 0 <= each.problem.line <= len(source.lines) + 1
        json.dumps(each.json())


@relaxed
@given(st.lists(_documents, max_size=4))
def test_anything_in_the_shape_of_objects(documents: list[Any]) -> None:
    """Known names in any place, values of any type."""
    check("\n---\n".join(json.dumps(document) for document in documents))


@relaxed
@given(_values)
def test_anything_at_all(value: Any) -> None:
    """Documents that are no objects."""
    check(json.dumps(value))


@relaxed
@given(st.sampled_from(FILES), st.data())
def test_files_with_lines_that_changed(path: Any, data: st.DataObject) -> None:
    """Policies in earnest, with lines lost, doubled, moved or overwritten."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1)) if lines else 0
        change = data.draw(st.sampled_from(["drop", "double", "swap", "indent", "replace"]))
        match change:
            case "drop":
                del lines[at : at + 1]
            case "double":
                lines[at:at] = lines[at : at + 1]
            case "swap" if at + 1 < len(lines):
                lines[at], lines[at + 1] = lines[at + 1], lines[at]
            case "indent" if lines:
                lines[at] = "  " + lines[at]
            case _ if lines:
                word = data.draw(st.sampled_from((*WORDS, *TEXTS)))
                key, colon, _ = lines[at].partition(":")
                lines[at] = f"{key}{colon} {word}"
    check("\n".join(lines))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a document, as what holds it and the key or number it is held by."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        found += [(value, key) for key in keys]
        for key in keys:
            found += places(value[key])
    return found


@relaxed
@given(st.sampled_from(FILES), st.data())
def test_files_with_values_that_changed(path: Any, data: st.DataObject) -> None:
    """Policies in earnest, with anything at all in the place of something."""
    documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(documents)))
        holder[key] = data.draw(_values)
    check("\n---\n".join(json.dumps(document) for document in documents))


@relaxed
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """What is no YAML is said to be none."""
    check(text)
