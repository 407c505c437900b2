"""Which peers a selector means: labels, entities, DNS names and addresses, as Cilium has it.

Each test here is compiled once from what is declared (an allowlist, network policies) and then asked about
one peer at a time. What a group of peers contains is decided by the whole set of an identity's labels:
an API server on another node is both `kube-apiserver` and `remote-node`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from flowwatch.model import Identity, Kind

NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
CLUSTER_LABEL = "io.cilium.k8s.policy.cluster"

NOT_IN_IDENTITY = re.compile(
    r"io\.kubernetes|kubernetes\.io|k8s\.io|.*beta\.kubernetes\.io|topology\.kubernetes\.io"
    r"|statefulset\.kubernetes\.io/pod-name|apps\.kubernetes\.io/pod-index"
    r"|batch\.kubernetes\.io/(job-completion-index|controller-uid)"
    r"|pod-template-(hash|generation)|controller-(revision-hash|uid)|annotation|etcd_node"
)
"""Labels of pods that Cilium makes no part of an identity, by how they begin, unless it is told otherwise."""

_WORLD = frozenset({"world", "world-ipv4", "world-ipv6"})
_IN_CLUSTER = frozenset({"host", "remote-node", "kube-apiserver", "ingress", "health", "init", "unmanaged"})
_FQDN_LABEL = "fqdn:"
_NAME_CHARACTERS = "[-a-z0-9_]"

T = TypeVar("T")


class Operator(StrEnum):
    """How a label is compared. NOT_IN and DOES_NOT_EXIST also hold where the label is missing."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on the labels of a pod. An empty `source` means a label of any source."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        key = f"{self.source}:{self.key}" if self.source else self.key
        match self.operator:
            case Operator.IN if len(self.values) == 1:
                return f"{key}={self.values[0]}"
            case Operator.EXISTS:
                return key
            case Operator.DOES_NOT_EXIST:
                return f"!{key}"
            case _:
                return f"{key} {self.operator} ({', '.join(self.values)})"


def entities_of(identity: Identity) -> frozenset[str]:
    """Every entity an identity belongs to. An identity nothing is known of is only in `all`."""
    names = {label.removeprefix("reserved:") for label in identity.labels if label.startswith("reserved:")}
    names.add(str(identity.kind))
    found = {"all"} | (names & _IN_CLUSTER)
    if names & _WORLD:
        found.add("world")
    if identity.kind is Kind.POD or names & _IN_CLUSTER:
        found.add("cluster")
    return frozenset(found)


def label_facts(identity: Identity) -> frozenset[str]:
    """Everything a label requirement may ask for, as text: each label with and without its
    source, with and without its value."""
    labels = list(identity.labels)
    if identity.namespace:
        labels.append(f"k8s:{NAMESPACE_LABEL}={identity.namespace}")
    facts: set[str] = set()
    for label in labels:
        source, _, rest = label.partition(":")
        key, _, value = rest.partition("=")
        facts.update((f"{source}:{key}={value}", f"{key}={value}", f"{source}:{key}", key))
    return frozenset(facts)


class LabelTest:
    """Whether an identity's labels meet every one of some requirements."""

    def __init__(self, requirements: Iterable[Requirement]) -> None:
        required: set[str] = set()
        self._others: list[tuple[bool, frozenset[str]]] = []
        for requirement in requirements:
            key = f"{requirement.source}:{requirement.key}" if requirement.source else requirement.key
            by_key = requirement.operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST)
            options = {key} if by_key else {f"{key}={value}" for value in requirement.values}
            positive = requirement.operator in (Operator.IN, Operator.EXISTS)
            if positive and len(options) == 1:
                required |= options
            else:
                self._others.append((positive, frozenset(options)))
        self._required = frozenset(required)

    def holds(self, facts: frozenset[str]) -> bool:
        """Whether it is met by what `label_facts` said of an identity."""
        if not self._required <= facts:
            return False
        return all(positive is not options.isdisjoint(facts) for positive, options in self._others)


def normal_name(name: str) -> str:
    """A DNS name as it is compared: lower case, no final dot."""
    return name.lower().rstrip(".")


