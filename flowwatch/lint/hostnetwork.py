"""Checks of selectors that mean pods on the host network: those are their node and have no labels."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import Labels
from flowwatch.lint.views import Role

SYSTEM = "kube-system"

WELL_KNOWN = {
    ("k8s-app", "cilium"): (SYSTEM, "Cilium's agent"),
    ("k8s-app", "kube-proxy"): (SYSTEM, "kube-proxy"),
    ("component", "kube-apiserver"): (SYSTEM, "the API server"),
    ("component", "etcd"): (SYSTEM, "etcd"),
    ("component", "kube-scheduler"): (SYSTEM, "the scheduler"),
    ("component", "kube-controller-manager"): (SYSTEM, "the controller manager"),
    ("app.kubernetes.io/name", "tetragon"): (SYSTEM, "Tetragon's agent"),
    ("app.kubernetes.io/name", "node-exporter"): ("", "node-exporter"),
    ("app.kubernetes.io/name", "prometheus-node-exporter"): ("", "node-exporter"),
}
"""Pods that run on the host network wherever they are installed as usual: by namespace, in words."""


def host_network_subject(context: Context) -> Iterator[Problem]:
    """Policies for pods on the host network."""
    for _, selector in context.selectors:
        who = _on_host_network(context, selector.labels) if selector.role is Role.SUBJECT else ""
        if who:
            yield selector.at.problem(
                f"{who} is on the host network: no policy for pods has any effect on it",
                "a policy with `nodeSelector` and the host firewall governs the node and all that is on its network",
            )


def host_network_peer(context: Context) -> Iterator[Problem]:
    """Peers on the host network, by labels."""
    for _, selector in context.selectors:
        who = _on_host_network(context, selector.labels) if selector.role is Role.PEER else ""
        if who:
            yield selector.at.problem(
                f"{who} is on the host network and has no labels there: these never match",
                "name the entities `host` and `remote-node`",
            )
    for definition in context.native.definitions:
        who = _on_host_network(context, definition.labels) if definition.labels is not None else ""
        if who:
            yield definition.at.problem(
                f"{who} is on the host network and has no labels there: `{definition.name}` never appears",
                "name the entities `host` and `remote-node` in rules",
            )


def _on_host_network(context: Context, labels: Labels) -> str:
    """Who is meant, where that is certainly nobody but pods on the host network; empty otherwise."""
    if not labels.own:
        return ""
    known = list(context.workloads_of(labels))
    if known:
        return known[0].thing.title if all(workload.host_network for workload in known) else ""
    if context.may_be_workload(labels) or any(context.endpoints_of(labels)):
        return ""
    for pair in labels.pairs:
        namespace, who = WELL_KNOWN.get(pair, ("", ""))
        if who and namespace in ("", labels.namespace or SYSTEM):
            return who
    return ""


CHECKS = (
    Check(
        "host-network-subject",
        Severity.WARNING,
        "Pods with `hostNetwork: true` are their node: policies that select them have no effect.",
        host_network_subject,
    ),
    Check(
        "host-network-peer",
        Severity.WARNING,
        "Pods with `hostNetwork: true` are `host` or `remote-node` to others, never found by labels.",
        host_network_peer,
    ),
)
