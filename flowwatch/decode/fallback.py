"""Decode batches with protobuf alone: slower, but nothing more than the named packages is needed.

One Python object per flow is made here and nowhere else. It also serves any batch the native
decoder refuses, so that one broken message costs itself and not its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from flowwatch.decode.columns import (
    L7_DNS,
    L7_HTTP,
    L7_KAFKA,
    L7_NONE,
    LARGEST,
    Columns,
    Decoded,
    Ints,
    flag_bits,
    join_policies,
    nanoseconds,
)
from flowwatch.decode.inside import Inside
from flowwatch.hubble import projection_pb2
from flowwatch.model import Protocol

Flow = projection_pb2.Flow
Response = projection_pb2.Response

_PROTOCOLS = {
    "TCP": Protocol.TCP,
    "UDP": Protocol.UDP,
    "ICMPv4": Protocol.ICMP,
    "ICMPv6": Protocol.ICMPV6,
    "SCTP": Protocol.SCTP,
    "VRRP": Protocol.VRRP,
    "IGMP": Protocol.IGMP,
}
_L7_KINDS = {"dns": L7_DNS, "http": L7_HTTP, "kafka": L7_KAFKA}


class FallbackDecoder:
    """Decodes with protobuf's own parser, message by message."""

    name = "fallback"

    def __init__(self) -> None:
        self._inside = Inside()

    def decode(self, messages: list[bytes]) -> Decoded:
        """Decode a batch of serialised messages."""
        responses: list[Response] = []
        node_statuses: list[bytes] = []
        losses: list[tuple[str, bytes]] = []
        undecodable = other = 0
        for message in messages:
            try:
                response = Response.FromString(message)
            except DecodeError:
                undecodable += 1
                continue
            if response.HasField("flow"):
                responses.append(response)
            elif response.node_status:
                node_statuses.append(response.node_status)
            elif response.lost_events:
                losses.append((response.node_name, response.lost_events))
            else:
                other += 1
        return self._inside.checked(Decoded(_columns(responses), node_statuses, losses, undecodable, other))


def _columns(responses: Sequence[Response]) -> Columns:
    flows = [response.flow for response in responses]
    l4 = [_l4(flow) for flow in flows]
    return Columns(
        time=_times(responses),
        verdict=_ints(flow.verdict for flow in flows),
        drop_reason=_ints(flow.drop_reason_desc or flow.drop_reason for flow in flows),
        event=_ints(flow.event_type.type for flow in flows),
        sub_type=_ints(flow.event_type.sub_type for flow in flows),
        direction=_ints(flow.traffic_direction for flow in flows),
        point=_ints(flow.trace_observation_point for flow in flows),
        trace_reason=_ints(flow.trace_reason for flow in flows),
        reply=_ints(_reply(flow) for flow in flows),
        protocol=_ints(part[0] for part in l4),
        source_port=_ints(part[1] for part in l4),
        destination_port=_ints(part[2] for part in l4),
        tcp_flags=_ints(flag_bits(flow.l4.TCP.flags) for flow in flows),
        weight=_ints(_weight(flow) for flow in flows),
        encrypted=_ints(int(flow.IP.encrypted) for flow in flows),
        auth_type=_ints(flow.auth_type for flow in flows),
        l7_type=_ints(flow.l7.type for flow in flows),
        l7_kind=_ints(_l7_kind(flow) for flow in flows),
        latency=_ints(min(flow.l7.latency_ns, LARGEST) for flow in flows),
        dns_rcode=_ints(flow.l7.dns.rcode for flow in flows),
        dns_ttl=_ints(flow.l7.dns.ttl for flow in flows),
        http_status=_ints(flow.l7.http.code for flow in flows),
        node=_strings(response.flow.node_name or response.node_name for response in responses),
        source=_bytes(flow.source for flow in flows),
        destination=_bytes(flow.destination for flow in flows),
        source_ip=_strings(flow.IP.source for flow in flows),
        destination_ip=_strings(flow.IP.destination for flow in flows),
        names=_strings(",".join(sorted(flow.destination_names)) for flow in flows),
        uuid=pa.array([flow.uuid for flow in flows], pa.string()),
        dns_query=_strings(flow.l7.dns.query for flow in flows),
        dns_ips=_strings(",".join(flow.l7.dns.ips) for flow in flows),
        http_method=_strings(flow.l7.http.method for flow in flows),
        http_url=_strings(flow.l7.http.url for flow in flows),
        allowed_by=_bytes(join_policies([*flow.egress_allowed_by, *flow.ingress_allowed_by]) for flow in flows),
        denied_by=_bytes(join_policies([*flow.egress_denied_by, *flow.ingress_denied_by]) for flow in flows),
    )


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)


def _strings(values: Iterable[str]) -> pa.DictionaryArray:
    return pa.array(list(values), pa.string()).dictionary_encode()


def _bytes(values: Iterable[bytes]) -> pa.DictionaryArray:
    return pa.array(list(values), pa.binary()).dictionary_encode()


def _times(responses: Sequence[Response]) -> Ints:
    inner, outer = (
        nanoseconds(_ints(time.seconds for time in times), _ints(time.nanos for time in times))
        for times in ([response.flow.time for response in responses], [response.time for response in responses])
    )
    return np.where(inner != 0, inner, outer)


def _reply(flow: Flow) -> int:
    if flow.HasField("is_reply"):
        return 2 if flow.is_reply.value else 1
    return 2 if flow.reply else 0


def _l4(flow: Flow) -> tuple[int, int, int]:
    for name, protocol in _PROTOCOLS.items():
        if flow.l4.HasField(name):
            part = getattr(flow.l4, name)
            if protocol in (Protocol.TCP, Protocol.UDP, Protocol.SCTP):
                return protocol, part.source_port, part.destination_port
            return protocol, getattr(part, "code", 0), part.type
    return 0, 0, 0


def _l7_kind(flow: Flow) -> int:
    return next((kind for name, kind in _L7_KINDS.items() if flow.l7.HasField(name)), L7_NONE)


def _weight(flow: Flow) -> int:
    if not flow.HasField("aggregate"):
        return 1
    counts = flow.aggregate
    return max(counts.ingress_flow_count + counts.egress_flow_count + counts.unknown_direction_flow_count, 1)
