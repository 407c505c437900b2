"""What one raw flow is evidence of: which side it speaks for, and whether anything passed or was dropped.

All the traps of Hubble's events are decided here and nowhere else, in `decide`, a pure function of a
`Shape`: the handful of properties of a flow that matter. A cluster produces a few hundred distinct
shapes however many flows it has, so `shapes` decides each of them once and joins
the answers back to whole batches. This module knows nothing of allowlists, names or storage.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowwatch.codes import L7, Drop, Event, Evidence, Flags, FlowClass, Icmp, Point, Ports, Reply, TraceReason, Verdict
from flowwatch.model import Protocol, Side


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a flow that decide what it is evidence of."""

    event: int = Event.NONE
    point: int = Point.UNKNOWN
    verdict: int = Verdict.UNKNOWN
    drop: Drop = Drop.NONE
    direction: int = Side.UNKNOWN
    reply: Reply = Reply.UNKNOWN
    trace_reason: int = TraceReason.UNKNOWN
    protocol: Protocol = Protocol.NONE
    flags: Flags = Flags.NONE
    icmp: Icmp = Icmp.NONE
    ports: Ports = Ports.UNKNOWN
    l7: int = L7.NONE
    source_local: bool = False
    """The source is an endpoint of the reporting node (its endpoint id is there)."""
    destination_local: bool = False
    health: bool = False
    same_endpoint: bool = False
    stale_identity: bool = False
    """An end is labelled as world although its address is known to be a pod's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a flow of some shape is: its class, the side it speaks for, and what it proves.

    `swapped`: source and destination must be exchanged to get client and server.
    `opens`: it stands for one connection (a first packet), not for one more packet of one.
    """

    flow_class: FlowClass
    side: Side = Side.UNKNOWN
    evidence: Evidence = Evidence.NONE
    swapped: bool = False
    opens: bool = False


NOTHING: frozenset[FlowClass] = frozenset()


def decide(  # noqa: PLR0911, PLR0912 - trap by trap, in the order they must be asked
    shape: Shape, judged: frozenset[FlowClass] = NOTHING
) -> Decision:
    """Say what a flow of this shape is. The order of the questions is the meaning. Flows of the classes in
    `judged` (of `codes.NOISE`) are no noise, but taken for what they would be without that class."""
    if shape.event in (Event.DEBUG, Event.CAPTURE):
        return Decision(FlowClass.DEBUG)
    # Socket events carry service addresses and no packet; TRACED and TRANSLATED are nothing else.
    if shape.event == Event.SOCKET or shape.verdict in (Verdict.TRACED, Verdict.TRANSLATED):
        return Decision(FlowClass.SOCKET)
    if shape.health and FlowClass.HEALTH not in judged:
        return Decision(FlowClass.HEALTH)
    if shape.icmp is Icmp.NEIGHBOUR and FlowClass.NEIGHBOUR not in judged:
        return Decision(FlowClass.NEIGHBOUR)
    is_error = shape.icmp is Icmp.ERROR or shape.trace_reason == TraceReason.RELATED
    if is_error and FlowClass.ICMP_ERROR not in judged:
        return Decision(FlowClass.ICMP_ERROR, _side(shape))
    if shape.event == Event.L7:
        return _decide_l7(shape)
    if shape.reply is Reply.YES:
        return Decision(FlowClass.REPLY, _side(shape), swapped=True)
    if shape.same_endpoint and FlowClass.SELF not in judged:
        return Decision(FlowClass.SELF)
    if shape.stale_identity and FlowClass.STALE_IDENTITY not in judged:
        return Decision(FlowClass.STALE_IDENTITY, _side(shape))
    if shape.verdict == Verdict.DROPPED:
        return _decide_drop(shape, judged)
    if shape.verdict == Verdict.AUDIT:
        return Decision(FlowClass.AUDITED, _side(shape), Evidence.AUDITED, opens=True)
    if shape.verdict in (Verdict.FORWARDED, Verdict.REDIRECTED):
        if shape.event == Event.POLICY_VERDICT:
            return Decision(FlowClass.ALLOWED, _side(shape), Evidence.FORWARDED, opens=True)
        return _decide_trace(shape)
    return Decision(FlowClass.UNKNOWN)