def names_of(names: Iterable[str], identity: Identity) -> tuple[frozenset[str], frozenset[str]]:
    """The names a peer is known by, and the name patterns Cilium itself found it under.

    The latter are the `fqdn:` labels of its identity. They stand in where the flow carries no
    name: an address may be shared, and what this client looked up says more than what any did.
    """
    known = frozenset(normal_name(name) for name in names)
    if known:
        return known, frozenset()
    labelled = frozenset(
        normal_name(label.removeprefix(_FQDN_LABEL)) for label in identity.labels if label.startswith(_FQDN_LABEL)
    )
    return frozenset(name for name in labelled if "*" not in name), labelled


def name_expression(pattern: str) -> str:
    """A name pattern as an unanchored regular expression over normal names.

    `*` stands for any part of one label, a leading `**.` for one or more labels, and a
    pattern of nothing else for every name. Matching takes time proportional to the length of the
    name, however many `*` there are (times its number of labels for a leading `**.`).
    """
    pattern = normal_name(pattern)
    if pattern in ("*", "**", ""):
        return ".+"
    prefix = ""
    if pattern.startswith("**."):
        prefix = rf"(?:{_NAME_CHARACTERS}+\.)+"
        pattern = pattern[3:]
    return prefix + r"\.".join(_label_expression(label) for label in pattern.split("."))


def _label_expression(label: str) -> str:
    parts = [re.escape(part) for part in re.split(r"\*+", label)]
    if len(parts) == 1:
        return parts[0]
    # Where a part of a label comes first is as good as any later place: there is nothing to try again.
    middle = "".join(f"(?>{_NAME_CHARACTERS}*?{part})" for part in parts[1:-1])
    return f"{parts[0]}{middle}{_NAME_CHARACTERS}*{parts[-1]}"


class NameTable(Generic[T]):
    """What was said about each DNS name or name pattern."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._literals: dict[str, list[T]] = {}
        self._wildcards: dict[str, list[T]] = {}
        for pattern, payload in entries:
            name = normal_name(pattern)
            literal = name and "*" not in name
            (self._literals if literal else self._wildcards).setdefault(name, []).append(payload)
        # What follows the last `*` rules out most patterns at a fraction of the cost.
        self._expressions = [
            (pattern.rpartition("*")[2], re.compile(name_expression(pattern)), payloads)
            for pattern, payloads in self._wildcards.items()
        ]

    def find(self, names: frozenset[str], patterns: frozenset[str]) -> list[T]:
        """Everything said about any of the names, or about exactly one of the patterns."""
        found: list[T] = []
        for name in names:
            found.extend(self._literals.get(name, ()))
            for ending, expression, payloads in self._expressions:
                if name.endswith(ending) and expression.fullmatch(name):
                    found.extend(payloads)
        for pattern in patterns:
            found.extend(self._wildcards.get(pattern, ()))
        return found


@dataclass(frozen=True, slots=True)
class Network:
    """A range of addresses as integers: equal `key` means the same leading `bits`."""

    version: int
    bits: int
    key: int

    def __contains__(self, address: tuple[int, int]) -> bool:
        version, number = address
        return version == self.version and number >> (_WIDTH[version] - self.bits) == self.key


_WIDTH = {4: 32, 6: 128}


def parse_network(text: str) -> Network:
    """A CIDR with its prefix length. Raises ValueError where it is none; host bits are masked."""
    if "/" not in text:
        raise ValueError("a prefix length is missing")
    network = ipaddress.ip_network(text, strict=False)
    width = _WIDTH[network.version]
    return Network(network.version, network.prefixlen, int(network.network_address) >> (width - network.prefixlen))


def parse_address(text: str) -> tuple[int, int] | None:
    """The version and number of an address; None where it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.version, int(address)


class AddressTable(Generic[T]):
    """What was said about each range of addresses; looking one up costs one step per prefix length."""

    def __init__(self, entries: Iterable[tuple[Network, T]]) -> None:
        self._lengths: dict[tuple[int, int], dict[int, list[T]]] = {}
        for network, payload in entries:
            keys = self._lengths.setdefault((network.version, network.bits), {})
            keys.setdefault(network.key, []).append(payload)

    def find(self, address: tuple[int, int]) -> list[T]:
        """Everything said about any range that holds the address."""
        version, number = address
        width = _WIDTH[version]
        return [
            payload
            for (of_version, bits), keys in self._lengths.items()
            if of_version == version
            for payload in keys.get(number >> (width - bits), ())
        ]
