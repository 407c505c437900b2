"""Identity labels and label selectors, as section 3 of the semantics document tells them.

A label is (source, key, value); a selector is a list of needs that all have to hold. Nothing here knows policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAMESPACE = "io.kubernetes.pod.namespace"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
CLUSTER = "io.cilium.k8s.policy.cluster"
SERVICE_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
LOCAL_CLUSTER = "default"

Label = tuple[str, str, str]


@dataclass(frozen=True)
class Need:
    """One term of a selector; a source of None is `any:`."""

    source: str | None
    key: str
    operator: str
    values: tuple[str, ...] = ()


def is_pod(endpoint: dict[str, Any]) -> bool:
    """README of the probes: a pod has a namespace, anything else an entity."""
    return "entity" not in endpoint and "entities" not in endpoint


def entities_of(endpoint: dict[str, Any]) -> list[str]:
    """README of the probes: an in-cluster kube-apiserver is also a remote node."""
    if "entities" in endpoint:
        return list(endpoint["entities"])
    if endpoint.get("entity") == "kube-apiserver":
        return ["kube-apiserver", "remote-node"]
    return [endpoint["entity"]] if "entity" in endpoint else []


def cluster_of(endpoint: dict[str, Any]) -> str:
    """§3, the cluster of a pod; a pod of another cluster says so beside its own labels."""
    return str(endpoint.get("cluster") or LOCAL_CLUSTER)


def identity_labels(endpoint: dict[str, Any]) -> list[Label]:
    """§3, "Pod identity always carries": namespace, cluster, service account and every namespace label."""
    labels: list[Label] = [("reserved", name, "") for name in entities_of(endpoint)]
    if is_pod(endpoint):
        labels += [("k8s", key, value) for key, value in (endpoint.get("labels") or {}).items()]
        labels.append(("k8s", CLUSTER, cluster_of(endpoint)))
        labels.append(("k8s", NAMESPACE, endpoint["namespace"]))
        for key, value in (endpoint.get("namespace_labels") or {}).items():
            labels.append(("k8s", NAMESPACE_LABELS + key, value))
        if endpoint.get("service_account"):
            labels.append(("k8s", SERVICE_ACCOUNT, endpoint["service_account"]))
    elif endpoint.get("entity") == "host":
        labels += [("k8s", key, value) for key, value in (endpoint.get("node_labels") or {}).items()]
    else:
        labels += [("node", key, value) for key, value in (endpoint.get("node_labels") or {}).items()]
    return labels


def need_holds(need: Need, labels: list[Label]) -> bool:
    """§3, `In` needs the key; `NotIn` and `DoesNotExist` also match when the key is missing."""
    found = [value for source, key, value in labels if key == need.key and need.source in {None, source}]
    if need.operator == "In":
        return any(value in need.values for value in found)
    if need.operator == "NotIn":
        return not any(value in need.values for value in found)
    if need.operator == "Exists":
        return bool(found)
    return not found


def selector_matches(selector: list[Need], labels: list[Label]) -> bool:
    """§3, matchLabels and matchExpressions are ANDed."""
    return all(need_holds(need, labels) for need in selector)


def source_and_key(written: str) -> tuple[str | None, str]:
    """§3, a key without prefix or with `any:` matches any source; the source is separated by `:`, not by `.`."""
    source, colon, key = written.partition(":")
    if not colon:
        return None, written
    return (None if source == "any" else source), key


def needs(selector: dict[str, Any] | None, *, cilium: bool, prefix: str = "") -> list[Need]:
    """§3, the written terms; the selectors of Kubernetes objects are always `k8s:`."""
    selector = selector or {}
    terms = [(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or []:
        terms.append((term["key"], term["operator"], tuple(term.get("values") or ())))
    result = []
    for written, operator, values in terms:
        source, key = source_and_key(written) if cilium else ("k8s", written)
        result.append(Need(source, prefix + key, operator, values))
    return result


def mentions(selector: list[Need], key: str) -> bool:
    """§3, "mentions": under `k8s:`, `any:` or bare, in matchLabels or any operator."""
    return any(need.key == key and need.source in {None, "k8s"} for need in selector)


def with_local_cluster(selector: list[Need]) -> list[Need]:
    """§3, last row of the scope table: peers are of the local cluster unless the selector mentions the cluster."""
    if mentions(selector, CLUSTER):
        return selector
    return [*selector, Need("k8s", CLUSTER, "In", (LOCAL_CLUSTER,))]


def cnp_subject(selector: dict[str, Any], namespace: str) -> list[Need]:
    """§3, scope table row 1: the policy's namespace, overwriting a `k8s:` value and ANDed with a bare one."""
    labels = dict(selector.get("matchLabels") or {})
    labels["k8s:" + NAMESPACE] = namespace
    return needs({**selector, "matchLabels": labels}, cilium=True)


def cilium_peer(selector: dict[str, Any] | None, namespace: str | None, subject_is_init: bool) -> list[Need]:
    """§3, scope table rows 2-4: what is added to a member of fromEndpoints/toEndpoints of a CNP or CCNP (None)."""
    written = needs(selector, cilium=True)
    if any(need.source == "reserved" for need in written):
        return written
    if not mentions(written, NAMESPACE):
        by_namespace_labels = any(
            need.key.startswith(NAMESPACE_LABELS) and need.source in {None, "k8s"} for need in written
        )
        if namespace is not None and not by_namespace_labels:
            written = [*written, Need("k8s", NAMESPACE, "In", (namespace,))]
        if namespace is None and not subject_is_init:
            written = [*written, Need("k8s", NAMESPACE, "Exists")]
    return with_local_cluster(written)


def kubernetes_pods(
    namespace_selector: dict[str, Any] | None, pod_selector: dict[str, Any] | None, namespace: str | None
) -> list[Need]:
    """§3, scope table rows 6-7, and §6: namespaceSelector AND podSelector; podSelector alone is in the namespace."""
    if namespace_selector is None:
        assert namespace is not None
        where = [Need("k8s", NAMESPACE, "In", (namespace,))]
    else:
        where = needs(namespace_selector, cilium=False, prefix=NAMESPACE_LABELS)
        if not where:
            where = [Need("k8s", NAMESPACE, "Exists")]
    return [*where, *needs(pod_selector, cilium=False)]
