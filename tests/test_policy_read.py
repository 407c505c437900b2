"""Policies as they are written: what is understood, and what each mistake is told as."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.policy.entries import Addresses, Entity, Labels
from flowwatch.policy.l7 import LONGEST_EXPRESSION, full_match
from flowwatch.policy.options import DECLARED, Options
from flowwatch.selectors import NameTable
from tests.support.patience import hang_guard
from tests.support.policies import HEADERS, policy, problems, read_text

SELECTOR = "endpointSelector: {matchLabels: {app: a}}"


def cnp(rules: str) -> str:
    return f"{{{SELECTOR}, {rules}}}"


# (kind, spec, the field that is named, a part of the message)
WRONG = [
    # Cilium: the object.
    ("cnp", "{ingress: [{}]}", "spec", "expected either `endpointSelector` or `nodeSelector`, not neither"),
    ("cnp", "{nodeSelector: {}, ingress: [{}]}", "spec.nodeSelector", "cannot select nodes"),
    ("ccnp", "{endpointSelector: {}, nodeSelector: {}, ingress: [{}]}", "spec", "not both"),
    ("cnp", cnp("ingress: []"), "spec", "expected at least one rule"),
    ("cnp", "[]", "spec", "expected a mapping"),
    ("cnp", cnp("ingres: [{}]"), "spec.ingres", "there is no field `ingres` here"),
    ("cnp", cnp("ingress: {}"), "spec.ingress", "expected a list, not a mapping"),
    ("cnp", cnp("ingress: [{}], enableDefaultDeny: {ingress: 1}"), "spec.enableDefaultDeny.ingress", "`true` or"),
    # Cilium: peers.
    ("cnp", cnp("ingress: [{fromEndpoints: [{}], fromEntities: [world]}]"), "spec.ingress[0]", "cannot stand in one"),
    ("cnp", cnp("ingress: [{fromEntities: [wrold]}]"), "spec.ingress[0].fromEntities[0]", "expected one of `all`"),
    ("cnp", cnp("ingress: [{fromEntities: [world-ipv4]}]"), "spec.ingress[0].fromEntities[0]", "does not accept"),
    ("cnp", cnp("ingress: [{fromCIDR: [10.0.0.1]}]"), "spec.ingress[0].fromCIDR[0]", "has no prefix length"),
    ("cnp", cnp("ingress: [{fromCIDR: [10.0.0.0/33]}]"), "spec.ingress[0].fromCIDR[0]", "a range of addresses"),
    ("cnp", cnp("ingress: [{fromCIDR: [7]}]"), "spec.ingress[0].fromCIDR[0]", "expected text, not a number (`7`)"),
    ("cnp", cnp("egress: [{toCIDRSet: [{}]}]"), "spec.egress[0].toCIDRSet[0]", "not none"),
    (
        "cnp",
        cnp("egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, cidrGroupRef: g}]}]"),
        "spec.egress[0].toCIDRSet[0]",
        "not `cidr` and `cidrGroupRef`",
    ),
    (
        "cnp",
        cnp("egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/9]}]}]"),
        "spec.egress[0].toCIDRSet[0].except[0]",
        "does not lie in `10.0.0.0/8`",
    ),
    ("cnp", cnp("ingress: [{fromFQDNs: [{matchName: a}]}]"), "spec.ingress[0].fromFQDNs", "there is no field"),
    ("cnp", cnp("egress: [{toFQDNs: [{matchName: a, matchPattern: b}]}]"), "spec.egress[0].toFQDNs[0]", "one of"),
    ("cnp", cnp('egress: [{toFQDNs: [{matchName: "*.a"}]}]'), "spec.egress[0].toFQDNs[0].matchName", "a DNS name"),
    (
        "cnp",
        cnp('egress: [{toFQDNs: [{matchPattern: "https://a"}]}]'),
        "spec.egress[0].toFQDNs[0].matchPattern",
        "a pattern of DNS names",
    ),
    ("cnp", cnp(f"egress: [{{toFQDNs: [{{matchName: {'a' * 256}}}]}}]"), "spec.egress[0].toFQDNs[0].matchName", "DNS"),
    ("cnp", cnp("egressDeny: [{toFQDNs: [{matchName: a}]}]"), "spec.egressDeny[0].toFQDNs", "there is no field"),
    ("cnp", cnp("egress: [{toServices: [{}]}]"), "spec.egress[0].toServices[0]", "expected one of `k8sService`"),
    ("cnp", cnp("ingress: [{fromRequires: [{}]}]"), "spec.ingress[0].fromRequires", "must be empty"),
    ("cnp", cnp("ingress: [{authentication: {}}]"), "spec.ingress[0].authentication", "`mode` is missing"),
    # Selectors.
    (
        "cnp",
        cnp("ingress: [{fromEndpoints: [{matchLabels: {app: true}}]}]"),
        "spec.ingress[0].fromEndpoints[0].matchLabels.app",
        "expected text, not true or false (`true`)",
    ),
    (
        "cnp",
        cnp("ingress: [{fromEndpoints: [{matchLabels: [app]}]}]"),
        "spec.ingress[0].fromEndpoints[0].matchLabels",
        "expected labels, not a list",
    ),
    (
        "cnp",
        cnp("ingress: [{fromEndpoints: [{matchExpressions: [{key: app, operator: in, values: [a]}]}]}]"),
        "spec.ingress[0].fromEndpoints[0].matchExpressions[0].operator",
        "expected one of `In`",
    ),
    (
        "cnp",
        cnp("ingress: [{fromEndpoints: [{matchExpressions: [{key: app, operator: Exists, values: [a]}]}]}]"),
        "spec.ingress[0].fromEndpoints[0].matchExpressions[0].values",
        "`Exists` takes no `values`",
    ),
    (
        "cnp",
        cnp('ingress: [{fromEndpoints: [{matchLabels: {"a b": c}}]}]'),
        'spec.ingress[0].fromEndpoints[0].matchLabels["a b"]',
        "cannot be the key of a label",
    ),
    (
        "cnp",
        cnp(f"ingress: [{{fromEndpoints: [{{matchLabels: {{a: {'b' * 64}}}}}]}}]"),
        "spec.ingress[0].fromEndpoints[0].matchLabels.a",
        "cannot be the value of a label",
    ),
    # Ports.
    (
        "cnp",
        cnp("ingress: [{toPorts: [{ports: [{port: 80}]}]}]"),
        "spec.ingress[0].toPorts[0].ports[0].port",
        "expected text, not a number (`80`)",
    ),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "70000"}]}]}]'),
        "spec.ingress[0].toPorts[0].ports[0].port",
        "expected a port from 0 to 65535",
    ),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "80-90"}]}]}]'),
        "spec.ingress[0].toPorts[0].ports[0].port",
        "or the name of one",
    ),
    ("cnp", cnp("ingress: [{toPorts: [{ports: [{}]}]}]"), "spec.ingress[0].toPorts[0].ports[0]", "`port` is missing"),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "1", protocol: tcp}]}]}]'),
        "spec.ingress[0].toPorts[0].ports[0].protocol",
        "expected one of TCP",
    ),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "1", protocol: ICMP}]}]}]'),
        "spec.ingress[0].toPorts[0].ports[0].protocol",
        "expected one of TCP",
    ),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "1", protocol: ESP}]}]}]'),
        "spec.ingress[0].toPorts[0].ports[0].port",
        "has no ports",
    ),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "1", endPort: 99999999999999999999}]}]}]'),
        "spec.ingress[0].toPorts[0].ports[0].endPort",
        "expected a number from 0 to 65535",
    ),
    (
        "cnp",
        cnp("ingress: [{icmps: [{fields: [{type: 256}]}]}]"),
        "spec.ingress[0].icmps[0].fields[0].type",
        "from 0 to 255",
    ),
    (
        "cnp",
        cnp("ingress: [{icmps: [{fields: [{type: Ping}]}]}]"),
        "spec.ingress[0].icmps[0].fields[0].type",
        "or the name of one",
    ),
    ("cnp", cnp("ingress: [{icmps: [{}], toPorts: [{}]}]"), "spec.ingress[0].icmps", "cannot stand in one rule"),
    # L7.
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "80"}], rules: {http: [{}]}}]}]'),
        "spec.ingress[0].toPorts[0].rules",
        "need `protocol: TCP`",
    ),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: "/("}]}}]}]'),
        "spec.ingress[0].toPorts[0].rules.http[0].path",
        "is no regular expression",
    ),
    (
        "cnp",
        cnp('ingress: [{toPorts: [{ports: [{port: "53"}], rules: {dns: [{matchName: a}]}}]}]'),
        "spec.ingress[0].toPorts[0].rules",
        "for egress only",
    ),
    (
        "cnp",
        cnp('egress: [{toPorts: [{ports: [{port: "53", endPort: 54}], rules: {dns: [{matchName: a}]}}]}]'),
        "spec.egress[0].toPorts[0].rules",
        "no range of ports",
    ),
    (
        "cnp",
        cnp('ingressDeny: [{toPorts: [{ports: [{port: "80"}], rules: {http: [{}]}}]}]'),
        "spec.ingressDeny[0].toPorts[0].rules",
        "there is no field",
    ),
    (
        "ccnp",
        '{nodeSelector: {}, ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}]}',
        "spec.ingress[0].toPorts[0].rules",
        "a policy for hosts",
    ),
    # Kubernetes.
    ("knp", "{podSelector: {}, policyTypes: [ingress]}", "spec.policyTypes[0]", "expected one of `Ingress`"),
    ("knp", "{podSelector: {}, ingress: [{from: [{}]}]}", "spec.ingress[0].from[0]", "`podSelector`, `namespace"),
    (
        "knp",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
        "spec.ingress[0].from[0]",
        "stands alone",
    ),
    ("knp", "{podSelector: {}, ingress: [{from: [{ipBlock: {}}]}]}", "spec.ingress[0].from[0].ipBlock", "missing"),
    ("knp", "{podSelector: {}, ingress: [{ports: [{port: 0}]}]}", "spec.ingress[0].ports[0].port", "from 1 to 65535"),
    ("knp", '{podSelector: {}, ingress: [{ports: [{port: "80"}]}]}', "spec.ingress[0].ports[0].port", "name of a port"),
    (
        "knp",
        "{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 70}]}]}",
        "spec.ingress[0].ports[0].endPort",
        "comes before",
    ),
    (
        "knp",
        "{podSelector: {}, ingress: [{ports: [{port: http, endPort: 70}]}]}",
        "spec.ingress[0].ports[0].endPort",
        "that is a number",
    ),
    ("knp", "{podSelector: {}, ingress: [{ports: [{protocol: ICMP}]}]}", "spec.ingress[0].ports[0].protocol", "`TCP`"),
    ("knp", '{podSelector: {matchLabels: {"k8s:a": b}}}', 'spec.podSelector.matchLabels["k8s:a"]', "key of a label"),
    # Tiers.
    ("kcnp", "{tier: Admin, priority: 1}", "spec", "`subject` is missing"),
    ("kcnp", "{tier: admin, priority: 1, subject: {namespaces: {}}}", "spec.tier", "expected one of `Admin`"),
    ("kcnp", "{tier: Admin, priority: 1001, subject: {namespaces: {}}}", "spec.priority", "from 0 to 1000"),
    ("kcnp", "{tier: Admin, priority: 1, subject: {}}", "spec.subject", "expected one of `namespaces`"),
    (
        "kcnp",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}",
        "spec.ingress[0].action",
        "expected one of `Accept`",
    ),
    (
        "kcnp",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{}]}]}",
        "spec.ingress[0].from[0]",
        "expected one of `namespaces`",
    ),
    (
        "kcnp",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{domainNames: [a.b]}]}]}",
        "spec.egress[0].to[0].domainNames",
        "may only be accepted",
    ),
    ("anp", "{priority: 1, subject: {namespaces: {}}, tier: Admin}", "spec.tier", "there is no field"),
]


@pytest.mark.parametrize(("kind", "spec", "field", "message"), WRONG, ids=[f"{one[0]} {one[2]}" for one in WRONG])
def test_a_mistake_names_its_field(kind: str, spec: str, field: str, message: str) -> None:
    """The file, the line, the field and what was expected; and nothing of the object is taken up."""
    read = read_text(policy(kind, spec))
    found = [problem for problem in read.problems if problem.field == field and message in problem.message]
    assert found, [str(problem) for problem in read.problems]
    assert found[0].file == "policies.yaml"
    assert found[0].line == 4
    assert read.entries == []
    assert [str(rejected) for rejected, _ in read.rejected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nspec: {}\n", "`metadata` with a `name` is missing"),
        (HEADERS["cnp"], "expected `spec` or `specs`"),
        (HEADERS["kcnp"], "`spec` is missing"),
        (policy("cnp", cnp("ingress: [{}]")).replace("v2", "v9"), "expected version v2 of CiliumNetworkPolicy"),
        (
            policy("cnp", cnp("ingress: [{}]")) + "---\n" + policy("cnp", cnp("egress: [{}]")),
            "CiliumNetworkPolicy:shop/p is already declared at policies.yaml:1",
        ),
    ],
)
def test_a_mistake_of_an_object(text: str, message: str) -> None:
    """What is wrong outside `spec` is told as well."""
    assert any(message in problem.message for problem in read_text(text).problems)


def test_lines_are_those_of_the_rule() -> None:
    """An entry knows the object and the very line it comes from."""
    text = (
        HEADERS["cnp"] + "spec:\n  endpointSelector: {}\n  egress:\n  - toEntities: [host]\n  - toCIDR: [10.0.0.0/8]\n"
    )
    entries = read_text(text).entries
    assert [(entry.place, entry.field) for entry in entries] == [
        ("policies.yaml:7", "spec.egress[0]"),
        ("policies.yaml:8", "spec.egress[1]"),
    ]
    assert entries[0].peers == (Entity("host"),)
    assert entries[1].peers == (Addresses("10.0.0.0/8"),)
    assert str(entries[0].policy) == "CiliumNetworkPolicy:shop/p"


def test_lists_are_unpacked_and_other_kinds_counted() -> None:
    """Lists of any kind, typed ones whose elements do not repeat their kind, and lists in lists."""
    inner = "{metadata: {name: q, namespace: shop}, spec: {podSelector: {}}}"
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        f"- {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicyList, items: [{inner}]}}\n"
        "- {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}\n"
        "- {apiVersion: apps/v1, kind: Deployment, metadata: {name: e}}\n"
        "- {apiVersion: crd.projectcalico.org/v1, kind: NetworkPolicy, metadata: {name: c}, spec: {order: 1}}\n"
        "---\n# a chart leaves empty documents behind\n---\n"
    )
    read = read_text(text)
    assert read.problems == []
    assert [str(one) for one in read.policies] == ["NetworkPolicy:shop/q"]
    assert read.ignored == {"Deployment": 2, "crd.projectcalico.org/v1 NetworkPolicy": 1}


def test_objects_that_policies_refer_to_are_read() -> None:
    """Groups of ranges, services, and the addresses of services without a selector."""
    text = """
