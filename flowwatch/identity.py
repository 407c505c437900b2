"""Who an endpoint is: its identity from its labels, and the workload people know it by.

Pure functions over one parsed `flow.Endpoint`. They run once per distinct endpoint, not per flow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from flowwatch.hubble import flow_pb2
from flowwatch.model import Identity, Kind

_KINDS = (
    # First match wins. A node's own traffic may carry `kube-apiserver` beside `host`: then it is the
    # host that matters (kubelet probes come from there); selectors look at all the labels anyway.
    ("host", Kind.HOST),
    ("kube-apiserver", Kind.KUBE_APISERVER),
    ("remote-node", Kind.REMOTE_NODE),
    ("world", Kind.WORLD),
    ("world-ipv4", Kind.WORLD),
    ("world-ipv6", Kind.WORLD),
    ("health", Kind.HEALTH),
    ("ingress", Kind.INGRESS),
    ("init", Kind.INIT),
    ("unmanaged", Kind.UNMANAGED),
)
_RESERVED_NUMBERS = {
    1: "host",
    2: "world",
    3: "unmanaged",
    4: "health",
    5: "init",
    6: "remote-node",
    7: "kube-apiserver",
    8: "ingress",
    9: "world-ipv4",
    10: "world-ipv6",
}
_CLUSTER_LABEL = "k8s:io.cilium.k8s.policy.cluster="
_NAMESPACE_LABEL = "k8s:io.kubernetes.pod.namespace="
_NAME_LABELS = ("k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app=", "k8s:name=", "k8s:run=")

# Kubernetes makes up name suffixes from an alphabet without vowels and look-alikes.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_ORDINAL = re.compile(r"-\d+$")
_POD_SUFFIX = re.compile(rf"-[{_SAFE}]{{5}}$")
_TEMPLATE_HASH = re.compile(rf"-[{_SAFE}]{{8,10}}$")


def identity_of(endpoint: flow_pb2.Endpoint) -> Identity:
    """The identity an endpoint has: its label set with the kind, cluster and namespace read off it."""
    labels = tuple(sorted(endpoint.labels))
    if not labels and endpoint.identity in _RESERVED_NUMBERS:  # exports may mask the labels away
        labels = (f"reserved:{_RESERVED_NUMBERS[endpoint.identity]}",)
    namespace = _value(labels, _NAMESPACE_LABEL) or endpoint.namespace
    cluster = _value(labels, _CLUSTER_LABEL) or endpoint.cluster_name
    return Identity(kind_of(labels, namespace), cluster, namespace, labels)


def kind_of(labels: tuple[str, ...], namespace: str) -> Kind:
    """What sort of thing carries these labels."""
    reserved = {label.removeprefix("reserved:") for label in labels if label.startswith("reserved:")}
    for name, kind in _KINDS:
        if name in reserved:
            return kind
    if namespace or any(label.startswith("k8s:") for label in labels):
        return Kind.POD
    return Kind.WORLD if any(label.startswith(("cidr:", "fqdn:")) for label in labels) else Kind.UNKNOWN


def any_world() -> Identity:
    """The one identity of everything outside the cluster. Cilium labels addresses out there by IP family, and with
    `cidr:` and `fqdn:` only while some policy uses them: none of that must tell two edges apart."""
    return Identity(Kind.WORLD, "", "", ("reserved:world",))


def names_in(identity: Identity) -> tuple[str, ...]:
    """The full DNS names in an identity's `fqdn:` labels (patterns are not names)."""
    names = (label.removeprefix("fqdn:").rstrip(".") for label in identity.labels if label.startswith("fqdn:"))
    return tuple(sorted(name for name in names if name and "*" not in name))


def workload_of(endpoint: flow_pb2.Endpoint) -> tuple[str, str, bool]:
    """(name, kind, certain): certain when Hubble said so, which it does for a node's own pods only."""
    if endpoint.workloads:
        return endpoint.workloads[0].name, endpoint.workloads[0].kind, True
    if endpoint.pod_name:
        return _without_suffixes(endpoint.pod_name), "", False
    return next((value for prefix in _NAME_LABELS if (value := _value(endpoint.labels, prefix))), ""), "", False


def _without_suffixes(pod: str) -> str:
    """The name of a pod's owner, as far as the pod's name tells: `loki-2` → `loki`."""
    name = _ORDINAL.sub("", pod)
    shorter = _POD_SUFFIX.sub("", name)
    if shorter != name:
        shorter = _TEMPLATE_HASH.sub("", shorter)
    return shorter or pod


def _value(labels: Iterable[str], prefix: str) -> str:
    return next((label[len(prefix) :] for label in labels if label.startswith(prefix)), "")
