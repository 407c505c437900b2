"""Checks of what a policy is about: its subject, its namespace, its directions."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.cilium import SECTIONS
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.kubernetes import TYPES
from flowwatch.lint.labels import IN, NAMESPACE
from flowwatch.lint.objects import at as value_at
from flowwatch.lint.views import CILIUM, CLUSTER_POLICIES, Kind, Role
from flowwatch.yamlmarks import clip


def no_rules(context: Context) -> Iterator[Problem]:
    """Specs without any rule."""
    for spec in context.specs:
        if spec.policy.kind in CILIUM and not spec.rules:
            written = [spec.fields[section] for section in SECTIONS if section in spec.fields]
            if not all(section.is_list for section in written):
                continue
            yield (written[0] if written else spec.at).problem(
                "there is no rule at all, so the policy is rejected and isolates nothing",
                "for default deny write `ingress: [{}]` or `egress: [{}]`",
            )
    for policy in context.policies:
        if not policy.specs:
            yield policy.top.problem(f"`{policy.kind}` without `spec` is rejected", "")


def subject_choice(context: Context) -> Iterator[Problem]:
    """Subjects that are given twice, or not at all, or in a way the kind does not allow."""
    for spec in context.specs:
        kind = spec.policy.kind
        if kind in CLUSTER_POLICIES:
            subject = spec.fields.get("subject")
            chosen = [] if subject is None else [key for key, _ in subject.items() if key.raw in ("namespaces", "pods")]
            if len(chosen) != 1:
                yield (subject or spec.at).problem("expected exactly one of `subject.namespaces` and `subject.pods`")
        elif kind in CILIUM:
            endpoints, nodes = spec.fields.get("endpointSelector"), spec.fields.get("nodeSelector")
            if endpoints is None and nodes is None:
                yield spec.at.problem(
                    "neither `endpointSelector` nor `nodeSelector` is given, so the policy is rejected",
                    "write `endpointSelector: {}` for every pod",
                )
            elif endpoints is not None and nodes is not None:
                yield nodes.problem("`endpointSelector` and `nodeSelector` exclude each other", "write two policies")
            elif nodes is not None and kind is Kind.CNP:
                yield nodes.problem(
                    "`nodeSelector` works in a CiliumClusterwideNetworkPolicy only; here it is dropped by the agent",
                    "make it a CiliumClusterwideNetworkPolicy",
                )


def namespace_missing(context: Context) -> Iterator[Problem]:
    """Namespaced policies that do not say where they belong."""
    for policy in context.policies:
        if policy.namespaced and not policy.thing.namespace:
            yield (value_at(policy.top, "metadata") or policy.top).problem(
                "`metadata.namespace` is missing: applied as it is, the policy lands in `default`",
                "name the namespace",
            )


def subject_other_namespace(context: Context) -> Iterator[Problem]:
    """Subjects of a CiliumNetworkPolicy that name a namespace not its own."""
    for spec, selector in context.selectors:
        own = spec.policy.thing.namespace
        if spec.policy.kind is not Kind.CNP or selector.role is not Role.SUBJECT or not own:
            continue
        for each in selector.written:
            named = [value.raw for value in each.values]
            if each.name.removeprefix("k8s:").removeprefix("any:") != NAMESPACE or each.operator != IN or own in named:
                continue
            what = (
                "is overwritten: the policy selects pods of its own namespace"
                if each.name.startswith("k8s:")
                else "makes the policy select nothing"
            )
            yield each.key.problem(
                f"the namespace {_listed(named)} in the subject of a policy of namespace `{own}` {what}",
                f"put the policy into {_listed(named)}, or make it a CiliumClusterwideNetworkPolicy",
            )


def policy_types_missing(context: Context) -> Iterator[Problem]:
    """NetworkPolicies that leave it open which directions they isolate."""
    for spec in context.specs:
        if spec.policy.kind is Kind.KNP and "policyTypes" not in spec.fields:
            directions = " and ".join(sorted(spec.isolates))
            yield spec.at.problem(
                f"`policyTypes` is missing: {directions} is isolated, because of the rules there are",
                "say which directions are meant: `policyTypes: [Ingress, Egress]`",
            )


def direction_not_in_policy_types(context: Context) -> Iterator[Problem]:
    """Rules of a direction that the policy does not speak about."""
    for spec in context.specs:
        if spec.policy.kind is not Kind.KNP or "policyTypes" not in spec.fields:
            continue
        for direction, name in TYPES.items():
            if direction not in spec.isolates and any(spec.towards(direction)):
                yield spec.fields[direction.value].problem(
                    f"`policyTypes` lacks `{name}`: Kubernetes ignores these rules, Cilium enforces them",
                    f"add `{name}` to `policyTypes`, or remove the rules",
                )


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{clip(name)}`" for name in names)


CHECKS = (
    Check(
        "no-rules",
        Severity.ERROR,
        "A Cilium policy needs at least one rule in `ingress`, `ingressDeny`, `egress` or `egressDeny`.",
        no_rules,
        rejects=True,
    ),
    Check(
        "subject-choice",
        Severity.ERROR,
        "Exactly one of `endpointSelector` and `nodeSelector` is allowed, the latter only cluster-wide.",
        subject_choice,
        rejects=True,
    ),
    Check(
        "namespace-missing",
        Severity.WARNING,
        "A namespaced policy without `metadata.namespace` is applied to whatever namespace happens to be current.",
        namespace_missing,
    ),
    Check(
        "subject-other-namespace",
        Severity.WARNING,
        "A CiliumNetworkPolicy selects pods of its own namespace only: another one in the selector is overwritten, "
        "or makes it select nothing.",
        subject_other_namespace,
    ),
    Check(
        "policy-types-missing",
        Severity.WARNING,
        "Without `policyTypes`, ingress is always isolated and egress only where egress rules are written.",
        policy_types_missing,
    ),
    Check(
        "direction-not-in-policy-types",
        Severity.WARNING,
        "Rules of a direction missing in `policyTypes` are ignored by the API, and enforced by Cilium.",
        direction_not_in_policy_types,
    ),
)
