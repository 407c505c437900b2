"""Building the bytes of `observer.GetFlowsResponse`: everything but time, ports and uuid is made once.

A `Report` says what one node reports of one packet; `Press.template` turns it into a `Template`,
whose `stamp` fills in what differs between connections. Parts are serialised by protobuf and put
together in the order of their field numbers; concatenated parts of a message are that message.
Times are nanoseconds since the epoch.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.wrappers_pb2 import BoolValue

from flowwatch.hubble import flow_pb2, observer_pb2, relay_pb2
from flowwatch.simulate.cluster import Node, Party
from flowwatch.simulate.views import Views

VERSION = "1.19.4"
RELAY_NAME = "hubble-relay-5d8b7c9f64-q7xkz"

NONE, INGRESS, EGRESS = flow_pb2.TRAFFIC_DIRECTION_UNKNOWN, flow_pb2.INGRESS, flow_pb2.EGRESS
DROP, TRACE, POLICY_VERDICT, SOCKET, L7 = 1, 4, 5, 7, 129
"""Values of `event_type.type`."""

_BILLION = 1_000_000_000
_FLOW, _TIME, _L4, _RESPONSE_TIME = b"\x0a", b"\x0a", 0x32, b"\xca\x3e"
_UUID = b"\x92\x02\x24"
_FIXED = 3 + 36 + 1
"""Bytes of a flow around its parts: the uuid with its tag, and the tag of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a node reports of one packet, in the words of `flow.Flow`.

    `reply` None: the flow does not say. `service` is a destination service (socket events only).
    `xlated` is the source address after masquerading. `l7` is a serialised `flow.Layer7`.
    """

    node: Node
    event: int
    verdict: flow_pb2.Verdict
    source: Party
    destination: Party
    source_ip: str
    destination_ip: str
    sub_type: int = 0
    direction: flow_pb2.TrafficDirection = NONE
    reply: bool | None = None
    point: flow_pb2.TraceObservationPoint = flow_pb2.UNKNOWN_POINT
    reason: flow_pb2.TraceReason = flow_pb2.TRACE_REASON_UNKNOWN
    match: int = 0
    drop: flow_pb2.DropReason = flow_pb2.DROP_REASON_UNKNOWN
    socket_point: flow_pb2.SocketTranslationPoint = flow_pb2.SOCK_XLATE_POINT_UNKNOWN
    interface: tuple[int, str] = (0, "")
    proxy_port: int = 0
    xlated: str = ""
    source_names: tuple[str, ...] = ()
    destination_names: tuple[str, ...] = ()
    l7: bytes = b""
    file: tuple[str, int] = ("", 0)
    service: tuple[str, str] = ("", "")
    socket_cookie: int = 0
    policy: tuple[str, str] = ("", "")
    """Name and namespace of the policy that allowed or denied; no namespace: clusterwide."""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A flow save for its time, layer 4 and uuid; `parts` are what stands between these."""

    report: Report
    parts: tuple[bytes, bytes, bytes, bytes, bytes]
    envelope: bytes
    length: int

    def stamp(self, time: int, uuid: str, l4: bytes) -> bytes:
        """The whole message. `l4` comes with its tag and length, as `layer4` makes it."""
        when = timestamp(time)
        when = bytes((len(when),)) + when
        before, source, destination, between, after = self.parts
        size = varint(self.length + len(when) + len(l4))
        mark = uuid.encode()
        return b"".join(
            (
                _FLOW,
                size,
                _TIME,
                when,
                before,
                l4,
                source,
                destination,
                between,
                _UUID,
                mark,
                after,
                self.envelope,
                when,
            )
        )


