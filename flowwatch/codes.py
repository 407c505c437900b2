"""Hubble's numbers and their names, as far as they decide something.

Enum values newer than these arrive as plain numbers and stay what they are. What each field means
and where servers get it wrong is told beside the values.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from flowwatch.hubble import flow_pb2
from flowwatch.model import Protocol


class FlowClass(IntEnum):
    """What a flow is. The numbers are stored; the lower-case names are labels and table values."""

    UNKNOWN = 0
    """Too many fields are missing to say anything."""
    ALLOWED = 1
    """A policy verdict let the first packet of a connection through (also: to the proxy)."""
    CARRIED = 2
    """A packet of a connection passed this side after any policy: proof without a verdict."""
    DENIED = 3
    """Policy dropped a packet, or an L7 rule refused a request."""
    AUDITED = 4
    """Policy would have dropped it; audit mode let it pass."""
    REPLY = 5
    """The way back of a connection; never a new edge."""
    STALE_REPLY = 6
    """A reply whose connection the datapath had forgotten, so policy dropped it."""
    REPLY_UNKNOWN = 7
    """The datapath did not say whether it is a reply, and the ports say it may well be."""
    L7_REQUEST = 8
    """The proxy forwarded a request; its connection is counted by the L3/L4 flows."""
    L7_RESPONSE = 9
    L7_ERROR = 10
    SOCKET = 11
    """Socket-level address translation: before the packet exists, with the service address."""
    INFRA_DROP = 12
    """Dropped for a reason that is not policy (routing, conntrack, fragments …)."""
    HANDLED = 13
    """Reported as a drop although nothing was lost (IGMP, multicast, proxy punt)."""
    ICMP_ERROR = 14
    """An ICMP error about another connection."""
    NEIGHBOUR = 15
    """IPv6 neighbour discovery and multicast membership."""
    HEALTH = 16
    """Cilium's own health checks."""
    SELF = 17
    """A pod talking to itself; policy has no say in it."""
    BEFORE_POLICY = 18
    """Seen before policy decided; says nothing about what passed."""
    TRANSIT = 19
    """Passing a node that hosts neither end; the ends report it themselves."""
    DEBUG = 20
    STALE_IDENTITY = 21
    """A pod's address carried the identity of the world: a node's address cache lagged behind."""
    KUBELET_PROBE = 22
    """A pod's own node reached it, and nothing declares that."""
    IDENTITY_RACE = 23
    """A declared path was dropped just after a pod of it had started."""
    ROLLOUT = 24
    """A connection of a declared path was cut off while a workload was rolled out."""
    IP_REUSE = 25
    """An address was meant for the pod that had it a moment ago."""

    @property
    def label(self) -> str:
        """The name as a metric label and table value: `stale-reply`."""
        return self.name.lower().replace("_", "-")


NOISE = (
    FlowClass.STALE_REPLY,
    FlowClass.INFRA_DROP,
    FlowClass.ICMP_ERROR,
    FlowClass.NEIGHBOUR,
    FlowClass.HEALTH,
    FlowClass.SELF,
    FlowClass.STALE_IDENTITY,
    FlowClass.KUBELET_PROBE,
    FlowClass.IDENTITY_RACE,
    FlowClass.ROLLOUT,
    FlowClass.IP_REUSE,
)
"""The classes that can be switched off, so that their flows are judged like any other."""


class Evidence(IntEnum):
    """What a flow proves about its edge."""

    NONE = 0
    FORWARDED = 1
    DROPPED = 2
    AUDITED = 3


class Event(IntEnum):
    """`event_type.type` of Hubble."""

    NONE = 0
    DROP = 1
    DEBUG = 2
    CAPTURE = 3
    TRACE = 4
    POLICY_VERDICT = 5
    SOCKET = 7
    L7 = 129


