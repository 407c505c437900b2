"""Decode batches with ptars: protobuf to Arrow in native code, the way every batch goes by default.

ptars is young and kept by few, so nothing outside this module knows it; `fallback` gives the same
columns and takes over for any batch it refuses. Columns that would keep the whole decoded batch
alive are dictionary-encoded, which copies them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ptars import HandlerPool

from flowwatch.decode.columns import (
    L7_DNS,
    L7_HTTP,
    L7_KAFKA,
    LARGEST,
    Columns,
    Decoded,
    Ints,
    flag_bits,
    join_policies,
    nanoseconds,
)
from flowwatch.decode.fallback import FallbackDecoder
from flowwatch.decode.inside import Inside, is_message
from flowwatch.hubble import projection_pb2
from flowwatch.model import Protocol

_L4 = (
    ("UDP", Protocol.UDP, "source_port", "destination_port"),
    ("TCP", Protocol.TCP, "source_port", "destination_port"),
    ("ICMPv4", Protocol.ICMP, "code", "type"),
    ("ICMPv6", Protocol.ICMPV6, "code", "type"),
    ("SCTP", Protocol.SCTP, "source_port", "destination_port"),
    ("VRRP", Protocol.VRRP, None, "type"),
    ("IGMP", Protocol.IGMP, None, "type"),
)

UUID_LENGTH = 36


class NativeDecoder:
    """Decodes with ptars; a batch it refuses goes through the fallback, message by message."""

    name = "native"

    def __init__(self) -> None:
        pool = HandlerPool([projection_pb2.DESCRIPTOR])
        self._handler = pool.get_for_message(projection_pb2.Response.DESCRIPTOR)
        self._fallback = FallbackDecoder()
        self._inside = Inside()
        self._flags: dict[bytes, int] = {}

    def decode(self, messages: list[bytes]) -> Decoded:
        """Decode a batch of serialised messages."""
        try:
            batch = self._handler.list_to_record_batch(messages)
        except (ValueError, TypeError, OverflowError, RuntimeError):
            return self._fallback.decode(messages)
        flow = batch.column("flow")
        there = _valid(flow)
        rest = [messages[at] for at in np.flatnonzero(~there)]
        if rest:
            batch = batch.filter(pa.array(there))
            flow = batch.column("flow")
        columns = self._columns(batch, flow)
        doubtful = np.flatnonzero(there)[_doubtful(columns)]
        others = self._fallback.decode(rest)
        if len(others.flows) or not all(is_message(projection_pb2.Response, messages[at]) for at in doubtful):
            return self._fallback.decode(messages)
        decoded = Decoded(columns, others.node_statuses, others.losses, others.undecodable, others.other)
        return self._inside.checked(decoded)

    def _columns(self, batch: pa.RecordBatch, flow: pa.StructArray) -> Columns:
        size = len(flow)
        event, ip, l7 = flow.field("event_type"), flow.field("IP"), flow.field("l7")
        protocol, source_port, destination_port, tcp_flags = self._l4(flow.field("l4"), size)
        has_l7 = l7.null_count < size
        dns, http = l7.field("dns"), l7.field("http")
        outer_node = batch.column("node_name")
        node = pc.if_else(pc.equal(flow.field("node_name"), ""), outer_node, flow.field("node_name"))
        return Columns(
            time=_times(flow.field("time"), batch.column("time")),
            verdict=_ints(flow.field("verdict")),
            drop_reason=_either(_ints(flow.field("drop_reason_desc")), _ints(flow.field("drop_reason"))),
            event=_ints(event.field("type")),
            sub_type=_ints(event.field("sub_type")),
            direction=_ints(flow.field("traffic_direction")),
            point=_ints(flow.field("trace_observation_point")),
            trace_reason=_ints(flow.field("trace_reason")),
            reply=_reply(flow),
            protocol=protocol,
            source_port=source_port,
            destination_port=destination_port,
            tcp_flags=tcp_flags,
            weight=_weight(flow.field("aggregate"), size),
            encrypted=_ints(ip.field("encrypted").cast(pa.int8())),
            auth_type=_ints(flow.field("auth_type")),
            l7_type=_ints(l7.field("type")) if has_l7 else np.zeros(size, np.int64),
            l7_kind=_l7_kind(l7, size) if has_l7 else np.zeros(size, np.int64),
            latency=_clipped(l7.field("latency_ns")) if has_l7 else np.zeros(size, np.int64),
            dns_rcode=_ints(dns.field("rcode")) if has_l7 else np.zeros(size, np.int64),
            dns_ttl=_ints(dns.field("ttl")) if has_l7 else np.zeros(size, np.int64),
            http_status=_ints(http.field("code")) if has_l7 else np.zeros(size, np.int64),
            node=node.dictionary_encode(),
            source=flow.field("source").dictionary_encode(),
            destination=flow.field("destination").dictionary_encode(),
            source_ip=ip.field("source").dictionary_encode(),
            destination_ip=ip.field("destination").dictionary_encode(),
            names=_names(flow.field("destination_names")),
            uuid=flow.field("uuid"),
            dns_query=_strings(dns.field("query"), size, has_l7),
            dns_ips=_strings(_joined(dns.field("ips")), size, has_l7),
            http_method=_strings(http.field("method"), size, has_l7),
            http_url=_strings(http.field("url"), size, has_l7),
            allowed_by=_policies(flow, "allowed_by"),
            denied_by=_policies(flow, "denied_by"),
        )

    def _l4(self, l4: pa.StructArray, size: int) -> tuple[Ints, Ints, Ints, Ints]:
        protocol, source, destination, flags = (np.zeros(size, np.int64) for _ in range(4))
        for arm, number, source_name, destination_name in _L4:
            part = l4.field(arm)
            if part.null_count == size:
                continue
            there = _valid(part)
            protocol[there] = number
            if source_name:
                source[there] = _ints(part.field(source_name))[there]
            destination[there] = _ints(part.field(destination_name))[there]
            if arm == "TCP":
                encoded = part.field("flags").dictionary_encode()
                bits = np.array([self._bits(value) for value in encoded.dictionary.to_pylist()] or [0], np.int64)
                flags[there] = bits[_ints(encoded.indices)[there]]
        return protocol, source, destination, flags

    def _bits(self, serialised: bytes) -> int:
        bits = self._flags.get(serialised)
        if bits is None:
            bits = self._flags[serialised] = flag_bits(serialised)
        return bits


def _ints(array: pa.Array) -> Ints:
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(np.int64)


def _clipped(array: pa.Array) -> Ints:
    """Unsigned numbers, the largest of them as large as can be."""
    clipped: Ints = np.minimum(np.asarray(array.to_numpy(zero_copy_only=False)), LARGEST).astype(np.int64)
    return clipped


def _valid(array: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _either(first: Ints, second: Ints) -> Ints:
    return np.where(first != 0, first, second)


def _doubtful(columns: Columns) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The flows that are not as servers send them. ptars reads on where a message makes no sense, and gives a flow with
    odd values, or without those that come late in it; protobuf, which is slower, is asked about these."""
    odd: np.ndarray[tuple[int], np.dtype[np.bool_]] = (columns.time == 0) | (columns.verdict >> 4 != 0)
    odd |= (columns.event >> 8 != 0) | (columns.direction >> 2 != 0) | (columns.trace_reason >> 8 != 0)
    odd |= (columns.source_port >> 16 != 0) | (columns.destination_port >> 16 != 0) | (columns.tcp_flags < 0)
    lengths = pc.utf8_length(columns.uuid).to_numpy(zero_copy_only=False)
    odd |= lengths != UUID_LENGTH
    return odd


