"""Policies of every kind in one shape, with the place each part was written at.

A policy has specs; a spec selects its subject and has rules; a rule names peers and grants ports.
What a rule means where something is empty or absent differs from kind to kind and is settled by
whoever reads that kind: here `peers` and `grants` say what is really meant, and `fields` what was
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from flowwatch.lint.conditions import Condition, conditions
from flowwatch.lint.labels import CLUSTER, EXISTS, IN, NAMESPACE, Labels, Term
from flowwatch.lint.objects import Object
from flowwatch.lint.peers import Atom
from flowwatch.lint.portsets import PortSet, union
from flowwatch.yamlmarks import Marked


class Kind(StrEnum):
    """The kinds of policies."""

    CNP = "CiliumNetworkPolicy"
    CCNP = "CiliumClusterwideNetworkPolicy"
    KNP = "NetworkPolicy"
    KCNP = "ClusterNetworkPolicy"
    ANP = "AdminNetworkPolicy"
    BANP = "BaselineAdminNetworkPolicy"


CILIUM = (Kind.CNP, Kind.CCNP)
CLUSTER_POLICIES = (Kind.KCNP, Kind.ANP, Kind.BANP)


class Direction(StrEnum):
    """Seen from the subject."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Action(StrEnum):
    """What a rule does with what it matches."""

    ALLOW = "allow"
    DENY = "deny"
    PASS = "pass"


class Role(StrEnum):
    """What a selector is there for."""

    SUBJECT = "subject"
    PEER = "peer"
    NAMESPACE = "namespace"
    """Selects namespaces by their own labels."""
    NODE = "node"


@dataclass(frozen=True, eq=False)
class Selector:
    """A selector as it was written. `labels` includes the scope Kubernetes or Cilium adds."""

    at: Marked
    role: Role
    labels: Labels

    @cached_property
    def written(self) -> tuple[Condition, ...]:
        """Its conditions as they were written."""
        return tuple(conditions(self.at))


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """One element of a rule's peers."""

    at: Marked
    atom: Atom


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """A port as it was written. `number` is -1 for a name or where there is none, `end` where there is no range."""

    at: Marked
    written: Marked | None
    number: int
    name: str
    end: int
    protocol: str
    says_protocol: bool


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """Some ports on which a rule allows or denies its peers, and what it demands there.

    `l7` are the lists of L7 rules that hold anything. `demands` is equal for two grants that
    demand the same (L7 rules, SNI, TLS, a listener, authentication), empty where nothing is."""

    at: Marked
    ports: PortSet
    written: tuple[Port, ...] = ()
    fields: Mapping[str, Marked] = field(default_factory=dict)
    l7: Mapping[str, Marked] = field(default_factory=dict)
    demands: str = ""


@dataclass(slots=True, eq=False)
class Rule:
    """One element of a list of rules."""

    spec: Spec
    at: Marked
    direction: Direction
    action: Action
    fields: dict[str, Marked]
    peers: tuple[Peer, ...] = ()
    grants: tuple[Grant, ...] = ()
    _ports: PortSet | None = None

    @property
    def is_allow(self) -> bool:
        """Whether it allows anything it matches."""
        return self.action is Action.ALLOW

    @property
    def ports(self) -> PortSet:
        """Every port it is about. Asked for only once it has been read whole."""
        if self._ports is None:
            self._ports = union(grant.ports for grant in self.grants)
        return self._ports

    @property
    def place(self) -> str:
        """Where it is, for messages that speak of two rules: `CiliumNetworkPolicy a/b (file:12)`."""
        return f"{self.spec.policy.thing.title} ({self.at.file}:{self.at.line})"

    @property
    def entities(self) -> list[Marked]:
        """The entities it names."""
        key = "fromEntities" if self.direction is Direction.INGRESS else "toEntities"
        return self.fields[key].elements() if key in self.fields else []


@dataclass(slots=True, eq=False)
class Spec:
    """One `spec`: a subject and its rules. `subject` is None where nodes are selected, or nothing
    that can be understood."""

    policy: Policy
    at: Marked
    fields: dict[str, Marked]
    subject: Labels | None = None
    selects_nodes: bool = False
    rules: list[Rule] = field(default_factory=list)
    isolates: set[Direction] = field(default_factory=set)
    """The directions in which it puts its subject into default deny."""
    selectors: list[Selector] = field(default_factory=list)
    scope: Labels = field(init=False)
    """The subject as it is compared with others: the cluster's own name is on every pod."""

    def __post_init__(self) -> None:
        self.select(self.subject)

    def select(self, subject: Labels | None) -> None:
        """Take a subject."""
        self.subject = subject
        self.scope = _scoped(subject) if subject is not None else Labels(())

    def towards(self, direction: Direction) -> Iterator[Rule]:
        """The rules of one direction."""
        return (rule for rule in self.rules if rule.direction is direction)


@dataclass(slots=True, eq=False)
class Policy:
    """One object that allows or denies traffic. `order` is (tier, priority) where it has one."""

    thing: Object
    kind: Kind
    specs: list[Spec] = field(default_factory=list)
    tier: str = ""
    priority: int = 0

    @property
    def namespaced(self) -> bool:
        """Whether it speaks about one namespace."""
        return self.kind in (Kind.CNP, Kind.KNP)

    @property
    def top(self) -> Marked:
        """The first line of the object."""
        return self.thing.root


def _scoped(subject: Labels) -> Labels:
    from_cluster = [each for each in subject.terms if each.key == CLUSTER and each.operator == IN]
    if not from_cluster:
        return subject
    return subject.without(CLUSTER).and_(Term(NAMESPACE, EXISTS))