class EventName(StrEnum):
    """How events are called in metrics and tables."""

    DROP = "drop"
    POLICY_VERDICT = "policy-verdict"
    TRACE = "trace"
    L7 = "l7"
    SOCKET = "socket"
    OTHER = "other"


EVENT_NAMES: dict[int, EventName] = {
    Event.DROP: EventName.DROP,
    Event.TRACE: EventName.TRACE,
    Event.POLICY_VERDICT: EventName.POLICY_VERDICT,
    Event.SOCKET: EventName.SOCKET,
    Event.L7: EventName.L7,
}


class Verdict(IntEnum):
    """`flow.Verdict` of Hubble."""

    UNKNOWN = 0
    FORWARDED = 1
    DROPPED = 2
    ERROR = 3
    AUDIT = 4
    REDIRECTED = 5
    TRACED = 6
    TRANSLATED = 7


class Reply(IntEnum):
    """`is_reply`: absent is not false."""

    UNKNOWN = 0
    NO = 1
    YES = 2


class Point(IntEnum):
    """`trace_observation_point` of Hubble, as far as it decides something."""

    UNKNOWN = 0
    TO_PROXY = 1
    TO_HOST = 2
    TO_STACK = 3
    TO_OVERLAY = 4
    FROM_ENDPOINT = 5
    FROM_PROXY = 6
    FROM_HOST = 7
    FROM_STACK = 8
    FROM_OVERLAY = 9
    FROM_NETWORK = 10
    TO_NETWORK = 11
    FROM_CRYPTO = 12
    TO_CRYPTO = 13
    TO_ENDPOINT = 101


class TraceReason(IntEnum):
    """`trace_reason` of Hubble."""

    UNKNOWN = 0
    NEW = 1
    ESTABLISHED = 2
    REPLY = 3
    RELATED = 4


class Drop(IntEnum):
    """What sort of drop a drop reason is."""

    NONE = 0
    POLICY = 1
    HANDLED = 2
    INFRA = 3


class Flags(IntEnum):
    """What the TCP flags say about the packet's place in a connection."""

    NONE = 0
    SYN = 1
    SYN_ACK = 2
    LATER = 3


class Icmp(IntEnum):
    """What sort of ICMP message a type is."""

    NONE = 0
    QUERY = 1
    ERROR = 2
    NEIGHBOUR = 3


class Ports(IntEnum):
    """Which way two port numbers point: the service's port is the low or registered one."""

    UNKNOWN = 0
    FORWARD = 1
    BACKWARD = 2


class L7(IntEnum):
    """`l7.type` of Hubble."""

    NONE = 0
    REQUEST = 1
    RESPONSE = 2
    SAMPLE = 3


POLICY_DROPS = frozenset({133, 181, 189})
"""POLICY_DENIED (no rule allows it), POLICY_DENY (a rule denies it), AUTH_REQUIRED."""
HANDLED_DROPS = frozenset({199, 200, 201, 205})
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
ICMPV6_ERRORS = frozenset({1, 2, 3, 4})
ICMPV6_NEIGHBOUR = frozenset({130, 131, 132, 133, 134, 135, 136, 137, 143})
EPHEMERAL = 32768
PROTOCOLS = tuple(Protocol)


def verdict_name(code: int) -> str:
    """A verdict as metrics and tables call it: `forwarded`; unheard-of numbers are `unknown`."""
    return _VERDICT_NAMES.get(code, "unknown")


def event_name(code: int) -> str:
    """An event type as metrics call it: `policy-verdict`; unheard-of numbers are `other`."""
    return EVENT_NAMES.get(code, EventName.OTHER).value


def drop_name(code: int) -> str:
    """A drop reason's name; 0 is an L7 refusal, and a number newer than we are stays a number."""
    if not code:
        return "L7"
    value = flow_pb2.DropReason.DESCRIPTOR.values_by_number.get(code)
    return value.name if value else str(code)


_VERDICT_NAMES = {int(verdict): verdict.name.lower() for verdict in Verdict}
