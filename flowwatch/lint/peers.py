"""Who may be at the other end of a rule, and what can be proven about it.

An atom is one element of a rule's peers: pods by labels, an entity, a range of addresses, a DNS
name, everyone, or something only the cluster can resolve. `covers` claims that one holds another
only where that follows from what Cilium documents of both.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from flowwatch.lint.labels import CLUSTER, NAMESPACE, Labels
from flowwatch.lint.labels import covers as labels_cover

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERY_NAME = ("*", "**", "")
"""Patterns, without a final dot, that every name fits."""
_CLUSTER = frozenset({"host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"})
_WITHIN = {
    "all": _CLUSTER | {"cluster", "cluster-mesh", "world", "world-ipv4", "world-ipv6"},
    "cluster-mesh": _CLUSTER | {"cluster"},
    "cluster": _CLUSTER,
    "world": frozenset({"world-ipv4", "world-ipv6"}),
}
_OUTSIDE = frozenset({"all", "world"})
_SAMPLES = ("a", "b-c9")


@dataclass(frozen=True, slots=True)
class Everyone:
    """Any peer at all: the rule names none."""

    def __str__(self) -> str:
        return "everyone"


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods by their labels."""

    labels: Labels

    def __str__(self) -> str:
        return str(self.labels)


@dataclass(frozen=True, slots=True)
class Entity:
    """A group of peers that Cilium knows by name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses outside the cluster: in `network` and in none of `exceptions`."""

    network: Network
    exceptions: frozenset[Network] = frozenset()

    def __str__(self) -> str:
        return str(self.network)


@dataclass(frozen=True, slots=True)
class Name:
    """Addresses that were looked up by a name, or by one a pattern fits."""

    pattern: str

    def __str__(self) -> str:
        return self.pattern


@dataclass(frozen=True, slots=True)
class Other:
    """What cannot be resolved from files (services, node labels, cloud groups): `text` tells two apart."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.kind


Atom: TypeAlias = Everyone | Pods | Entity | Range | Name | Other


def covers(wide: Atom, narrow: Atom) -> bool:
    """Whether everything `narrow` means is certainly meant by `wide`, too."""
    if isinstance(wide, Everyone) or wide == narrow:
        return True
    if isinstance(wide, Entity):
        return _entity_covers(wide.name, narrow)
    if isinstance(wide, Pods):
        return isinstance(narrow, Pods) and labels_cover(wide.labels, narrow.labels)
    if isinstance(wide, Range):
        return isinstance(narrow, Range) and range_covers(wide, narrow)
    if isinstance(wide, Name):
        return isinstance(narrow, Name) and name_covers(wide.pattern, narrow.pattern)
    return False


def range_covers(wide: Range, narrow: Range) -> bool:
    """Whether every address of one range is certainly in the other."""
    if not within(narrow.network, wide.network):
        return False
    return all(
        not narrow.network.overlaps(taken) or any(within(taken, also) for also in narrow.exceptions)
        for taken in wide.exceptions
    )


def within(inner: Network, outer: Network) -> bool:
    """Whether every address of `inner` is one of `outer`."""
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


def normal_name(name: str) -> str:
    """A DNS name as it is compared: lower case, no final dot."""
    return name.lower().rstrip(".")


def name_covers(wide: str, narrow: str) -> bool:
    """Whether every name that fits `narrow` certainly fits `wide`: decided by names made up from
    `narrow` that differ in all a pattern can tell apart."""
    wide, narrow = normal_name(wide), normal_name(narrow)
    if wide in EVERY_NAME or wide == narrow:
        return True
    if narrow in EVERY_NAME:
        return False
    return all(name_fits(wide, name) for name in _examples(narrow))


def name_fits(pattern: str, name: str) -> bool:
    """Whether a DNS name is meant by a pattern. Label by label, so that no pattern can be slow."""
    pattern, name = normal_name(pattern), normal_name(name)
    if pattern in EVERY_NAME:
        return True
    labels, parts = pattern.split("."), name.split(".")
    if labels[0] == "**" and len(labels) > 1:
        labels = labels[1:]
        if len(parts) <= len(labels):
            return False
        parts = parts[-len(labels) :]
    return len(labels) == len(parts) and all(map(_label_fits, labels, parts))


def _label_fits(pattern: str, text: str) -> bool:
    """Whether one label of a name is meant, `*` standing for any part of it."""
    head, *middle = re.split(r"\*+", pattern)
    if not middle:
        return head == text
    tail = middle.pop()
    if len(text) < len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
        return False
    at, end = len(head), len(text) - len(tail)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def parse_network(text: str) -> Network | None:
    """A range of addresses with its prefix length, host bits masked; None where it is none."""
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _examples(pattern: str) -> Iterable[str]:
    prefix = ""
    if pattern.startswith("**."):
        prefix, pattern = "**.", pattern[3:]
    for sample in _SAMPLES:
        name = re.sub(r"\*+", sample, pattern)
        if not prefix:
            yield name
            # `*` also stands for nothing at all, but where that leaves an empty label.
            bare = re.sub(r"\*+", "", pattern)
            if bare and ".." not in bare and not bare.startswith("."):
                yield bare
        else:
            yield f"{sample}.{name}"
            yield f"x.{sample}.{name}"


def _entity_covers(name: str, narrow: Atom) -> bool:
    if name == "all":
        return True
    if isinstance(narrow, Entity):
        return narrow.name in _WITHIN.get(name, frozenset())
    if isinstance(narrow, Pods):
        if NAMESPACE not in narrow.labels.present:
            return False
        return name == "cluster-mesh" or (name == "cluster" and CLUSTER not in narrow.labels.present)
    if isinstance(narrow, Range):
        return name in ("world", f"world-ipv{narrow.network.version}")
    return isinstance(narrow, Name) and name in _OUTSIDE
