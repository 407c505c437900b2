"""Policies taken apart into entries, each "these subjects may (or may not) talk to those peers on these ports".

Every kind of policy is read into entries, and only entries are matched. They remember the object and the line they
come from, and nothing of its syntax.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from flowwatch.policy.l7 import L7
from flowwatch.selectors import Requirement


class Effect(IntEnum):
    """What an entry does with what it matches. PASS leaves the rest of its tier aside."""

    ALLOW = 0
    DENY = 1
    PASS = 2


class Tier(IntEnum):
    """Tiers are evaluated one after the other, lower first."""

    ADMIN = 100
    NORMAL = 200
    BASELINE = 250


@dataclass(frozen=True, slots=True)
class Policy:
    """One object. `namespace` is empty for what belongs to the whole cluster."""

    kind: str
    namespace: str
    name: str
    file: str = ""
    line: int = 0
    description: str = ""
    """What `spec.description` says of it, in one line."""

    @property
    def ref(self) -> str:
        """`Kind:namespace/name`; the slash is there for objects without a namespace too."""
        return f"{self.kind}:{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return self.ref if self.namespace else f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Labels:
    """Whoever carries labels that meet every requirement. `local`: only pods of the local cluster, for nobody else
    carries its name."""

    requirements: tuple[Requirement, ...] = ()
    local: bool = False


@dataclass(frozen=True, slots=True)
class Nodes:
    """Remote nodes by their node labels."""

    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Entity:
    """A group of peers that Cilium knows by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """A range of addresses without some exceptions."""

    cidr: str
    exceptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Name:
    """A DNS name or a pattern of names."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Group:
    """A CiliumCIDRGroup, by name or by its labels."""

    name: str = ""
    requirements: tuple[Requirement, ...] = ()
    exceptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """Kubernetes services, by name or by their labels. An empty namespace: of any."""

    name: str = ""
    namespace: str = ""
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Undecidable:
    """Peers that only the running cluster knows. `by_address`: they are told apart by their addresses, so that whatever
    no range of addresses can mean is certainly none of them."""

    reason: str
    by_address: bool = True


Peers: TypeAlias = Labels | Nodes | Entity | Addresses | Name | Group | Service | Undecidable


@dataclass(frozen=True, slots=True)
class Subject:
    """The ends of connections a policy is about: endpoints, or the local host by its node labels."""

    requirements: tuple[Requirement, ...] = ()
    node: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """Ports `first` to `last` of an IP protocol; for ICMP the types."""

    protocol: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A port by the name a container gives it, for any of some protocols (none: for any at all)."""

    name: str
    protocols: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """What an entry matches at L4. `everything`: all protocols, with ports or without."""

    everything: bool = False
    spans: tuple[Span, ...] = ()
    named: tuple[NamedPort, ...] = ()


EVERY_PORT = Ports(everything=True)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One rule of one policy, for one direction. `peers` None: everyone."""

    policy: Policy
    line: int
    field: str
    ingress: bool
    subject: Subject
    peers: tuple[Peers, ...] | None
    ports: Ports = EVERY_PORT
    effect: Effect = Effect.ALLOW
    tier: Tier = Tier.NORMAL
    order: tuple[int, int] = (0, 0)
    """Priority and place in the list: the lower one is evaluated first."""
    default_deny: bool = True
    l7: L7 | None = None
    authentication: str = ""
    wild_if_unresolved: bool = False
    """Where its services turn out to be none, it means everyone: so Cilium does with ports."""

    @property
    def says_something(self) -> bool:
        """Whether it can match at all: it means some peer and some port."""
        return self.peers != () and (self.ports.everything or bool(self.ports.spans or self.ports.named))

    @property
    def place(self) -> str:
        """Where the rule is written, as `file:line`."""
        return f"{self.policy.file}:{self.line}" if self.line else self.policy.file
