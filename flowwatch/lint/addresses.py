"""Checks of which addresses a range holds: pods, nodes, the cloud's metadata, the private world."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.behind import pods_behind
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import covers as labels_cover
from flowwatch.lint.objects import at as value_at
from flowwatch.lint.objects import elements, fields_of
from flowwatch.lint.observed import address_of
from flowwatch.lint.peers import Atom, Entity, Network, Range, covers, within
from flowwatch.lint.portsets import TCP
from flowwatch.lint.views import Action, Direction, Kind, Peer, Rule

METADATA = Range(ipaddress.ip_network("169.254.169.254/32"))
METADATA_PORT = 80
PRIVATE = tuple(
    ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
_EVERYTHING = (Range(ipaddress.ip_network("0.0.0.0/0")), Entity("world"), Entity("all"))
_API_SERVER_PORT = 6443
_NODE_KINDS = ("Node", "CiliumNode")
_EXPOSED = ("NodePort", "LoadBalancer")


def world_includes_metadata(context: Context) -> Iterator[Problem]:
    """Egress to the whole world, the credentials of the cloud included."""
    for rule, peer in _egress_to_world(context):
        atom = peer.atom
        left_out = isinstance(atom, Range) and any(within(METADATA.network, each) for each in atom.exceptions)
        if left_out or not any(grant.ports.may_have(TCP, METADATA_PORT) for grant in rule.grants):
            continue
        if not _is_denied(context, rule, METADATA):
            yield peer.at.problem(
                f"`{atom}` includes 169.254.169.254, where clouds hand out the credentials of a node",
                "take it out with `toCIDRSet` and `except: [169.254.169.254/32]`, or deny it with `egressDeny`",
            )


def world_includes_private(context: Context) -> Iterator[Problem]:
    """Egress to the whole world, the networks behind one's own routers included."""
    for rule, peer in _egress_to_world(context):
        taken = peer.atom.exceptions if isinstance(peer.atom, Range) else frozenset()
        left = [
            network
            for network in PRIVATE[:3]
            if not any(within(network, each) for each in taken) and not _is_denied(context, rule, Range(network))
        ]
        if left:
            yield peer.at.problem(
                f"`{peer.atom}` includes private networks outside the cluster: {', '.join(map(str, left))}",
                "take out with `except` what the pods have no business with",
            )


def _egress_to_world(context: Context) -> Iterator[tuple[Rule, Peer]]:
    for rule in context.rules:
        if rule.direction is Direction.EGRESS and rule.is_allow and not rule.spec.selects_nodes:
            yield from ((rule, peer) for peer in rule.peers if _without_exceptions(peer.atom) in _EVERYTHING)


def _without_exceptions(atom: Atom) -> Atom:
    return Range(atom.network) if isinstance(atom, Range) else atom


def _is_denied(context: Context, rule: Rule, atom: Range) -> bool:
    if rule.spec.subject is None:
        return False
    for spec in context.selecting.covering(rule.spec.scope):
        for other in spec.towards(rule.direction):
            if other.action is Action.DENY and any(covers(peer.atom, atom) for peer in other.peers):
                return True
    return False


def cidr_covers_pods(context: Context) -> Iterator[Problem]:
    """Ranges that hold the addresses of pods."""
    ranges = (*context.options.pod_cidrs, *context.settings.pod_ranges)
    for _, peer, network in _ranges(context):
        if "pods" in context.settings.text("policy-cidr-match-mode"):
            return
        inside = [each for each in ranges if network.version == each.version and _is_within_or_around(network, each)]
        if inside:
            yield peer.at.problem(
                f"pods have addresses of {inside[0]}, and a range never means pods: this matches none of them",
                "select pods by their labels",
            )


def _is_within_or_around(network: Network, pods: Network) -> bool:
    # A default route is not written to mean pods.
    return within(network, pods) or (network.prefixlen >= 8 and within(pods, network))


def cidr_may_cover_pods(context: Context) -> Iterator[Problem]:
    """Private ranges, where nobody said which addresses pods have."""
    if context.options.pod_cidrs or context.settings.pod_ranges:
        return
    for _, peer, network in _ranges(context):
        if network.prefixlen < network.max_prefixlen and any(within(network, each) for each in PRIVATE):
            yield peer.at.problem(
                "a range never means pods, nodes or Services of the cluster, even where it holds their addresses",
                "if this means pods, select them by labels; with `--pod-cidr` this can be told for certain",
            )


