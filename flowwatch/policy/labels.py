"""Label selectors as they are written, and the scope Cilium adds to them.

A selector becomes requirements that must all be met. Which namespace and cluster it means where it does not say so
depends on where it stands; those rules are here and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flowwatch.policy.entries import Labels, Subject
from flowwatch.policy.nodes import Node
from flowwatch.policy.reading import Reader
from flowwatch.selectors import CLUSTER_LABEL, NAMESPACE_LABEL, Operator, Requirement
from flowwatch.yamlmarks import clip

KUBERNETES = "k8s"
RESERVED = "reserved"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
IN_SOME_NAMESPACE = Requirement(NAMESPACE_LABEL, Operator.EXISTS, (), KUBERNETES)

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,250}[A-Za-z0-9])?(/[A-Za-z0-9]([-A-Za-z0-9_.]{0,250}[A-Za-z0-9])?)?")
_SOURCE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,62})")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_ANY_SOURCE = "any"


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector as written: what `matchLabels` asks for, and what `matchExpressions` does."""

    labels: tuple[Requirement, ...] = ()
    expressions: tuple[Requirement, ...] = ()

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Everything it asks for."""
        return self.labels + self.expressions


def read_selector(node: Node, read: Reader, *, prefix: str = "", source: str = "") -> Selector:
    """A selector whose keys may name a label source; with `source` given they may not, for it is that one.

    `prefix` is put before every key.
    """
    fields = read.fields(node, ("matchLabels", "matchExpressions"))
    labels: list[Requirement] = []
    if "matchLabels" in fields:
        if not fields["matchLabels"].is_mapping:
            read.wrong(fields["matchLabels"], f"expected labels, not {fields['matchLabels'].described}")
        for key, value in fields["matchLabels"].items():
            where, name = _read_key(key, read, source)
            labels.append(Requirement(prefix + name, Operator.IN, (_read_value(value, read),), where))
    found = (_read_expression(one, read, prefix, source) for one in read.elements(fields.get("matchExpressions")))
    return Selector(tuple(labels), tuple(one for one in found if one is not None))


def _read_expression(node: Node, read: Reader, prefix: str, source: str) -> Requirement | None:
    fields = read.fields(node, ("key", "operator", "values"), ("key", "operator"))
    if "key" not in fields or "operator" not in fields:
        return None
    where, name = _read_key(fields["key"], read, source)
    word = read.choice(fields["operator"], list(Operator))
    if not word:
        return None
    operator = Operator(word)
    values = tuple(_read_value(value, read) for value in read.elements(fields.get("values")))
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        read.wrong(node, f"`{operator}` needs `values` to compare with")
    elif operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        read.wrong(fields["values"], f"`{operator}` takes no `values`")
    return Requirement(prefix + name, operator, tuple(sorted(values)), where)


def _read_key(node: Node, read: Reader, source: str) -> tuple[str, str]:
    text = str(node.raw)
    where, colon, name = text.partition(":")
    if not colon or source:
        where, name = source, text
    elif where == _ANY_SOURCE:
        where = ""
    elif not _SOURCE.fullmatch(where):
        name = ""
    if not _NAME.fullmatch(name):
        read.wrong(node, f"`{clip(text)}` cannot be the key of a label")
    return where, name


def _read_value(node: Node, read: Reader) -> str:
    if node.is_null:
        return ""
    text = read.text(node)
    if not _VALUE.fullmatch(text):
        what = "at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at either end"
        read.wrong(node, f"`{clip(text)}` cannot be the value of a label: expected {what}")
    return text


# ── scope ────────────────────────────────────────────────────────────────────────────────────────────


def in_namespace(namespace: str) -> Requirement:
    """The requirement to be a pod of a namespace."""
    return Requirement(NAMESPACE_LABEL, Operator.IN, (namespace,), KUBERNETES)


def _is_kubernetes(requirement: Requirement) -> bool:
    return requirement.source in ("", KUBERNETES)


def cilium_subject(selector: Selector, namespace: str) -> Subject:
    """An `endpointSelector`: in the policy's own namespace whatever it says, where the policy has one."""
    if not namespace:
        return Subject(selector.requirements)
    kept = [one for one in selector.labels if not (one.key == NAMESPACE_LABEL and one.source == KUBERNETES)]
    return Subject((*kept, *selector.expressions, in_namespace(namespace)))


def cilium_peer(selector: Selector, namespace: str, subject: Selector) -> Labels:
    """An element of `fromEndpoints` or `toEndpoints`."""
    asked = selector.requirements
    if any(one.source == RESERVED for one in asked):
        return Labels(asked)
    if not any(one.key == NAMESPACE_LABEL and _is_kubernetes(one) for one in asked):
        if not namespace:
            if not any(one.key == "init" and one.source == RESERVED for one in subject.requirements):
                asked = (*asked, IN_SOME_NAMESPACE)
        elif not any(one.key.startswith(NAMESPACE_LABELS) and _is_kubernetes(one) for one in asked):
            asked = (*asked, in_namespace(namespace))
    return local(asked)


def local(requirements: tuple[Requirement, ...]) -> Labels:
    """Those of the local cluster, unless a cluster is asked for."""
    return Labels(requirements, local=not any(one.key == CLUSTER_LABEL for one in requirements))


def read_pods(namespaces: Node | None, pods: Node | None, namespace: str, read: Reader) -> tuple[Requirement, ...]:
    """A namespace selector and a pod selector together, as Kubernetes has them; without the former, the pods of one
    namespace."""
    asked: tuple[Requirement, ...] = ()
    if pods is not None:
        asked = read_selector(pods, read, source=KUBERNETES).requirements
    if namespaces is None:
        return (*asked, in_namespace(namespace))
    scope = read_selector(namespaces, read, prefix=NAMESPACE_LABELS, source=KUBERNETES).requirements
    return (*asked, *scope, IN_SOME_NAMESPACE)
