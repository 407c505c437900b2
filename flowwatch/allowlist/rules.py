"""What an allowlist says, free of any file format: rules between peers, on ports, for a reason.

Every source of declarations is read into these values, and the judge is compiled from them.
They know where they were written, so that an answer can name its line, and nothing of how
they were written or of how they are matched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TypeAlias

from flowwatch.model import Protocol, service
from flowwatch.policy.objects import Objects
from flowwatch.selectors import Operator, Requirement

__all__ = [
    "ENTITIES",
    "Declaration",
    "Entity",
    "External",
    "Operator",
    "Pods",
    "PortRange",
    "PortSet",
    "Requirement",
    "Rule",
    "Same",
    "Selector",
    "Transport",
    "listed",
    "port_text",
]

ENTITIES = (
    "all",
    "cluster",
    "health",
    "host",
    "ingress",
    "init",
    "kube-apiserver",
    "remote-node",
    "unmanaged",
    "world",
)
"""The groups of peers Cilium knows by name."""


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods by namespace and labels. An empty `namespace` means every namespace."""

    name: str
    namespace: str = ""
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Entity:
    """One of `ENTITIES`."""

    name: str


@dataclass(frozen=True, slots=True)
class External:
    """Peers outside the cluster, by the names they were looked up by or by their addresses:
    in one of `cidrs` and in none of `exceptions`."""

    name: str
    patterns: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Same:
    """The workload at the other end of the rule."""

    name: str = "self"


Selector: TypeAlias = Pods | Entity | External | Same


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports `first` to `last` of one protocol; for ICMP and ICMPv6 the types."""

    protocol: Protocol
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PortSet:
    """The ports a rule speaks about. `everything`: every protocol, also those without ports.

    `texts` are the ports as people write them (`8333/TCP`, `53/ANY`, `ICMP/8`).
    """

    texts: tuple[str, ...]
    ranges: tuple[PortRange, ...] = ()
    everything: bool = False

    def __str__(self) -> str:
        return listed(self.texts, ",")


class Transport(StrEnum):
    """What a path must be carried by."""

    ENCRYPTED = "encrypted"
    """Between nodes, within WireGuard or IPsec."""
    AUTHENTICATED = "authenticated"
    """Between workloads that proved to each other who they are."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One declared path and why it exists. `id` is its position in the allowlist, from 0."""

    id: int
    sources: tuple[Selector, ...]
    destinations: tuple[Selector, ...]
    ports: PortSet
    reason: str
    owner: str = ""
    ticket: str = ""
    expires: date | None = None
    """The last day on which the rule holds, in UTC."""
    transport: Transport | None = None
    conditions: tuple[str, ...] = ()
    """Names of the status conditions that depend on the path."""
    file: str = ""
    line: int = 0

    @property
    def title(self) -> str:
        """The rule in a few words: `monitoring/loki → seaweedfs/filer:8333/TCP`."""
        sources = listed([selector.name for selector in self.sources], ", ")
        destinations = listed([selector.name for selector in self.destinations], ", ")
        return f"{sources} → {destinations}:{self.ports}"

    @property
    def place(self) -> str:
        """Where the rule is written, as `file:line`."""
        return f"{self.file}:{self.line}"

    @property
    def ends(self) -> float:
        """When the rule stops to hold, in seconds since the epoch; infinite without `expires`."""
        if self.expires is None:
            return float("inf")
        # The day after the last possible day cannot be written as a date.
        if self.expires == date.max:
            return float("inf")
        return datetime.combine(self.expires + timedelta(days=1), time(), UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Declaration:
    """Everything that was declared. `governs` None: every namespace.

    `policies` are network policies that were declared too; where `speaks` is false there was nothing else, and what no
    policy is about is not governed.
    """

    rules: tuple[Rule, ...]
    governs: frozenset[str] | None = None
    policies: Objects = field(default_factory=Objects)
    speaks: bool = True
    ignored_tables: tuple[str, ...] = ()
    """The tables of Markdown pages that declare nothing, as `file:line: header`."""


def listed(texts: Iterable[str], separator: str, most: int = 3) -> str:
    """The texts joined, cut short after a few: `a, b, c, +4`."""
    every = tuple(texts)
    shown = every if len(every) <= most + 1 else (*every[:most], f"+{len(every) - most}")
    return separator.join(shown)


def port_text(protocol: Protocol, first: int, last: int) -> str:
    """One range of ports as people write it: `8333/TCP`, `2379-2381/TCP`, `ICMP/8`, `ICMP`."""
    if protocol in (Protocol.ICMP, Protocol.ICMPV6):
        return service(protocol, first) if first == last else protocol.name
    return service(protocol, first) if first == last else f"{first}-{last}/{protocol.name}"