def nodes_by_cidr(context: Context) -> Iterator[Problem]:
    """Ranges for the API server or for nodes."""
    if "nodes" in context.settings.text("policy-cidr-match-mode"):
        return
    nodes = [network for text in _node_addresses(context) if (network := address_of(text)) is not None]
    for rule, peer, network in _ranges(context):
        held = [node for node in nodes if within(node, network)] if network.prefixlen > 0 else []
        may_be_inside = network.prefixlen == 0 or any(within(network, each) for each in PRIVATE)
        is_api = may_be_inside and rule.direction is Direction.EGRESS and _is_only(rule, _API_SERVER_PORT)
        if held:
            what = f"{held[0].network_address} is a node of the cluster, and a range never means nodes"
        elif is_api:
            what = f"port {_API_SERVER_PORT} is the API server, and a range never means it while it is in the cluster"
        else:
            continue
        hint = "use `toEntities: [kube-apiserver]`, and `host` and `remote-node` for nodes"
        if rule.spec.policy.kind is Kind.KNP:
            hint = "a NetworkPolicy cannot name nodes: " + hint.replace("use", "use a CiliumNetworkPolicy with")
        yield peer.at.problem(what, hint)


def _is_only(rule: Rule, port: int) -> bool:
    written = [each for grant in rule.grants for each in grant.written]
    return bool(written) and all(each.number == port for each in written)


def _node_addresses(context: Context) -> Iterator[str]:
    for thing in context.objects:
        if thing.kind in _NODE_KINDS and thing.group in ("", "cilium.io"):
            for where in ("status", "spec"):
                for each in elements(value_at(thing.root, where, "addresses")):
                    fields = fields_of(each)
                    written = fields.get("address") or fields.get("ip")
                    if written is not None:
                        yield written.raw


def cidr_behind_service(context: Context) -> Iterator[Problem]:
    """Ranges of clients whose addresses are lost on the way."""
    for service in context.services:
        if service.kind not in _EXPOSED or service.keeps_client or not service.selector:
            continue
        behind = pods_behind(service)
        for spec in context.selecting.meeting(behind):
            if not (labels_cover(spec.scope, behind) or labels_cover(behind, spec.scope)):
                continue
            for rule in spec.towards(Direction.INGRESS):
                for peer in rule.peers if rule.is_allow else ():
                    if isinstance(peer.atom, Range) and peer.atom.network.prefixlen > 0:
                        yield peer.at.problem(
                            f"{service.thing.title} replaces the address of clients by that of a node on the way",
                            "set `externalTrafficPolicy: Local` on the Service, or let the load balancer filter",
                        )


def _ranges(context: Context) -> Iterator[tuple[Rule, Peer, Network]]:
    for rule in context.rules:
        if rule.is_allow:
            for peer in rule.peers:
                if isinstance(peer.atom, Range):
                    yield rule, peer, peer.atom.network


CHECKS = (
    Check(
        "world-includes-metadata",
        Severity.WARNING,
        "`world` and `0.0.0.0/0` include the cloud's metadata service; told where its port is allowed.",
        world_includes_metadata,
    ),
    Check(
        "world-includes-private",
        Severity.INFO,
        "`world` and `0.0.0.0/0` include private networks outside the cluster.",
        world_includes_private,
    ),
    Check(
        "cidr-covers-pods",
        Severity.WARNING,
        "Ranges never mean pods or Services; told where the pods' addresses are known (`--pod-cidr`, `cilium-config`).",
        cidr_covers_pods,
    ),
    Check(
        "cidr-may-cover-pods",
        Severity.INFO,
        "Ranges never mean pods or Services; told of private ranges where the pods' addresses are not known.",
        cidr_may_cover_pods,
    ),
    Check(
        "nodes-by-cidr",
        Severity.WARNING,
        "Ranges never mean nodes or an API server in the cluster, unless `policy-cidr-match-mode` says so.",
        nodes_by_cidr,
    ),
    Check(
        "cidr-behind-service",
        Severity.WARNING,
        "Behind a NodePort or LoadBalancer with `externalTrafficPolicy: Cluster`, clients come with a node's address.",
        cidr_behind_service,
    ),
)
