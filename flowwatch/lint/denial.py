"""Checks of deny rules and of default deny: what they take away without saying so."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.cilium import SECTIONS
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.index import LabelIndex
from flowwatch.lint.labels import Labels
from flowwatch.lint.objects import fields_of
from flowwatch.lint.peers import Atom, Entity, Everyone, covers
from flowwatch.lint.portsets import PortSet
from flowwatch.lint.views import CILIUM, CLUSTER_POLICIES, Action, Direction, Kind, Rule, Spec

_HOSTS = ("cluster", "cluster-mesh", "all", "host")
LOWEST = 1000
"""The last priority a policy of an administrator can have."""
_EXEMPT = ("health", "ingress")


def cluster_in_ingress_deny(context: Context) -> Iterator[Problem]:
    """Denies of the node a pod runs on."""
    for rule in context.rules:
        if rule.direction is not Direction.INGRESS or rule.action is not Action.DENY:
            continue
        for at in rule.entities:
            if at.raw in _HOSTS:
                includes = "is" if at.raw == "host" else "includes `host` and `remote-node`, so it is also"
                yield at.problem(
                    f"`{at.raw}` {includes} the kubelet: its probes are denied, whatever any policy allows",
                    "deny `world` only, or allow what is wanted and let default deny do the rest",
                )


def deny_only(context: Context) -> Iterator[Problem]:
    """Policies that deny a little and so isolate from everything."""
    for spec in context.specs:
        if spec.policy.kind not in CILIUM:
            continue
        for section in ("ingressDeny", "egressDeny"):
            direction = SECTIONS[section][0]
            rules = list(spec.towards(direction))
            if not rules or direction not in spec.isolates or any(rule.is_allow for rule in rules):
                continue
            if not _is_isolated_by_others(context, spec, direction):
                yield spec.fields[section].problem(
                    f"besides what is denied here, everything else is denied as well: no rule allows {direction}",
                    f"add `enableDefaultDeny: {{{direction}: false}}`, or allow what is wanted",
                )


def _is_isolated_by_others(context: Context, spec: Spec, direction: Direction) -> bool:
    if spec.subject is None:
        others = [other for other in context.specs if other.selects_nodes and direction in other.isolates]
    else:
        others = list(context.isolating[direction].covering(spec.scope))
    return any(other is not spec and any(rule.is_allow for rule in other.towards(direction)) for other in others)


def allow_shadowed_by_deny(context: Context) -> Iterator[Problem]:
    """Allows of what is denied."""
    denying = {direction: LabelIndex(_denies(context, direction)) for direction in Direction}
    for spec in context.specs:
        if spec.policy.kind not in (*CILIUM, Kind.KNP):
            continue
        for direction in Direction:
            if spec.subject is not None:
                denies = list(denying[direction].covering(spec.scope))
            else:
                denies = [rule for rule in spec.towards(direction) if rule.action is Action.DENY]
            for rule in spec.towards(direction) if denies else ():
                by = _denied_by(rule, denies) if rule.is_allow else None
                if by is not None:
                    yield rule.at.problem(
                        f"nothing of this is allowed: {by.place} denies it, and a deny always wins",
                        "remove this rule, or take it out of what is denied",
                    )


def _denies(context: Context, direction: Direction) -> Iterator[tuple[Labels, Rule]]:
    """The denies that nothing can come before."""
    others = [spec for spec in context.specs if spec.policy.tier == "Admin"]
    may_allow = [spec.policy.priority for spec in others for rule in spec.rules if rule.action is not Action.DENY]
    first = min(may_allow, default=LOWEST + 1)
    for spec in context.specs:
        by_cluster = spec.policy.kind in CLUSTER_POLICIES
        is_late = spec.policy.tier == "Baseline" or first <= spec.policy.priority
        if spec.subject is not None and not (by_cluster and is_late):
            yield from ((spec.scope, rule) for rule in spec.towards(direction) if rule.action is Action.DENY)


def _denied_by(rule: Rule, denies: list[Rule]) -> Rule | None:
    """The first deny that takes some of a rule, where denies together take all of it."""
    first: Rule | None = None
    for peer in rule.peers:
        for grant in rule.grants:
            if not grant.ports.everything and not grant.ports.spans:
                return None
            found = next((deny for deny in denies if _takes(deny, peer.atom, grant.ports)), None)
            if found is None:
                return None
            first = first or found
    return first


def _takes(deny: Rule, atom: Atom, ports: PortSet) -> bool:
    on_ports = any(grant.ports.holds(ports) for grant in deny.grants)
    return on_ports and any(covers(peer.atom, atom) for peer in deny.peers)


def default_deny_off(context: Context) -> Iterator[Problem]:
    """Allows where nothing is denied."""
    for spec in context.specs:
        asked = fields_of(spec.fields.get("enableDefaultDeny")) if spec.policy.kind in CILIUM else {}
        if spec.subject is None:
            continue
        for direction in Direction:
            rules = [rule for rule in spec.towards(direction) if rule.is_allow and rule.peers]
            if direction.value not in asked or asked[direction.value].value is not False or not rules:
                continue
            if any(grant.l7 for rule in rules for grant in rule.grants):
                continue
            if not any(context.isolating[direction].meeting(spec.scope)):
                yield asked[direction.value].problem(
                    f"no policy here isolates these pods on {direction}: everything is allowed, whatever the rules say",
                    "remove the line, or isolate the pods with another policy",
                )


def default_deny_without_rules(context: Context) -> Iterator[Problem]:
    """Default deny that is asked for and comes from nothing."""
    for spec in context.specs:
        asked = fields_of(spec.fields.get("enableDefaultDeny")) if spec.policy.kind in CILIUM else {}
        for direction in Direction:
            at = asked.get(direction.value)
            if at is not None and at.value is True and not any(spec.towards(direction)) and spec.rules:
                yield at.problem(
                    f"default deny comes with rules, and there is none for {direction}: nothing is isolated",
                    f"write `{direction}: [{{}}]`",
                )


def default_deny_everywhere(context: Context) -> Iterator[Problem]:
    """Default deny for everything that has an identity, Cilium's own endpoints included."""
    for spec in context.specs:
        if spec.policy.kind is not Kind.CCNP or spec.subject is None or spec.subject.present or spec.subject.forbidden:
            continue
        if any(key.startswith("reserved:") for key in spec.subject.absent):
            continue
        for direction in (Direction.INGRESS, Direction.EGRESS):
            if direction not in spec.isolates:
                continue
            missing = [name for name in _EXEMPT if not _is_cared_for(context, spec, name, direction)]
            if missing:
                named = " and ".join(f"`{name}`" for name in missing)
                yield (spec.fields.get("endpointSelector") or spec.at).problem(
                    f"this isolates {named} on {direction}, too: Cilium's health checks, or its Gateway and Ingress",
                    f"select pods only with `{{key: io.kubernetes.pod.namespace, operator: Exists}}`, or allow {named}",
                )
                break


