"""Checks of selectors: are they valid, are their labels part of an identity, do they mean what they seem to?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.conditions import Condition, conditions
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import (
    EXISTS,
    IN,
    NAMESPACE,
    NAMESPACE_LABELS,
    NOT_IN,
    OPERATORS,
    Labels,
)
from flowwatch.lint.objects import fields_of
from flowwatch.lint.views import CILIUM, Kind, Role, Selector, Spec
from flowwatch.selectors import NOT_IN_IDENTITY
from flowwatch.yamlmarks import clip, did_you_mean

_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SOURCE = re.compile(r"[a-z][a-z0-9-]*:")
_PLAIN = (IN, NOT_IN)

_KEPT = (NAMESPACE, "io.cilium.k8s.", "app.kubernetes.io/")

_WELL_KNOWN_SPELLING = {
    "k8s.io.kubernetes.pod.namespace": f"k8s:{NAMESPACE}",
    "k8s:io.kubernetes.namespace": f"k8s:{NAMESPACE}",
    "io.kubernetes.namespace": f"k8s:{NAMESPACE}",
    "kubernetes.io/metadata.name": f"k8s:{NAMESPACE}",
    "k8s:kubernetes.io/metadata.name": f"k8s:{NAMESPACE}",
    "namespace": f"k8s:{NAMESPACE}",
    "k8s:namespace": f"k8s:{NAMESPACE}",
}
_DNS_LABELS = {"k8s-app": ("kube-dns", "coredns", "node-local-dns"), "app.kubernetes.io/name": ("coredns",)}
_DNS_NAMESPACE = "kube-system"


def selector_invalid(context: Context) -> Iterator[Problem]:
    """Conditions that the API server does not take."""
    for _, selector in context.selectors:
        for each in selector.written:
            yield from _invalid(each)


def _invalid(each: Condition) -> Iterator[Problem]:
    if not _is_key(each.name):
        yield each.key.problem(f"`{clip(each.name)}` cannot be the key of a label")
    if each.operator not in OPERATORS:
        hint = did_you_mean(each.operator, OPERATORS) or f"expected one of {', '.join(OPERATORS)}"
        yield each.key.problem(f"there is no operator `{clip(each.operator)}`", hint)
    elif each.operator in _PLAIN and not each.values:
        yield each.key.problem(f"`{each.operator}` needs `values` to compare with")
    elif each.operator not in _PLAIN and each.values:
        yield each.key.problem(f"`{each.operator}` takes no `values`")
    for value in each.values:
        if value.is_null:
            continue
        if not value.is_scalar or value.kind != "text":
            yield value.problem(f"the value of a label is text, not {value.described}", "put it between quotes")
        elif not _VALUE.fullmatch(value.raw):
            yield value.problem(
                f"`{clip(value.raw)}` cannot be the value of a label",
                "at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at either end",
            )


def _is_key(key: str) -> bool:
    source = _SOURCE.match(key)
    prefix, slash, name = key[source.end() if source else 0 :].rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or bool(_PREFIX.fullmatch(prefix)))


def label_misspelt(context: Context) -> Iterator[Problem]:
    """Keys that look like the ones Cilium knows and are others."""
    for spec, selector in context.selectors:
        if spec.policy.kind not in CILIUM or selector.role not in (Role.SUBJECT, Role.PEER):
            continue
        for each in selector.written:
            if each.name in ("reserved", "k8s:reserved"):
                named = each.values[0].raw if each.values else "health"
                yield each.key.problem(
                    f"`{each.name}` is an ordinary label here, not Cilium's own",
                    f'write `"reserved:{clip(named)}": ""`',
                )
            elif each.name in _WELL_KNOWN_SPELLING and not _is_carried(context, each.name):
                yield each.key.problem(
                    f"`{each.name}` is an ordinary label here and does not mean a namespace",
                    f"write `{_WELL_KNOWN_SPELLING[each.name]}`; labels of the namespace are `{NAMESPACE_LABELS}<key>`",
                )


def _is_carried(context: Context, key: str) -> bool:
    """Whether pods really have such a label."""
    bare = key.removeprefix("k8s:")
    if any(bare in workload.labels for workload in context.workloads):
        return True
    return context.observed is not None and any(bare in each.labels for each in context.observed.endpoints)


def label_not_in_identity(context: Context) -> Iterator[Problem]:
    """Labels that Cilium leaves out of identities."""
    if context.settings.text("labels") or context.settings.text("label-prefix-file"):
        return
    for spec, selector in context.selectors:
        if selector.role not in (Role.SUBJECT, Role.PEER):
            continue
        for each in selector.written:
            bare = each.name.removeprefix("k8s:").removeprefix("any:")
            if bare.startswith(_KEPT) or not NOT_IN_IDENTITY.match(bare):
                continue
            if spec.policy.kind in CILIUM and each.name in _WELL_KNOWN_SPELLING:
                continue
            meaning = "nothing" if each.operator in (IN, EXISTS) else "every pod"
            yield each.key.problem(
                f"`{clip(bare)}` is no part of a Cilium identity, so this condition holds for {meaning}",
                "select by a label that all pods of the workload share",
            )


def negative_selector(context: Context) -> Iterator[Problem]:
    """Conditions that endpoints without the label meet as well."""
    for spec, selector in context.selectors:
        if selector.role is Role.NODE:
            continue
        written = selector.written
        present = {each.name for each in written if each.operator in (IN, EXISTS)}
        if spec.policy.kind is Kind.CCNP and selector.role is Role.SUBJECT and written and not selector.labels.present:
            yield written[0].key.problem(
                "this only says what an endpoint must not have, so Cilium's health and ingress endpoints meet it",
                f"add `{{key: {NAMESPACE}, operator: Exists}}`",
            )
            continue
        for each in written:
            if each.operator == NOT_IN and each.name not in present and not _always_there(each.name):
                yield each.key.problem(
                    f"pods without the label `{clip(each.name)}` meet this condition, too",
                    f"add `{{key: {clip(each.name)}, operator: Exists}}` if they are not meant",
                )


def _always_there(key: str) -> bool:
    bare = key.removeprefix("k8s:").removeprefix("any:").removeprefix(NAMESPACE_LABELS)
    return bare in (NAMESPACE, "kubernetes.io/metadata.name")


def peer_own_namespace_only(context: Context) -> Iterator[Problem]:
    """Peers that were meant to be in another namespace."""
    for spec, selector in context.selectors:
        if spec.policy.kind is not Kind.CNP or selector.role is not Role.PEER or not spec.policy.thing.namespace:
            continue
        labels = selector.labels
        if labels.namespace != spec.policy.thing.namespace or not labels.own or _names_scope(selector):
            continue
        where = _elsewhere(context, spec, labels)
        if where:
            yield selector.at.problem(
                f"this means pods of namespace `{labels.namespace}` only, and pods with these labels are in `{where}`",
                f"add `k8s:{NAMESPACE}: {where}`",
            )


def _names_scope(selector: Selector) -> bool:
    return any(NAMESPACE in each.name for each in selector.written)


def _elsewhere(context: Context, spec: Spec, labels: Labels) -> str:
    """The other namespace in which such pods are known to be, where their own has none."""
    anywhere = labels.without(NAMESPACE)
    if _is_known(context, spec, labels):
        return ""
    for key, names in _DNS_LABELS.items():
        if labels.allowed.get(key, frozenset()) & set(names):
            return _DNS_NAMESPACE if labels.namespace != _DNS_NAMESPACE else ""
    pods = [workload.thing.namespace for workload in context.workloads_of(anywhere)]
    pods += [endpoint.identity.namespace for endpoint in context.endpoints_of(anywhere)]
    pods += [other.scope.namespace or "" for other in _subjects_like(context, anywhere)]
    return min(filter(None, pods), default="")


def _is_known(context: Context, spec: Spec, labels: Labels) -> bool:
    """Whether pods of the policy's own namespace may be meant."""
    if context.may_be_workload(labels) or any(context.endpoints_of(labels)):
        return True
    if any(other.policy is not spec.policy for other in context.telling.meeting(labels)):
        return True
    return bool(spec.scope.own) and not _differ(spec.scope, labels)