def _times(inner: pa.StructArray, outer: pa.StructArray) -> Ints:
    times = [nanoseconds(_ints(time.field("seconds")), _ints(time.field("nanos"))) for time in (inner, outer)]
    return _either(*times)


def _reply(flow: pa.StructArray) -> Ints:
    is_reply = flow.field("is_reply")
    said = np.where(_ints(is_reply.field("value").cast(pa.int8())) != 0, 2, 1)
    # Servers before 1.9 only have the plain `reply`, where false means nothing.
    old = np.where(_ints(flow.field("reply").cast(pa.int8())) != 0, 2, 0)
    return np.where(_valid(is_reply), said, old).astype(np.int64)


def _weight(aggregate: pa.StructArray, size: int) -> Ints:
    if aggregate.null_count == size:
        return np.ones(size, np.int64)
    names = ("ingress_flow_count", "egress_flow_count", "unknown_direction_flow_count")
    total = sum((_ints(aggregate.field(name)) for name in names), np.zeros(size, np.int64))
    return np.maximum(total, 1)


def _l7_kind(l7: pa.StructArray, size: int) -> Ints:
    kind = np.zeros(size, np.int64)
    for name, code in (("dns", L7_DNS), ("http", L7_HTTP), ("kafka", L7_KAFKA)):
        kind[_valid(l7.field(name))] = code
    return kind


def _constant(size: int, value: str | bytes) -> pa.DictionaryArray:
    dictionary = pa.array([value], pa.string() if isinstance(value, str) else pa.binary())
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), dictionary)


def _strings(array: pa.Array, size: int, present: bool) -> pa.DictionaryArray:
    return array.dictionary_encode() if present else _constant(size, "")


def _joined(lists: pa.ListArray) -> pa.StringArray:
    return pc.binary_join(lists.cast(pa.list_(pa.string())), ",")


def _names(lists: pa.ListArray) -> pa.DictionaryArray:
    joined = _joined(lists).dictionary_encode()
    ordered = [",".join(sorted(value.split(","))) for value in joined.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(joined.indices, pa.array(ordered, pa.string()))


def _policies(flow: pa.StructArray, suffix: str) -> pa.DictionaryArray:
    size = len(flow)
    columns = [flow.field(f"{direction}_{suffix}") for direction in ("egress", "ingress")]
    if all(len(column.flatten()) == 0 for column in columns):
        return _constant(size, b"")
    lists = [column.to_pylist() for column in columns]
    return pa.array([join_policies(a + b) for a, b in zip(*lists, strict=True)], pa.binary()).dictionary_encode()
