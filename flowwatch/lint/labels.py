"""Conditions on labels, and what can be proven about them.

A `Labels` value is what a selector asks for, with the namespaces it is limited to written as
conditions like any other. `covers` and `disjoint` claim only what holds for every endpoint there
could be; `matches` says of one endpoint whether it is meant, and None where its labels are not
known well enough. Nothing here knows in which sort of policy a selector was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

NAMESPACE = "io.kubernetes.pod.namespace"
CLUSTER = "io.cilium.k8s.policy.cluster"
ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
RESERVED = "reserved:"

IN, NOT_IN, EXISTS, DOES_NOT_EXIST = "In", "NotIn", "Exists", "DoesNotExist"
OPERATORS = (IN, NOT_IN, EXISTS, DOES_NOT_EXIST)

NAME_KEYS = ("app.kubernetes.io/name", "app", "k8s-app", "name", "run")
"""Labels by which a workload is usually called."""

_POD_SOURCES = ("any:", "k8s:")
_ON_EVERY_POD = frozenset({NAMESPACE, CLUSTER, ACCOUNT})
_NAMESPACE_NAME = NAMESPACE_LABELS + "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `key` carries no `k8s:` or `any:`, for pods have labels of no other source."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()


def term(key: str, operator: str, values: Iterable[str] = ()) -> Term:
    """A condition as it is written: sources that mean the same are left out, and a namespace
    meant by its own name label is a namespace like any other."""
    for source in _POD_SOURCES:
        key = key.removeprefix(source)
    return Term(NAMESPACE if key == _NAMESPACE_NAME else key, operator, frozenset(values))


def equal(key: str, value: str) -> Term:
    """The condition that a label has this value."""
    return term(key, IN, (value,))


class Labels:
    """Every one of some conditions. Equal where the conditions are."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = frozenset(terms)
        self.allowed: dict[str, frozenset[str]] = {}
        """The values that are left for a key, where only some are."""
        self.forbidden: dict[str, frozenset[str]] = {}
        self.present: set[str] = set()
        self.absent: set[str] = set()
        for each in self.terms:
            if each.operator == IN:
                self.allowed[each.key] = self.allowed.get(each.key, each.values) & each.values
                self.present.add(each.key)
            elif each.operator == NOT_IN:
                self.forbidden[each.key] = self.forbidden.get(each.key, frozenset()) | each.values
            elif each.operator == EXISTS:
                self.present.add(each.key)
            else:
                self.absent.add(each.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return ", ".join(sorted(_written(each) for each in self.terms)) or "every pod"

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The keys with the one value they must have, sorted."""
        return tuple(sorted((key, next(iter(values))) for key, values in self.allowed.items() if len(values) == 1))

    @cached_property
    def own(self) -> tuple[Term, ...]:
        """The conditions on labels of the endpoint itself, without those that only limit the scope."""
        scope = (NAMESPACE, CLUSTER)
        return tuple(each for each in self.terms if each.key not in scope and not each.key.startswith(NAMESPACE_LABELS))

    @property
    def namespace(self) -> str | None:
        """The one namespace that is meant; None where it may be several."""
        values = self.allowed.get(NAMESPACE)
        return next(iter(values)) if values is not None and len(values) == 1 else None

    @property
    def names(self) -> frozenset[str]:
        """What the workload is called, by the labels that usually say so."""
        return frozenset(value for key in NAME_KEYS for value in self.allowed.get(key, ()))

    def and_(self, *terms: Term) -> Labels:
        """These conditions and some more."""
        return Labels((*self.terms, *terms))

    def without(self, *keys: str) -> Labels:
        """These conditions but those on some keys."""
        return Labels(each for each in self.terms if each.key not in keys)


def covers(wide: Labels, narrow: Labels) -> bool:
    """Whether every endpoint that `narrow` means is certainly meant by `wide`, too. Of conditions that
    exclude each other nothing is claimed."""
    for key, values in wide.allowed.items():
        left = narrow.allowed.get(key)
        if not left or not left <= values:
            return False
    for key in wide.present:
        if key not in narrow.present and not (key in _ON_EVERY_POD and NAMESPACE in narrow.present):
            return False
    for key, values in wide.forbidden.items():
        left = narrow.allowed.get(key)
        excluded = left is not None and not left & values
        if not excluded and key not in narrow.absent and not values <= narrow.forbidden.get(key, frozenset()):
            return False
    return all(key in narrow.absent for key in wide.absent)


def disjoint(one: Labels, other: Labels) -> bool:
    """Whether certainly no endpoint is meant by both."""
    for key, values in one.allowed.items():
        left = other.allowed.get(key)
        if left is not None and not left & values:
            return True
        if values <= other.forbidden.get(key, frozenset()):
            return True
    if any(values <= one.forbidden.get(key, frozenset()) for key, values in other.allowed.items()):
        return True
    if not one.present.isdisjoint(other.absent) or not other.present.isdisjoint(one.absent):
        return True
    return (_no_pod(one) and NAMESPACE in other.present) or (_no_pod(other) and NAMESPACE in one.present)


def apart(one: Labels, other: Labels) -> bool:
    """Whether two selectors mean different workloads: certainly, or because they call them by
    different names. For claims that must not depend on labels nobody can foresee."""
    return disjoint(one, other) or bool(one.names and other.names and one.names.isdisjoint(other.names))


def matches(labels: Labels, endpoint: Mapping[str, str], unknown_keys: tuple[str, ...] = ()) -> bool | None:
    """Whether an endpoint with these labels is meant. None where that hangs on a label that is not
    there and begins like one of `unknown_keys`, the labels nobody told us."""
    unknown = False
    for each in labels.terms:
        value = endpoint.get(each.key)
        if value is None and unknown_keys and each.key.startswith(unknown_keys):
            unknown = True
        elif not _holds(each, value):
            return False
    return None if unknown else True


def facts(labels: Iterable[str], namespace: str = "") -> dict[str, str]:
    """Labels as Hubble writes them (`k8s:app=web`, `reserved:host`) as keys and values."""
    found = {NAMESPACE: namespace} if namespace else {}
    for label in labels:
        source, _, rest = label.partition(":")
        key, _, value = rest.partition("=")
        if source == "k8s":
            found[key] = value
        elif source == "reserved":
            found[f"{RESERVED}{key}"] = value
    return found


def _no_pod(labels: Labels) -> bool:
    return any(key.startswith(RESERVED) for key in labels.present)


def _holds(each: Term, value: str | None) -> bool:
    match each.operator:
        case "In":
            return value in each.values
        case "NotIn":
            return value not in each.values
        case "Exists":
            return value is not None
        case _:
            return value is None


def _written(each: Term) -> str:
    values = ", ".join(sorted(each.values))
    match each.operator:
        case "In" if len(each.values) == 1:
            return f"{each.key}={values}"
        case "Exists":
            return each.key
        case "DoesNotExist":
            return f"!{each.key}"
        case _:
            return f"{each.key} {each.operator} ({values})"
