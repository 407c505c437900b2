"""The words of flowwatch: who talks to whom, and what we say about it.

Everything here is an immutable value; every other module may import it and it imports
nothing but the standard library. Times are seconds since the epoch (UTC) as `float`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class Square(StrEnum):
    """What an edge is, seen from the declared allowlist. The first four are the square."""

    EXPECTED = "expected"
    """Declared and forwarded."""
    UNEXPECTED = "unexpected"
    """Not declared, yet forwarded: the gap."""
    BLOCKED = "blocked"
    """Declared, yet dropped by policy: an outage in the making."""
    DENIED = "denied"
    """Not declared and dropped by policy: an attempt, or a forgotten declaration."""
    UNUSED = "unused"
    """Declared and never seen."""
    UNKNOWN = "unknown"
    """Nothing can be said: we did not see enough."""


class Side(IntEnum):
    """Which end of a connection an observation speaks for. The numbers are stored."""

    UNKNOWN = 0
    INGRESS = 1
    EGRESS = 2


class Protocol(IntEnum):
    """IANA protocol numbers of what Hubble can report. NONE: the flow carries no L4 part."""

    NONE = 0
    ICMP = 1
    IGMP = 2
    TCP = 6
    UDP = 17
    ICMPV6 = 58
    VRRP = 112
    SCTP = 132


class Kind(StrEnum):
    """What sort of thing an identity is; decided from its label set, never from its number."""

    POD = "pod"
    WORLD = "world"
    HOST = "host"
    REMOTE_NODE = "remote-node"
    KUBE_APISERVER = "kube-apiserver"
    INGRESS = "ingress"
    HEALTH = "health"
    INIT = "init"
    UNMANAGED = "unmanaged"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Identity:
    """A security identity as policy sees it: a set of labels, shared by many endpoints.

    `labels` are sorted `source:key=value` strings as Hubble prints them. Identity numbers
    are left out on purpose: those above 2^24 mean something else on every node.
    """

    kind: Kind
    cluster: str
    namespace: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of an edge: an identity, the workload people know it by, and for addresses
    outside the cluster the address and the names it was looked up by (sorted, no final dot).
    `ip` is empty where the address does not matter to any judgement (pods, nodes)."""

    identity: Identity
    workload: str = ""
    ip: str = ""
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.identity.kind is Kind.POD:
            return f"{self.identity.namespace}/{self.workload or '?'}"
        if self.identity.kind is Kind.WORLD:
            return self.names[0] if self.names else self.ip or "world"
        return str(self.identity.kind)


@dataclass(frozen=True, slots=True)
class Edge:
    """Who talks to whom and how: client → server. For ICMP, `port` is the ICMP type."""

    source: Peer
    destination: Peer
    protocol: Protocol
    port: int

    @property
    def service(self) -> str:
        """`8333/TCP`, `ICMP/8`, or the protocol alone."""
        return service(self.protocol, self.port)

    def __str__(self) -> str:
        return f"{self.source} → {self.destination}:{self.service}"


def service(protocol: Protocol, port: int) -> str:
    """How a protocol and port are written everywhere: `8333/TCP`, `ICMP/8`, `VRRP`, `?` where the flow did not say."""
    if protocol is Protocol.NONE:
        return "?"
    if protocol in (Protocol.ICMP, Protocol.ICMPV6):
        return f"{protocol.name}/{port}"
    return f"{port}/{protocol.name}" if port else protocol.name