def _is_cared_for(context: Context, spec: Spec, name: str, direction: Direction) -> bool:
    """Whether an endpoint of Cilium's own has a policy of its own, or is allowed by this one."""
    for other in context.specs:
        if other.subject is not None and f"reserved:{name}" in other.subject.present:
            return True
    rules = [rule for rule in spec.towards(direction) if rule.is_allow]
    return any(
        isinstance(peer.atom, Everyone) or covers(peer.atom, Entity(name)) for rule in rules for peer in rule.peers
    )


CHECKS = (
    Check(
        "cluster-in-ingress-deny",
        Severity.WARNING,
        "`cluster` and `all` in `ingressDeny` include the host and other nodes, which blocks kubelet probes.",
        cluster_in_ingress_deny,
    ),
    Check(
        "deny-only",
        Severity.WARNING,
        "A policy that only denies puts its pods into default deny for everything else.",
        deny_only,
    ),
    Check(
        "allow-shadowed-by-deny",
        Severity.WARNING,
        "A deny of any policy wins over every allow; told where it takes all of a rule.",
        allow_shadowed_by_deny,
    ),
    Check(
        "default-deny-off",
        Severity.WARNING,
        "With `enableDefaultDeny: false` in the only policy of a pod, its allow rules change nothing.",
        default_deny_off,
    ),
    Check(
        "default-deny-without-rules",
        Severity.WARNING,
        "`enableDefaultDeny: true` does nothing for a direction without rules.",
        default_deny_without_rules,
    ),
    Check(
        "default-deny-everywhere",
        Severity.WARNING,
        "Default deny for `endpointSelector: {}` cluster-wide also hits health checks, Gateway and Ingress.",
        default_deny_everywhere,
    ),
)
