"""How a peer is written in one line of text, and read back: for tables, where YAML has mappings.

`written` and `read_inline` are each other's inverse for peers without a name of their own: pods
by labels (`argo/{pxe-sync=true}`), names (`*.github.com`) and ranges of addresses (`10.0.0.0/8
except 10.1.0.0/16`). Peers with a name are written by their name, and only an allowlist knows
what that means.
"""

from __future__ import annotations

import ipaddress
import re

from flowwatch.allowlist.peerfields import CIDR, DNS_PATTERN, LABEL_KEY, LABEL_VALUE, LONGEST_DNS_NAME
from flowwatch.allowlist.rules import External, Operator, Pods, Requirement, Selector
from flowwatch.allowlist.vocabulary import NAME, NAMESPACE, RESERVED

BY_NAME = "fqdn:"
"""What may stand before a name, so that it cannot be taken for anything else."""

EVERY_NAMESPACE = "*"

_MANY = re.compile(r"(\S+) (In|NotIn) \(([^()]*)\)")
_LAST_LABEL = re.compile(r"[A-Za-z*][-A-Za-z0-9*]*")


def written(selector: Selector, home: str = "") -> str:
    """A selector as one text. Within the table of the namespace `home`, its own names stand alone."""
    if isinstance(selector, Pods):
        return _written_pods(selector, home)
    if isinstance(selector, External):
        return _written_external(selector)
    return selector.name


def is_named(selector: Pods | External) -> bool:
    """Whether a selector goes by a name that an allowlist defines."""
    if isinstance(selector, External):
        return bool(NAME.fullmatch(selector.name)) and selector.name not in (*selector.patterns, *selector.cidrs)
    namespace, slash, name = selector.name.partition("/")
    return bool(slash and selector.requirements and namespace == selector.namespace and NAME.fullmatch(name))


def read_inline(text: str) -> Selector | None:
    """The peer that a text spells out; None where it spells out none."""
    namespace, slash, rest = text.partition("/")
    if slash and (namespace == EVERY_NAMESPACE or NAMESPACE.fullmatch(namespace)):
        if rest == "*" and namespace != EVERY_NAMESPACE:
            return Pods(text, namespace)
        if rest.startswith("{") and rest.endswith("}"):
            return _read_pods(text, "" if namespace == EVERY_NAMESPACE else namespace, rest[1:-1])
    return _read_range(text) or _read_name(text)


def read_address(text: str) -> str | None:
    """An address or a range of addresses as a range; None where it is neither."""
    try:
        if CIDR.fullmatch(text):
            return str(ipaddress.ip_network(text, strict=False))
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return None
    return f"{address}/{address.max_prefixlen}"


def _written_pods(pods: Pods, home: str) -> str:
    if not pods.namespace and not pods.requirements:
        return "pods"
    if is_named(pods):
        name = pods.name.partition("/")[2]
        alone = pods.namespace == home and name not in RESERVED
        return name if alone else f"{name} ({pods.namespace})"
    if not pods.requirements:
        return f"{pods.namespace}/*"
    labels = ", ".join(str(requirement) for requirement in pods.requirements)
    return f"{pods.namespace or EVERY_NAMESPACE}/{{{labels}}}"


def _written_external(external: External) -> str:
    if is_named(external):
        return f"{external.name} (external)"
    exceptions = f" except {' and '.join(external.exceptions)}" if external.exceptions else ""
    names = (name if _read_name(name) else f"{BY_NAME}{name}" for name in external.patterns)
    return " + ".join((*names, *(f"{cidr}{exceptions}" for cidr in external.cidrs)))


def _read_pods(text: str, namespace: str, labels: str) -> Pods | None:
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", labels)]
    requirements = [_read_requirement(part) for part in parts]
    found = tuple(sorted((one for one in requirements if one is not None), key=str))
    return Pods(text, namespace, found) if len(found) == len(requirements) else None


def _read_requirement(text: str) -> Requirement | None:
    if matched := _MANY.fullmatch(text):
        values = tuple(sorted({value.strip() for value in matched[3].split(",")}))
        return _requirement(matched[1], Operator(matched[2]), values)
    if text.startswith("!"):
        return _requirement(text[1:], Operator.DOES_NOT_EXIST)
    key, equals, value = text.partition("=")
    return _requirement(key, Operator.IN, (value,)) if equals else _requirement(key, Operator.EXISTS)


def _requirement(key: str, operator: Operator, values: tuple[str, ...] = ()) -> Requirement | None:
    if not LABEL_KEY.fullmatch(key) or not all(LABEL_VALUE.fullmatch(value) for value in values):
        return None
    source, _, name = key.rpartition(":")
    return Requirement(name, operator, values, "" if source == "any" else source)


def _read_range(text: str) -> External | None:
    whole, _, taken = text.partition(" except ")
    cidr = read_address(whole)
    if cidr is None:
        return None
    exceptions = [read_address(each) for each in taken.split(" and ")] if taken else []
    found = tuple(each for each in exceptions if each is not None)
    return External(text, (), (cidr,), found) if len(found) == len(exceptions) else None


def _read_name(text: str) -> External | None:
    explicit = text.startswith(BY_NAME)
    name = text.removeprefix(BY_NAME)
    if len(name) > LONGEST_DNS_NAME or not DNS_PATTERN.fullmatch(name) or read_address(name):
        return None
    _, dot, last = name.removesuffix(".").rpartition(".")
    if not explicit and not (dot and _LAST_LABEL.fullmatch(last)):
        return None
    name = name.lower().removesuffix(".")
    return External(name, (name,))
