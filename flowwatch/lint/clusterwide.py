"""Checks of the policies of cluster administrators: tiers, priorities, and what never gets its turn."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.index import LabelIndex
from flowwatch.lint.objects import elements, fields_of, number_of
from flowwatch.lint.peers import covers
from flowwatch.lint.views import CLUSTER_POLICIES, Action, Direction, Kind, Rule, Spec
from flowwatch.yamlmarks import Marked, clip

LOWEST = 1000
TIERS = ("Admin", "Baseline")
_ACTIONS = {
    Kind.KCNP: ("Accept", "Deny", "Pass"),
    Kind.ANP: ("Allow", "Deny", "Pass"),
    Kind.BANP: ("Allow", "Deny"),
}
_EGRESS_ONLY = ("networks", "nodes", "domainNames")


def cluster_policy_invalid(context: Context) -> Iterator[Problem]:
    """Values that the API server does not take."""
    for spec in _specs(context):
        kind = spec.policy.kind
        tier, priority = spec.fields.get("tier"), spec.fields.get("priority")
        if kind is Kind.KCNP and (tier is None or tier.raw not in TIERS):
            yield (tier or spec.at).problem("expected `tier: Admin` or `tier: Baseline`")
        if kind is not Kind.BANP and (priority is None or number_of(priority.raw, LOWEST + 1) > LOWEST):
            yield (priority or spec.at).problem(f"expected `priority` from 0 to {LOWEST}, 0 being the first")
        if kind is Kind.BANP and spec.policy.thing.name != "default":
            yield spec.policy.top.problem("the only BaselineAdminNetworkPolicy there can be is named `default`")
        for rule in spec.rules:
            yield from _invalid(rule)


def _invalid(rule: Rule) -> Iterator[Problem]:
    action = rule.fields.get("action")
    known = _ACTIONS[rule.spec.policy.kind]
    if action is None or action.raw not in known:
        yield (action or rule.at).problem(f"expected `action` to be one of {', '.join(known)}")
    for at in (*elements(rule.fields.get("from")), *elements(rule.fields.get("to"))):
        for key, value in fields_of(at).items():
            if key in _EGRESS_ONLY and rule.direction is Direction.INGRESS:
                yield value.problem(f"`{key}` is possible on egress only, so the policy is rejected")
            elif key == "domainNames" and rule.action is not Action.ALLOW:
                yield value.problem("`domainNames` are possible with `action: Accept` only, so the policy is rejected")


def cluster_policy_hidden(context: Context) -> Iterator[Problem]:
    """Rules that an earlier one decides entirely."""
    index = LabelIndex((spec.scope, spec) for spec in _specs(context) if spec.subject is not None)
    for spec in _specs(context):
        earlier = (
            [] if spec.subject is None else [each for each in index.covering(spec.scope) if _is_before(each, spec)]
        )
        for number, rule in enumerate(spec.rules):
            before = [each for other in earlier for each in other.towards(rule.direction)]
            before += [each for each in spec.rules[:number] if each.direction is rule.direction]
            hiding = next((each for each in before if _decides(each, rule)), None)
            if hiding is not None:
                yield (rule.fields.get("action") or rule.at).problem(
                    f"this is never reached: {hiding.place} comes first and decides all of it ({_verb(hiding)})",
                    "give it a lower `priority` number, or put it further up in the list",
                )


def _is_before(other: Spec, spec: Spec) -> bool:
    """Whether a policy certainly has its turn before another one."""
    return other.policy.tier == spec.policy.tier and other.policy.priority < spec.policy.priority


def _decides(first: Rule, rule: Rule) -> bool:
    if not rule.peers or not all(grant.ports.everything or grant.ports.spans for grant in rule.grants):
        return False
    return all(any(each.ports.holds(grant.ports) for each in first.grants) for grant in rule.grants) and all(
        any(covers(each.atom, peer.atom) for each in first.peers) for peer in rule.peers
    )


def _verb(rule: Rule) -> str:
    action: Marked | None = rule.fields.get("action")
    return clip(action.raw) if action is not None else str(rule.action)


def baseline_unreached(context: Context) -> Iterator[Problem]:
    """Baseline rules for pods that a policy isolates already."""
    for spec in _specs(context):
        if spec.policy.tier != "Baseline" or spec.subject is None:
            continue
        for direction in Direction:
            isolating = next(context.isolating[direction].covering(spec.scope), None)
            if isolating is not None and any(spec.towards(direction)):
                yield spec.fields[direction.value].problem(
                    f"these rules are never reached: {isolating.policy.thing.title} isolates these pods on {direction}",
                    "Baseline only speaks where no NetworkPolicy does",
                )


def _specs(context: Context) -> list[Spec]:
    return [spec for spec in context.specs if spec.policy.kind in CLUSTER_POLICIES]


CHECKS = (
    Check(
        "cluster-policy-invalid",
        Severity.ERROR,
        "Tier, priority (0 to 1000) and action have few values; networks, nodes and domain names few places.",
        cluster_policy_invalid,
        rejects=True,
    ),
    Check(
        "cluster-policy-hidden",
        Severity.WARNING,
        "In a tier the lowest priority number and the first rule win: what they decide hides what comes later.",
        cluster_policy_hidden,
    ),
    Check(
        "baseline-unreached",
        Severity.WARNING,
        "Baseline rules never override a NetworkPolicy that isolates the same pods.",
        baseline_unreached,
    ),
)
