"""The two caveats of a homelab's own documentation, and its pods on the host network, are found."""

from __future__ import annotations

import textwrap

import pytest

from flowwatch.lint import Lint, Options, Severity, Sources, lint, parse

NOW = 1_790_812_800.0

KANIDM = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: kanidm, namespace: kanidm}
spec:
  endpointSelector: {matchLabels: {app.kubernetes.io/name: kanidm}}
  ingress:
  - fromEntities: [ingress]
    toPorts:
    - ports: [{port: "8443", protocol: TCP}]
      rules:
        http: [{}]
"""
TLS_ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: kanidm, namespace: kanidm}
spec:
  parentRefs: [{name: gateway, namespace: network, sectionName: passthrough}]
  hostnames: [idm.example.com]
  rules: [{backendRefs: [{name: kanidm, port: 8443}]}]
"""
GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: network}
spec:
  gatewayClassName: cilium
  listeners: [{name: passthrough, protocol: TLS, port: 443, tls: {mode: %s}}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: kanidm, namespace: kanidm}
spec:
  selector: {app.kubernetes.io/name: kanidm, app.kubernetes.io/instance: kanidm}
  ports: [{name: https, port: 8443, targetPort: %s}]
"""
STATEFUL_SET = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: kanidm, namespace: kanidm}
spec:
  template:
    metadata: {labels: {app.kubernetes.io/name: kanidm, app.kubernetes.io/instance: kanidm}}
    spec: {containers: [{name: kanidm, ports: [{name: https, containerPort: 8443}]}]}
"""
NGINX = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: kanidm
  namespace: kanidm
  annotations: {nginx.ingress.kubernetes.io/ssl-passthrough: "true"}
spec:
  rules: [{http: {paths: [{path: /, backend: {service: {name: kanidm, port: {number: 8443}}}}]}}]
"""
PROBES = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: scan-jobs, namespace: trivy-system}
spec:
  endpointSelector: {matchLabels: {app.kubernetes.io/managed-by: trivy-operator}}
  ingress: [{}]
  ingressDeny:
  - fromEntities:
    - world
    - cluster
"""


def found(*documents: str, file: str = "policies.yaml") -> list[Lint]:
    """What is found in some documents."""
    return list(lint(Sources((parse("---\n".join(documents), file),)), Options(NOW)).findings)


def of(check: str, *documents: str) -> list[tuple[int, str]]:
    """The lines and texts one check finds something on."""
    return [(each.problem.line, each.problem.text.strip()) for each in found(*documents) if each.check == check]


@pytest.mark.parametrize(
    "others",
    [
        (TLS_ROUTE,),
        (TLS_ROUTE, SERVICE % 8443),
        (TLS_ROUTE, SERVICE % "https", STATEFUL_SET),
        (TLS_ROUTE, GATEWAY % "Passthrough"),
        (NGINX, SERVICE % 8443),
    ],
)
def test_http_rules_behind_tls_passthrough(others: tuple[str, ...]) -> None:
    """With the Service or without, by number or by name, from Gateway API or an Ingress."""
    assert of("http-on-passthrough", KANIDM, *others) == [(11, "http: [{}]")]
    assert of("http-on-tls", KANIDM, *others) == []


@pytest.mark.parametrize(
    "others",
    [
        (TLS_ROUTE, GATEWAY % "Terminate"),
        (TLS_ROUTE.replace("port: 8443", "port: 9000"), SERVICE % 8443),
        (TLS_ROUTE.replace("{name: kanidm, port", "{name: other, port"),),
        (TLS_ROUTE.replace("{name: kanidm, port", "{name: kanidm, namespace: other, port"),),
    ],
)
def test_no_passthrough_leads_there(others: tuple[str, ...]) -> None:
    """A gateway that ends TLS, another port, another Service: the port alone still is suspicious."""
    assert of("http-on-passthrough", KANIDM, *others) == []
    assert [line for line, _ in of("http-on-tls", KANIDM, *others)] == [11]


def test_cluster_in_ingress_deny() -> None:
    """The very line, and what to do instead."""
    findings = [each for each in found(PROBES) if each.check == "cluster-in-ingress-deny"]
    assert [(each.problem.line, each.problem.text.strip()) for each in findings] == [(10, "- cluster")]
    assert "kubelet" in findings[0].problem.message
    assert "world" in findings[0].problem.hint
    assert findings[0].thing == "CiliumNetworkPolicy trivy-system/scan-jobs"
    assert of("cluster-in-ingress-deny", PROBES.replace("    - cluster\n", "")) == []


@pytest.mark.parametrize(
    ("namespace", "labels"),
    [
        ("monitoring", "app.kubernetes.io/name: node-exporter"),
        ("kube-system", "k8s-app: cilium"),
        ("kube-system", "k8s-app: kube-proxy"),
        ("kube-system", "app.kubernetes.io/name: tetragon"),
        ("kube-system", "component: etcd"),
        ("kube-system", "component: kube-apiserver"),
    ],
)
def test_policies_for_pods_that_are_always_on_the_host_network(namespace: str, labels: str) -> None:
    """Nothing but the labels is needed to know these, and a workload that says otherwise is believed."""
    policy = textwrap.dedent(f"""\
        apiVersion: cilium.io/v2
        kind: CiliumNetworkPolicy
        metadata: {{name: excluded, namespace: {namespace}}}
        spec:
          endpointSelector: {{matchLabels: {{{labels}}}}}
          ingress: [{{}}]
        """)
    ordinary = textwrap.dedent(f"""\
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: ordinary, namespace: {namespace}}}
        spec: {{template: {{metadata: {{labels: {{{labels}}}}}, spec: {{containers: []}}}}}}
        """)
    assert [line for line, _ in of("host-network-subject", policy)] == [5]
    assert of("host-network-subject", policy, ordinary) == []


IDIOMS = """\
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: allow-dns}
spec:
  endpointSelector: {matchLabels: {"k8s:io.cilium.k8s.policy.cluster": default}}
  egress:
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, k8s-app: kube-dns}}]
    toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*"}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: health}
spec:
  endpointSelector: {matchLabels: {"reserved:health": ""}}
  ingress: [{fromEntities: [remote-node]}]
  egress: [{toEntities: [remote-node]}]
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: no-metadata-service}
spec:
  endpointSelector: {matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}]}
  enableDefaultDeny: {egress: false}
  egressDeny: [{toCIDR: [169.254.169.254/32]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec:
  endpointSelector: {matchLabels: {}}
  ingress: [{}]
  egress: [{}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{}]
    toPorts: [{ports: [{port: "0", protocol: TCP}]}]
  egress:
  - toEndpoints: [{}]
  - toEntities: [world]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
  - toFQDNs: [{matchName: example.com}, {matchPattern: "*.example.org"}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, k8s-app: kube-dns}}]
    toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*"}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: reach-each-other, namespace: shop}
spec:
  endpointSelector: {}
  ingress: [{fromEndpoints: [{}]}]
  egress: [{toEndpoints: [{}]}]
"""


def test_what_is_idiomatic_is_left_alone() -> None:
    """Default deny by an empty rule, own-namespace allows, denies that isolate nobody, port 0, a broad DNS
    policy beside one for a namespace, names in the one and lookups in the other: none is a warning."""
    remarks = {each.check for each in found(IDIOMS) if each.severity is Severity.INFO}
    assert [(each.check, each.problem) for each in found(IDIOMS) if each.severity is not Severity.INFO] == []
    assert remarks == {"redundant-rule", "world-includes-private"}