def _decide_l7(shape: Shape) -> Decision:
    """The proxy's access log. A refusal is a drop without a reason and without an L3/L4 twin."""
    side = _side(shape)
    if shape.l7 == L7.RESPONSE or shape.reply is Reply.YES:
        return Decision(FlowClass.L7_RESPONSE, side, swapped=True)
    if shape.verdict == Verdict.DROPPED:
        return Decision(FlowClass.DENIED, side, Evidence.DROPPED, opens=True)
    if shape.verdict == Verdict.ERROR:
        return Decision(FlowClass.L7_ERROR, side)
    return Decision(FlowClass.L7_REQUEST, side)


def _decide_drop(shape: Shape, judged: frozenset[FlowClass]) -> Decision:
    if shape.drop is Drop.HANDLED:
        return Decision(FlowClass.HANDLED, _side(shape))
    if shape.drop is not Drop.POLICY and FlowClass.INFRA_DROP not in judged:
        return Decision(FlowClass.INFRA_DROP, _side(shape))
    # Drops never say whether they are replies. A packet from a service's port to an ephemeral one
    # that does not open a connection is a reply the datapath no longer recognises; its direction
    # was computed as if it opened one, so it would accuse the server of attacking its client.
    is_backward = shape.ports is Ports.BACKWARD and shape.flags is not Flags.SYN
    if is_backward and FlowClass.STALE_REPLY not in judged:
        return Decision(FlowClass.STALE_REPLY, _other(_side(shape)), swapped=True)
    return Decision(FlowClass.DENIED, _side(shape), Evidence.DROPPED, opens=True)


def _decide_trace(shape: Shape) -> Decision:
    """A packet on its way. `traffic_direction` is not asked: it is wrong at TO_ENDPOINT since 1.16."""
    if _is_before_policy(shape.point):
        return Decision(FlowClass.BEFORE_POLICY)
    if shape.reply is Reply.UNKNOWN:
        if shape.flags is Flags.SYN_ACK or (shape.ports is Ports.BACKWARD and shape.flags is not Flags.SYN):
            return Decision(FlowClass.REPLY_UNKNOWN, _other(_trace_side(shape)), swapped=True)
        if shape.ports is not Ports.FORWARD and shape.flags is not Flags.SYN:
            return Decision(FlowClass.REPLY_UNKNOWN, _trace_side(shape))
    side = _trace_side(shape)
    if side is Side.UNKNOWN and shape.point != Point.UNKNOWN:
        return Decision(FlowClass.TRANSIT)
    opens = shape.trace_reason == TraceReason.NEW or (
        shape.trace_reason == TraceReason.UNKNOWN and shape.flags is Flags.SYN
    )
    return Decision(FlowClass.CARRIED, side, Evidence.FORWARDED, opens=opens)


def _is_before_policy(point: int) -> bool:
    return Point.FROM_ENDPOINT <= point <= Point.FROM_NETWORK or point == Point.FROM_CRYPTO


def _trace_side(shape: Shape) -> Side:
    """Only a node's own endpoints testify: delivery at the destination, departure at the source."""
    if shape.point == Point.TO_ENDPOINT:
        return Side.INGRESS
    if shape.point == Point.UNKNOWN:  # field-masked exports
        return _side(shape)
    return Side.EGRESS if shape.source_local else Side.UNKNOWN


def _side(shape: Shape) -> Side:
    """The side a verdict, drop or proxy record speaks for."""
    if shape.direction in (Side.INGRESS, Side.EGRESS):
        return Side(shape.direction)
    if shape.source_local != shape.destination_local:
        return Side.EGRESS if shape.source_local else Side.INGRESS
    return Side.UNKNOWN


def _other(side: Side) -> Side:
    return {Side.EGRESS: Side.INGRESS, Side.INGRESS: Side.EGRESS}.get(side, Side.UNKNOWN)
