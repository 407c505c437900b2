"""Checks of selectors against what was observed: whom do they mean, and whom did they once mean?

Nothing is claimed of pods the files themselves make (a CronJob may not have run), nor where
nothing at all was observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowwatch.errors import Problem
from flowwatch.lint.check import Check, Needs
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import NAME_KEYS, NAMESPACE, RESERVED, Labels, Term, matches
from flowwatch.lint.observed import Endpoint, Observed
from flowwatch.lint.views import Role, Spec
from flowwatch.yamlmarks import clip

_SHOWN = 5


def subject_unseen(context: Context) -> Iterator[Problem]:
    """Subjects that no pod was ever part of."""
    for observed, spec, labels in _unseen_subjects(context):
        if _drifted(context, labels) is None:
            yield (spec.fields.get("endpointSelector") or spec.fields.get("podSelector") or spec.at).problem(
                f"no pod with {labels} was seen {observed.window}, so this policy governs nobody",
                _nearest_hint(observed, labels),
            )
    seen = context.observed
    for definition in context.native.definitions:
        if seen is not None and definition.labels is not None and not _may_exist(context, definition.labels):
            yield definition.at.problem(
                f"no pod with {definition.labels} was seen {seen.window}",
                _nearest_hint(seen, definition.labels),
            )


def peer_unseen(context: Context) -> Iterator[Problem]:
    """Peers that no pod was ever part of."""
    if context.observed is None:
        return
    for _, selector in context.selectors:
        if selector.role is not Role.PEER or not _is_telling(selector.labels):
            continue
        if not _may_exist(context, selector.labels):
            yield selector.at.problem(
                f"no pod with {selector.labels} was seen {context.observed.window}",
                _nearest_hint(context.observed, selector.labels),
            )


def label_drift(context: Context) -> Iterator[Problem]:
    """Subjects whose pods seem to have got another label."""
    for observed, spec, labels in _unseen_subjects(context):
        drifted = _drifted(context, labels)
        if drifted is not None:
            endpoint, each = drifted
            has = endpoint.labels.get(each.key)
            said = f"`{clip(each.key)}={clip(has)}`" if has is not None else f"no `{clip(each.key)}`"
            yield (spec.fields.get("endpointSelector") or spec.fields.get("podSelector") or spec.at).problem(
                f"no pod with {labels} was seen {observed.window}, but one with {said} that no policy here selects",
                "follow the label in the policy, or bring it back",
            )


def pod_unselected(context: Context) -> Iterator[Problem]:
    """Pods that no policy selects, in namespaces that have policies."""
    if context.observed is None:
        return
    policies = {policy.thing.namespace: policy for policy in reversed(context.policies) if policy.namespaced}
    for namespace, policy in policies.items():
        pods = context.observed.by_namespace.get(namespace, [])
        speaking = context.specs_about(namespace)
        alone = [each for each in pods if not any(matches(spec.scope, each.labels) for spec in speaking)]
        if alone:
            names = sorted({_called(each) for each in alone})
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield policy.top.problem(
                f"no policy selects these pods of `{namespace}`, so everything is allowed to and from them: "
                f"{', '.join(names[:_SHOWN])}{more}",
                "select them, or isolate the whole namespace",
            )


def policy_not_in_files(context: Context) -> Iterator[Problem]:
    """Policies that the cluster enforces and the files do not hold."""
    if context.observed is None or not context.policies:
        return
    known = {(str(policy.kind), policy.thing.namespace, policy.thing.name) for policy in context.policies}
    unnamed = {(kind, name) for kind, namespace, name in known if not namespace}
    for named, denied in sorted(set(context.observed.policies)):
        kind, _, rest = named.partition(":")
        namespace, _, name = rest.rpartition("/")
        if (kind, namespace, name) in known or (kind, name) in unnamed:
            continue
        did = "denied" if denied else "allowed"
        yield Problem(
            context.observed.where,
            0,
            "",
            f"`{named}` {did} traffic {context.observed.window} and is not among the files",
            "",
            "check the policies the cluster has, too: `kubectl get` them into the files",
        )


def _unseen_subjects(context: Context) -> Iterator[tuple[Observed, Spec, Labels]]:
    for spec in context.specs:
        if context.observed is None or spec.subject is None or not spec.scope.own or not _is_telling(spec.scope):
            continue
        if not _may_exist(context, spec.scope):
            yield context.observed, spec, spec.scope


def _is_telling(labels: Labels) -> bool:
    """Whether pods could be told by it: it asks for something, and not for Cilium's own endpoints."""
    if labels.namespace == "" or any(key.startswith(RESERVED) for key in labels.present):
        return False
    return bool(labels.own) or labels.namespace is not None


def _may_exist(context: Context, labels: Labels) -> bool:
    return any(context.endpoints_of(labels)) or context.may_be_workload(labels)


def _drifted(context: Context, labels: Labels) -> tuple[Endpoint, Term] | None:
    """A pod that differs from what is asked for in a single label, and that nothing else selects."""
    if context.observed is None or labels.namespace is None or len(labels.own) < 2:
        return None
    for endpoint in context.observed.by_namespace.get(labels.namespace, ()):
        missed = _missed(labels, endpoint.labels)
        others = context.specs_about(labels.namespace)
        if len(missed) == 1 and not any(spec.scope.own and matches(spec.scope, endpoint.labels) for spec in others):
            return endpoint, missed[0]
    return None


def _missed(labels: Labels, endpoint: Mapping[str, str]) -> list[Term]:
    return [each for each in labels.terms if not matches(Labels((each,)), endpoint)]


def _called(endpoint: Endpoint) -> str:
    names = [value for key, value in endpoint.labels.items() if key in NAME_KEYS]
    return f"`{clip(min(names))}`" if names else "`" + clip(", ".join(_own(endpoint)[:2]) or "?") + "`"


def _own(endpoint: Endpoint) -> list[str]:
    return [f"{key}={value}" for key, value in endpoint.labels.items() if key != NAMESPACE and "cilium" not in key]


def _nearest_hint(observed: Observed, labels: Labels) -> str:
    """The pod that comes closest."""
    if labels.namespace is not None and labels.namespace not in observed.by_namespace:
        return f"nothing at all was seen in namespace `{labels.namespace}`"
    pods = observed.by_namespace.get(labels.namespace or "", [])
    near = min(pods, key=lambda pod: len(_missed(labels, pod.labels)), default=None)
    if near is None or len(_missed(labels, near.labels)) >= len(labels.terms) - 1:
        return ""
    return f"closest is a pod with {clip(', '.join(_own(near)), 120)}"


CHECKS = (
    Check(
        "subject-unseen",
        Severity.WARNING,
        "A subject that no observed pod is part of governs nobody: a typo, or a workload that is gone.",
        subject_unseen,
        Needs.OBSERVED,
    ),
    Check(
        "peer-unseen",
        Severity.WARNING,
        "A peer that no observed pod is part of allows nobody: a typo, or a workload that is gone.",
        peer_unseen,
        Needs.OBSERVED,
    ),
    Check(
        "label-drift",
        Severity.WARNING,
        "A pod that differs from a subject in one label, and that nothing else selects, has most likely changed it.",
        label_drift,
        Needs.OBSERVED,
    ),
    Check(
        "pod-unselected",
        Severity.INFO,
        "A pod that no policy selects is allowed everything.",
        pod_unselected,
        Needs.OBSERVED,
    ),
    Check(
        "policy-not-in-files",
        Severity.WARNING,
        "A policy that Hubble names and the files lack decides about traffic without being declared.",
        policy_not_in_files,
        Needs.OBSERVED,
    ),
)
