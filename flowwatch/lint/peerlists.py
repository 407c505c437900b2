"""Checks of who is named at the other end of a rule: two sorts at once, nobody, or everyone."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.cilium import EMPTY_IS_EVERYONE, PEERS
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import fields_of
from flowwatch.lint.peers import Everyone
from flowwatch.lint.views import CILIUM, CLUSTER_POLICIES, Direction, Kind, Rule

_REQUIRES = ("fromRequires", "toRequires")
_KNP_PEERS = ("from", "to")


def two_peer_kinds(context: Context) -> Iterator[Problem]:
    """Peers of two sorts in one rule, or in one element of its peers."""
    for rule in context.rules:
        kind = rule.spec.policy.kind
        if kind in CILIUM:
            held = [key for key in PEERS[rule.direction] if key in rule.fields and rule.fields[key].elements()]
            if len(held) > 1:
                yield rule.fields[held[1]].problem(
                    f"`{held[0]}` and `{held[1]}` exclude each other in one rule, so the policy is rejected",
                    "make two rules of it",
                )
            continue
        for at in [each for key in _KNP_PEERS if key in rule.fields for each in rule.fields[key].elements()]:
            fields = fields_of(at)
            if kind is Kind.KNP and "ipBlock" in fields and len(fields) > 1:
                yield fields["ipBlock"].problem(
                    "`ipBlock` and selectors exclude each other in one peer, so the policy is rejected",
                    "make two peers of it",
                )
            elif kind in CLUSTER_POLICIES and len(fields) > 1:
                named = " and ".join(f"`{key}`" for key in fields)
                yield at.problem(f"{named} exclude each other in one peer, so the policy is rejected", "make two peers")


def empty_peer_list(context: Context) -> Iterator[Problem]:
    """Lists of peers that hold nothing and so select nobody."""
    for rule in context.rules:
        if rule.spec.policy.kind not in CILIUM or _is_everyone(rule):
            continue
        written = [key for key in PEERS[rule.direction] if key in rule.fields]
        if any(rule.fields[key].elements() for key in written):
            continue
        for key in written:
            if rule.fields[key].is_list:
                yield rule.fields[key].problem(
                    f"`{key}` is empty, so nobody is meant and the rule allows nothing",
                    "name a peer, or write `- {}` for a rule that only isolates",
                )


def empty_list_is_everyone(context: Context) -> Iterator[Problem]:
    """Lists that hold nothing and so, beside ports, mean everyone."""
    for rule in context.rules:
        if rule.spec.policy.kind not in CILIUM or not _is_everyone(rule):
            continue
        for key in EMPTY_IS_EVERYONE:
            if key in rule.fields and rule.fields[key].is_list and not rule.fields[key].elements():
                yield rule.fields[key].problem(
                    f"`{key}` is empty and ports are given, so everyone is meant on these ports",
                    "name a peer, or remove the rule",
                )


def rule_for_everyone(context: Context) -> Iterator[Problem]:
    """Rules that allow without naming anyone."""
    for rule in context.rules:
        if not rule.is_allow or not _is_everyone(rule) or rule.spec.policy.kind in CLUSTER_POLICIES:
            continue
        if any(key in rule.fields for key in EMPTY_IS_EVERYONE) or rule.spec.selects_nodes:
            continue
        way = "from" if rule.direction is Direction.INGRESS else "to"
        ports = rule.ports
        on = "on every port" if ports.everything else f"on {ports}"
        what = f"no peer is named, so traffic {way} everyone is allowed {on}: pods, nodes and the whole world"
        hint = f"name the peers under `{way}`" if rule.spec.policy.kind is Kind.KNP else "name the peers"
        yield rule.at.problem(what, hint)


def requires_removed(context: Context) -> Iterator[Problem]:
    """Requirements that are no longer possible."""
    for rule in context.rules:
        for key in _REQUIRES:
            if key in rule.fields and rule.fields[key].elements() and context.since((1, 19)):
                yield rule.fields[key].problem(
                    f"`{key}` must be empty since Cilium 1.19, so the policy is rejected",
                    "put the required labels into every selector",
                )


def _is_everyone(rule: Rule) -> bool:
    return any(isinstance(peer.atom, Everyone) for peer in rule.peers)


CHECKS = (
    Check(
        "two-peer-kinds",
        Severity.ERROR,
        "One rule takes peers of one sort: endpoints, entities, CIDRs, names, services, nodes or groups.",
        two_peer_kinds,
        rejects=True,
    ),
    Check(
        "empty-peer-list",
        Severity.WARNING,
        "An empty list of peers selects nobody, with ports or without.",
        empty_peer_list,
    ),
    Check(
        "empty-list-is-everyone",
        Severity.WARNING,
        "An empty `toFQDNs` or `toGroups` beside `toPorts` means any peer on these ports.",
        empty_list_is_everyone,
    ),
    Check(
        "rule-for-everyone",
        Severity.WARNING,
        "Ports without peers mean the whole world and all nodes, and so does any NetworkPolicy rule without peers.",
        rule_for_everyone,
    ),
    Check(
        "requires-removed",
        Severity.ERROR,
        "`fromRequires` and `toRequires` must be empty since Cilium 1.19.",
        requires_removed,
        rejects=True,
    ),
)