apiVersion: cilium.io/v2alpha1
kind: CiliumCIDRGroup
metadata: {name: g, labels: {site: home}}
spec: {externalCIDRs: [192.0.2.0/24]}
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: shop}
spec: {selector: {app: a}, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, namespace: shop, labels: {kubernetes.io/service-name: t}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.7]}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: u, namespace: shop}
subsets: [{addresses: [{ip: 192.0.2.8}]}]
"""
    read = read_text(text)
    assert read.problems == []
    assert read.groups[0].cidrs == ("192.0.2.0/24",)
    assert read.services[0].selector == (("app", "a"),)
    assert read.addresses == {("shop", "t"): ["192.0.2.7"], ("shop", "u"): ["192.0.2.8"]}


def test_a_policy_without_namespace_is_in_default() -> None:
    """As `kubectl` would apply it where nothing else is set."""
    text = policy("cnp", cnp("ingress: [{fromEndpoints: [{}]}]")).replace(", namespace: shop", "")
    entry = read_text(text).entries[0]
    assert entry.policy.ref == "CiliumNetworkPolicy:default/p"
    assert isinstance(entry.peers[0] if entry.peers else None, Labels)
    assert "io.kubernetes.pod.namespace=default" in str(entry.peers[0].requirements[0]) if entry.peers else False


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("(a{1,1000}){1,1000}", "repetition"),
        ("a)(b", "unexpected )"),
        ("[", "missing ]"),
        ("(?=a)", "invalid"),
        ("a" * (LONGEST_EXPRESSION + 1), "longer than"),
    ],
)
def test_an_expression_the_proxy_would_not_take(expression: str, fault: str) -> None:
    """It is a problem of the file, not one of the judging."""
    spec = cnp(
        'ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}],'
        f' rules: {{http: [{{path: "{expression}"}}]}}}}]}}]'
    )
    found = problems("cnp", spec)
    assert [problem.field for problem in found] == ["spec.ingress[0].toPorts[0].rules.http[0].path"]
    assert fault in found[0].message


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|aa)+$", "(.*a){20}", "(((a*)*)*)*b"])
def test_expressions_made_to_try_everything_do_not(expression: str) -> None:
    """Nothing is tried again: otherwise the first few dozen characters would already take for ever."""
    with hang_guard():
        assert not full_match(expression, "a" * 20_000 + "!")


@pytest.mark.parametrize("pattern", ["*a" * 100 + ".x", "**." + "*a" * 100, "*a*" * 60, "*aa" * 80 + "b.*"])
def test_name_patterns_made_to_try_everything_do_not(pattern: str) -> None:
    """However many wildcards a pattern of names holds; otherwise one name would already take for ever."""
    names = frozenset({"a" * 63 + ".y", ".".join(["a" * 60] * 4), "a" * 250})
    with hang_guard():
        NameTable([(pattern, 1)]).find(names, frozenset())


PIECES = st.sampled_from(
    [
        *("null", "[]", "{}", "[{}]", "[null]", "''", "0", "-1", "65536", "1e400", "true", "2026-01-01", "[[]]", "x"),
        *("{matchLabels: {a: b}}", "[{matchLabels: {a: b}}]", "[world]", "[10.0.0.0/8]", "['::/0']", "{a: *x}"),
        *(
            "[{ports: [{port: '80'}]}]",
            "[{fields: [{type: 8}]}]",
            "[{matchPattern: '*'}]",
            "[{port: 80}]",
            "!!binary a",
        ),
    ]
)
KEYS = st.sampled_from(
    [
        *("endpointSelector", "nodeSelector", "podSelector", "subject", "priority", "tier", "policyTypes"),
        *("ingress", "egress", "ingressDeny", "egressDeny", "enableDefaultDeny", "description"),
        *("fromEndpoints", "fromEntities", "fromCIDR", "fromCIDRSet", "fromNodes", "toFQDNs", "toServices", "toGroups"),
        *("toPorts", "ports", "icmps", "fields", "rules", "http", "dns", "kafka", "from", "to", "action", "protocols"),
        *("namespaces", "pods", "networks", "domainNames", "nodes", "namespaceSelector", "ipBlock", "cidr", "except"),
        *(
            "matchLabels",
            "matchExpressions",
            "key",
            "operator",
            "values",
            "port",
            "endPort",
            "protocol",
            "authentication",
        ),
    ]
)
TREES = st.recursive(
    PIECES,
    lambda inner: (
        st.dictionaries(KEYS, inner, max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda values: "[" + ", ".join(values) + "]")
    ),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(HEADERS)),
    st.dictionaries(KEYS, TREES, max_size=5),
    st.sampled_from([DECLARED, Options(legacy_l7=True, requires=True, bare_addresses=True, empty_rules=True)]),
)
def test_whatever_is_written_is_understood_or_explained(kind: str, fields: dict[str, str], options: Options) -> None:
    """Never a traceback; and an object with a problem leaves no entry behind."""
    spec = "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"
    read = read_text(policy(kind, spec), options)
    assert not (read.problems and read.entries)
    for problem in read.problems:
        assert problem.file == "policies.yaml"
        assert problem.message
