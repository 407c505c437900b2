"""Checks against the agent's configuration, and of policies for nodes."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import elements, fields_of
from flowwatch.lint.portsets import ICMP_V4, PortSet, Span, union
from flowwatch.lint.views import CILIUM, Direction, Kind

_NODE_PEERS = ("fromNodes", "toNodes")

_ESSENTIAL = (
    ("the API server (6443/TCP)", (("TCP", 6443),)),
    ("the kubelet (10250/TCP)", (("TCP", 10250),)),
    ("etcd (2379-2380/TCP)", (("TCP", 2379), ("TCP", 2380))),
    ("SSH (22/TCP)", (("TCP", 22),)),
    ("Cilium's health checks (4240/TCP)", (("TCP", 4240),)),
)
_TUNNELS = (("UDP", 8472), ("UDP", 6081))


def node_labels_off(context: Context) -> Iterator[Problem]:
    """Peers by the labels of nodes, which nodes do not have."""
    if not context.settings.known or context.settings.is_on("enable-node-selector-labels"):
        return
    for rule in context.rules:
        for key in _NODE_PEERS if rule.spec.policy.kind in CILIUM else ():
            if elements(rule.fields.get(key)):
                yield rule.fields[key].problem(
                    f"`{key}` needs `enable-node-selector-labels`, which `cilium-config` does not switch on",
                    'set `enable-node-selector-labels: "true"`, or use entities',
                )


def auth_off(context: Context) -> Iterator[Problem]:
    """Authentication that nobody asks for."""
    settings = context.settings
    if settings.is_on("mesh-auth-enabled") or (not settings.known and not context.since((1, 19))):
        return
    if settings.known and not context.since((1, 19)) and "mesh-auth-enabled" not in settings.values:
        return
    for rule in context.rules:
        mode = fields_of(rule.fields.get("authentication")).get("mode")
        if rule.spec.policy.kind in CILIUM and mode is not None and mode.raw == "required":
            who = "`cilium-config` switches" if settings.known else "Cilium, since 1.19, switches"
            yield mode.problem(
                f"{who} mutual authentication off, so this is forwarded without any",
                'set `mesh-auth-enabled: "true"` in `cilium-config`',
            )


def always_mode_probes(context: Context) -> Iterator[Problem]:
    """Default deny for all endpoints, which some versions extend to the kubelet."""
    at = context.settings.values.get("enable-policy")
    if at is not None and at.raw == "always" and context.since((1, 20)):
        yield at.problem(
            "with `always`, Cilium 1.20.0 and 1.20.1 drop the kubelet's probes of pods without an ingress rule",
            "give every pod an ingress rule, such as `ingress: [{}]`",
        )


def host_firewall_off(context: Context) -> Iterator[Problem]:
    """Policies for nodes that nobody enforces."""
    if not context.settings.known or context.settings.is_on("enable-host-firewall"):
        return
    for spec in context.specs:
        if spec.selects_nodes and spec.policy.kind in CILIUM:
            yield spec.fields["nodeSelector"].problem(
                "policies for nodes need the host firewall, which `cilium-config` does not switch on",
                'set `enable-host-firewall: "true"`',
            )


def host_policy_lockout(context: Context) -> Iterator[Problem]:
    """Policies for nodes that leave out what keeps a cluster alive."""
    nodes = [spec for spec in context.specs if spec.selects_nodes and spec.policy.kind is Kind.CCNP]
    rules = [rule for spec in nodes for rule in spec.towards(Direction.INGRESS) if rule.is_allow and rule.peers]
    allowed = union(rule.ports for rule in rules)
    missing = [what for what, ports in _ESSENTIAL if not all(allowed.may_have(*port) for port in ports)]
    if not any(allowed.may_have(*port) for port in _TUNNELS):
        missing.append("the tunnel (8472/UDP or 6081/UDP)")
    if not allowed.meets(PortSet(frozenset((Span(ICMP_V4, 0, 255),)))):
        missing.append("ICMP")
    for spec in nodes if missing else ():
        if Direction.INGRESS in spec.isolates:
            yield spec.fields["nodeSelector"].problem(
                f"this isolates nodes, and no policy for nodes allows {', '.join(missing)}",
                "allow what the nodes need, and try it with `policy-audit-mode` first",
            )


CHECKS = (
    Check(
        "node-labels-off",
        Severity.ERROR,
        "`fromNodes` and `toNodes` need `enable-node-selector-labels`; told where `cilium-config` is among the files.",
        node_labels_off,
        rejects=True,
    ),
    Check(
        "auth-off",
        Severity.WARNING,
        "Mutual authentication is off by default since Cilium 1.19: what requires it is forwarded without.",
        auth_off,
    ),
    Check(
        "always-mode-probes",
        Severity.WARNING,
        "`enable-policy: always` drops probes of pods without ingress rules in Cilium 1.20.0 and 1.20.1.",
        always_mode_probes,
    ),
    Check(
        "host-firewall-off",
        Severity.WARNING,
        "Policies with `nodeSelector` have no effect without the host firewall; told where `cilium-config` is there.",
        host_firewall_off,
    ),
    Check(
        "host-policy-lockout",
        Severity.WARNING,
        "A policy that isolates nodes must allow what the cluster lives on, or it locks everybody out.",
        host_policy_lockout,
    ),
)