class Press:
    """Makes templates. It serialises each endpoint as seen from each node once."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def template(self, report: Report) -> Template:
        """The template of all flows that differ from the report in nothing but time, ports and uuid."""
        source = self._views.serialized(report.source, report.node, report.source_names)
        destination = self._views.serialized(report.destination, report.node, report.destination_names)
        parts = (
            _before(report).SerializeToString(),
            b"\x42" + varint(len(source)) + source,
            b"\x4a" + varint(len(destination)) + destination,
            _between(report).SerializeToString(),
            _after(report).SerializeToString(),
        )
        envelope = observer_pb2.GetFlowsResponse(node_name=report.node.known_as).SerializeToString() + _RESPONSE_TIME
        return Template(report, parts, envelope, sum(map(len, parts)) + _FIXED)


def _before(report: Report) -> flow_pb2.Flow:
    """Fields up to layer 4."""
    v6 = ":" in report.source_ip
    flow = flow_pb2.Flow(
        verdict=report.verdict,
        drop_reason=report.drop,
        IP=flow_pb2.IP(
            source=report.source_ip,
            destination=report.destination_ip,
            ipVersion=flow_pb2.IPv6 if v6 else flow_pb2.IPv4,
            source_xlated=report.xlated,
        ),
    )
    if report.event in (DROP, TRACE, POLICY_VERDICT):
        flow.ethernet.source, flow.ethernet.destination = _mac(report.source_ip), _mac(report.destination_ip)
    return flow


def _between(report: Report) -> flow_pb2.Flow:
    """Fields between the endpoints and the uuid."""
    flow = flow_pb2.Flow(
        Type={L7: flow_pb2.L7, SOCKET: flow_pb2.SOCK}.get(report.event, flow_pb2.L3_L4),
        node_name=report.node.known_as,
        source_names=report.source_names,
        destination_names=report.destination_names,
        reply=bool(report.reply),
        event_type=flow_pb2.CiliumEventType(type=report.event, sub_type=report.sub_type),
        traffic_direction=report.direction,
        policy_match_type=report.match,
        trace_observation_point=report.point,
        drop_reason_desc=report.drop,
        proxy_port=report.proxy_port,
    )
    if report.l7:
        flow.l7.ParseFromString(report.l7)
    if report.service[0]:
        flow.destination_service.name, flow.destination_service.namespace = report.service
    if report.interface[0]:
        flow.interface.index, flow.interface.name = report.interface
    if report.event == SOCKET:
        flow.sock_xlate_point = report.socket_point
        flow.socket_cookie, flow.cgroup_id = report.socket_cookie, report.socket_cookie // 40
    if report.reply is not None:
        flow.is_reply.CopyFrom(BoolValue(value=report.reply))
    return flow


def _after(report: Report) -> flow_pb2.Flow:
    """Fields behind the uuid."""
    flow = flow_pb2.Flow(
        trace_reason=report.reason,
        node_labels=node_labels(report.node),
        emitter=flow_pb2.Emitter(name="Hubble", version=VERSION),
        Summary=report.summary,
    )
    if report.file[0]:
        flow.file.name, flow.file.line = report.file
    if report.policy[0]:
        denied = report.verdict == flow_pb2.DROPPED
        side = "ingress" if report.direction == INGRESS else "egress"
        getattr(flow, f"{side}_{'denied' if denied else 'allowed'}_by").append(_policy(*report.policy))
    return flow


def _policy(name: str, namespace: str) -> flow_pb2.Policy:
    kind = "CiliumNetworkPolicy" if namespace else "CiliumClusterwideNetworkPolicy"
    labels = [f"k8s:io.cilium.k8s.policy.derived-from={kind}", f"k8s:io.cilium.k8s.policy.name={name}"]
    if namespace:
        labels.append(f"k8s:io.cilium.k8s.policy.namespace={namespace}")
    return flow_pb2.Policy(name=name, namespace=namespace, labels=labels, revision=41, kind=kind)


def node_labels(node: Node) -> list[str]:
    """The labels of a node as flows carry them."""
    role = ["node-role.kubernetes.io/control-plane="] if node.control_plane else []
    return [
        "beta.kubernetes.io/arch=amd64",
        "beta.kubernetes.io/os=linux",
        "kubernetes.io/arch=amd64",
        f"kubernetes.io/hostname={node.name}",
        "kubernetes.io/os=linux",
        *role,
    ]


def _mac(address: str) -> str:
    digits = f"{zlib.crc32(address.encode()):08x}"
    return ":".join(("6e", "0d", *(digits[at : at + 2] for at in range(0, 8, 2))))


def varint(value: int) -> bytes:
    """A number below 2^35 as protobuf writes it."""
    if value < 0x80:
        return bytes((value,))
    low = value & 0x7F | 0x80
    if value < 0x4000:
        return bytes((low, value >> 7))
    if value < 0x200000:
        return bytes((low, value >> 7 & 0x7F | 0x80, value >> 14))
    if value < 0x10000000:
        return bytes((low, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21))
    return bytes((low, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21 & 0x7F | 0x80, value >> 28))


def timestamp(time: int) -> bytes:
    """The inside of a `google.protobuf.Timestamp`."""
    seconds, nanos = divmod(time, _BILLION)
    return _seconds(seconds) + varint(nanos)


@lru_cache(maxsize=64)
def _seconds(seconds: int) -> bytes:
    return b"\x08" + varint(seconds) + b"\x10"


def layer4(kind: int, inside: bytes) -> bytes:
    """`flow.l4` with its tag; `kind` is the tag of the protocol within it, `inside` at most 100 bytes."""
    size = len(inside)
    return bytes((_L4, size + 2, kind, size)) + inside


def node_status(state: relay_pb2.NodeState, names: list[str], time: int, message: str = "") -> bytes:
    """A relay's word about some of its nodes."""
    response = observer_pb2.GetFlowsResponse(
        node_status=relay_pb2.NodeStatusEvent(state_change=state, node_names=names, message=message),
        node_name=RELAY_NAME,
    )
    response.time.FromNanoseconds(time)
    return response.SerializeToString()


def lost_events(
    source: flow_pb2.LostEventSource,
    node: str,
    count: int,
    first: int,
    last: int,
    cpu: int | None = None,
    *,
    dated: bool = True,
) -> bytes:
    """A node's word that events were lost between two times; not `dated`: servers before 1.19 do not say them."""
    response = observer_pb2.GetFlowsResponse(
        lost_events=flow_pb2.LostEvent(source=source, num_events_lost=count), node_name=node
    )
    if cpu is not None:
        response.lost_events.cpu.value = cpu
    if dated:
        response.lost_events.first.FromNanoseconds(first)
        response.lost_events.last.FromNanoseconds(last)
    response.time.FromNanoseconds(last)
    return response.SerializeToString()