def _differ(one: Labels, other: Labels) -> bool:
    return bool(one.names and other.names and one.names.isdisjoint(other.names))


def _subjects_like(context: Context, labels: Labels) -> Iterator[Spec]:
    """Specs whose subject is certainly meant by some labels."""
    if labels.pairs:
        for other in context.by_label.get(labels.pairs[0], ()):
            if other.scope.namespace and set(labels.pairs) <= set(other.scope.pairs):
                yield other


def selectors_or_ed(context: Context) -> Iterator[Problem]:
    """Two list items in a row, one with namespaces, the other with pods."""
    for rule in context.rules:
        if rule.spec.policy.kind is not Kind.KNP:
            continue
        previous: set[str] = set()
        for at in rule.fields.get("from" if "from" in rule.fields else "to", rule.at).elements():
            fields = fields_of(at)
            only = set(fields)
            if previous == {"namespaceSelector"} and only == {"podSelector"} and any(conditions(fields["podSelector"])):
                yield at.problem(
                    "this item adds pods of the policy's own namespace to every pod of the namespaces above",
                    "to mean these pods in those namespaces, make it one item: remove the `-` before `podSelector`",
                )
            previous = only


CHECKS = (
    Check(
        "selector-invalid",
        Severity.ERROR,
        "`In` and `NotIn` need values, `Exists` and `DoesNotExist` take none; labels are text, 63 characters at most.",
        selector_invalid,
        rejects=True,
    ),
    Check(
        "label-misspelt",
        Severity.WARNING,
        "`k8s:io.kubernetes.pod.namespace` means a namespace, `reserved:<name>` an identity of Cilium's own; keys that "
        "look alike are ordinary labels.",
        label_misspelt,
    ),
    Check(
        "label-not-in-identity",
        Severity.WARNING,
        "Cilium leaves labels that change from pod to pod out of identities: nothing can be selected by them.",
        label_not_in_identity,
    ),
    Check(
        "negative-selector",
        Severity.WARNING,
        "`NotIn` and `DoesNotExist` are met by endpoints that lack the label, cluster-wide by health and ingress, too.",
        negative_selector,
    ),
    Check(
        "peer-own-namespace-only",
        Severity.WARNING,
        "Peers of a CiliumNetworkPolicy that name no namespace are those of its own.",
        peer_own_namespace_only,
    ),
    Check(
        "selectors-or-ed",
        Severity.WARNING,
        "`namespaceSelector` and `podSelector` in one item mean both, in two items either.",
        selectors_or_ed,
    ),
)