class Declared(StrEnum):
    """Does the allowlist declare an edge?"""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """It cannot be decided from what the flow says."""
    UNGOVERNED = "ungoverned"
    """Neither end is something this allowlist speaks about."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The allowlist's answer for one edge, with the rule that gave it.

    `rule` is the declaring rule's title (`loki → seaweedfs/filer:8333/TCP`), `rule_id` its
    position in the compiled allowlist (-1: none). Where nothing declares the edge, `nearest`
    is the title of the closest rule and `differs` the parts in which it differs
    (`source`, `destination`, `port`).
    """

    declared: Declared
    reason: str = ""
    rule: str = ""
    rule_id: int = -1
    nearest: str = ""
    differs: tuple[str, ...] = ()
    owner: str = ""
    """Who answers for the declaring rule, where it says so; or else for the nearest."""
    denied_by: tuple[str, ...] = ()
    """Declared policies that deny the edge by a rule of their own: no allowing rule helps against those."""
    isolated_by: tuple[str, ...] = ()
    """Declared policies that leave the edge denied by default."""


class Enforcement(StrEnum):
    """How far policy was enforced on what a finding is about."""

    USUAL = ""
    AUDITED = "audited"
    """Policy would have dropped it; audit mode let it pass."""
    BYPASSED = "bypassed"
    """A policy that is live denies it; it passed all the same."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know about one edge, with the evidence it rests on.

    `flows` counts the flows that are evidence for it, `connections` the distinct attempts
    among them (retransmits and second reports of one packet collapsed). `samples` are flow
    uuids, newest last, and `lines` the same flows for people. `coverage` is the share (0…1) of what
    happened in the window that we can vouch for.
    """

    square: Square
    cluster: str
    edge: Edge
    side: Side
    judgement: Judgement
    first_seen: float
    last_seen: float
    flows: int
    connections: int
    samples: tuple[str, ...] = ()
    drop_reasons: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    coverage: float = 1.0
    lines: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    """A few of the server's addresses, as flows named them; only outside the cluster."""
    enforcement: Enforcement = Enforcement.USUAL

    @property
    def fingerprint(self) -> str:
        """Stable over restarts: the square, the cluster and the edge, nothing that counts."""
        parts = [self.square, self.cluster, str(self.edge.source), str(self.edge.destination), self.edge.service]
        if self.enforcement:
            parts.append(self.enforcement)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def sentence(self) -> str:
        """The finding as one sentence, without a final full stop."""
        return f"{self.edge} {self.predicate}{self._nearest()}"

    @property
    def predicate(self) -> str:
        """What the sentence says of the edge, without the nearest rule."""
        rule, drops = self.judgement.rule, self._drops()
        if self.enforcement is Enforcement.AUDITED:
            declared = f"is declared by `{rule}`" if self.judgement.declared is Declared.YES else "is not declared"
            return f"{declared} and passes only because of audit mode: policy would drop it"
        if self.enforcement is Enforcement.BYPASSED:
            named = ", ".join(self.policies[:3]) + (f", +{len(self.policies) - 3}" if len(self.policies) > 3 else "")
            declared = f"declared by `{rule}`" if self.judgement.declared is Declared.YES else "not declared"
            return f"is {declared}, denied in the cluster by {named}, and forwarded all the same"
        if self.square is Square.UNEXPECTED and self.judgement.declared is Declared.YES:
            return f"is declared by `{rule}` but not carried as it asks: {self.judgement.reason}"
        return {
            Square.EXPECTED: "is declared and forwarded",
            Square.UNEXPECTED: "is forwarded but not declared",
            Square.BLOCKED: f"is declared by `{rule}` but dropped by policy{drops}",
            Square.DENIED: f"is not declared and dropped by policy{drops}",
            Square.UNUSED: "is declared but was never seen",
            Square.UNKNOWN: f"cannot be judged: {self.judgement.reason}",
        }[self.square]

    def _drops(self) -> str:
        return f" ({', '.join(self.drop_reasons)})" if self.drop_reasons else ""

    def _nearest(self) -> str:
        if not self.judgement.nearest:
            return ""
        differs = " and ".join(self.judgement.differs)
        return f"; nearest rule `{self.judgement.nearest}` differs in {differs}"


class Deviation(StrEnum):
    """In which way the cluster is otherwise than declared, or leaves something open. The gravest first."""

    REJECTED = "rejected"
    """A policy that is there, and of which nothing is enforced."""
    MISSING = "missing"
    """A declared policy that is not there."""
    DIFFERS = "differs"
    """A declared policy that says something else there."""
    UNDECLARED = "undeclared"
    """A policy that is there and declared nowhere."""
    OPEN = "no-default-deny"
    """A namespace without default deny in a direction."""
    UNSELECTED = "unselected"
    """A workload that no policy selects."""
    IDLE = "selects-nothing"
    """A policy that selects no pod."""

    @property
    def is_grave(self) -> bool:
        """Whether what is enforced is not what is declared; the others are about what is left open."""
        return self in (Deviation.REJECTED, Deviation.MISSING, Deviation.DIFFERS, Deviation.UNDECLARED)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the cluster is otherwise than declared: `what` (a policy, a namespace, a workload), the
    `reason`, the `place` where it is declared (`file:line`) and the `fields` that differ."""

    deviation: Deviation
    what: str
    reason: str
    place: str = ""
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Enforced:
    """What is known of the policies that are live. Where `trouble` says why not, nothing can be said now, and
    `differences` are those of before. `proven` is up to when everything was known (seconds; 0: never)."""

    differences: tuple[Difference, ...] = ()
    trouble: str = ""
    proven: float = 0.0
    policies: int = 0
    pods: int = 0


@dataclass(frozen=True, slots=True)
class NodeCoverage:
    """What we know of one node's stream: is it there, what came, what was lost."""

    cluster: str
    node: str
    streaming: bool
    flows: int
    lost: int
    last_flow: float
    """Time of the newest flow of that node; 0 when none came."""
    reason: str = ""
    """Why it is not streaming."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the terminal, the page and the HTTP API show, taken at one instant."""

    now: float
    started: float
    version: str
    cluster: str
    source: str
    """Where flows come from, as the user wrote it."""
    stream: str
    """`connecting`, `streaming`, `waiting` (backing off after an error) or `ended`."""
    stream_error: str
    flows: int
    """Flows received since the start."""
    flows_per_second: float
    """Over the last few seconds."""
    verdicts: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    squares: Mapping[str, int] = field(default_factory=dict)
    """Distinct edges in each square."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Events lost, by who lost them (`perf_event_ring_buffer`, …, `flowwatch`)."""
    nodes: tuple[NodeCoverage, ...] = ()
    coverage: float = 1.0
    """The share (0…1) of what happened since `watched_since` that can be vouched for."""
    watched_since: float = 0.0
    min_coverage: float = 1.0
    """Below this nothing is said to be absent."""
    coverage_gaps: int = 0
    """Interruptions of a node's flows since the start that could not be recovered."""
    lost_false: int = 0
    """Events reported as lost that were not."""
    findings: tuple[Finding, ...] = ()
    """Active findings, newest first."""
    gaps: tuple[Finding, ...] = ()
    """What passes although policy denies it, by audit mode or past live policies, newest first. None of it is
    in a square."""
    alerts: Mapping[str, int] = field(default_factory=dict)
    """Alerts by state: pending, firing, resolved."""
    rules: int = 0
    unused_rules: tuple[str, ...] = ()
    unused_known: bool = False
    """Whether enough was watched to say which rules are unused."""
    rows_stored: int = 0
    pending_rows: int = 0
    store_path: str = ""
    store_error: str = ""
    """Why the store does not take rows now; they wait in memory."""
    store_set_aside: str = ""
    """Where a damaged database file was set aside; a new one was begun."""
    allowlist_error: str = ""
    streamed: bool = False
    """Whether any stream has been up since the start."""
    enforced: Enforced | None = None
    """What is live in the cluster; None where nobody looks (`kubernetes.watch`)."""
    conditions: tuple[Mapping[str, str], ...] = ()
    """Status conditions as they stand in a Kubernetes object: type, status, reason, message, lastTransitionTime."""
