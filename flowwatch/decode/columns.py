"""What decoding yields: the fields of a batch of flows as columns, and the few messages that are none.

Numbers are int64 numpy arrays exactly as Hubble numbers them, so that values newer than we are
survive. Endpoints and policies are dictionary-encoded bytes: each distinct one stands once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError

from flowwatch.hubble import flow_pb2

Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Columns:
    """One batch of flows; every column has one element per flow, in the order received."""

    time: Ints
    """Nanoseconds since the epoch."""
    verdict: Ints
    drop_reason: Ints
    event: Ints
    sub_type: Ints
    direction: Ints
    point: Ints
    trace_reason: Ints
    reply: Ints
    """0 unknown, 1 no, 2 yes (`classify.Reply`)."""
    protocol: Ints
    """IANA number; 0 where the flow has no L4 part."""
    source_port: Ints
    destination_port: Ints
    """For ICMP and the like: source_port is the code, destination_port the type."""
    tcp_flags: Ints
    """FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, NS 256."""
    weight: Ints
    """How many flows the row stands for: 1, or the sum of an aggregated export."""
    encrypted: Ints
    """1 where a trace says the packet was encrypted."""
    auth_type: Ints
    l7_type: Ints
    l7_kind: Ints
    """0 none, 1 DNS, 2 HTTP, 3 Kafka."""
    latency: Ints
    """Nanoseconds."""
    dns_rcode: Ints
    dns_ttl: Ints
    """Seconds."""
    http_status: Ints
    node: pa.DictionaryArray
    source: pa.DictionaryArray
    """Serialised `flow.Endpoint`; empty bytes where absent."""
    destination: pa.DictionaryArray
    source_ip: pa.DictionaryArray
    destination_ip: pa.DictionaryArray
    names: pa.DictionaryArray
    """The destination's DNS names, sorted and joined by commas; empty where there are none."""
    uuid: pa.StringArray
    dns_query: pa.DictionaryArray
    dns_ips: pa.DictionaryArray
    """The addresses of a DNS answer, joined by commas."""
    http_method: pa.DictionaryArray
    http_url: pa.DictionaryArray
    allowed_by: pa.DictionaryArray
    """Serialised `flow.Policy` messages that allowed (either direction), joined by `join_policies`."""
    denied_by: pa.DictionaryArray

    def __len__(self) -> int:
        return len(self.time)

    def only(self, wanted: npt.NDArray[np.bool_]) -> Columns:
        """The flows that are wanted, in their order."""
        mask = pa.array(wanted)
        values = (getattr(self, column.name) for column in fields(self))
        return Columns(*(value[wanted] if isinstance(value, np.ndarray) else value.filter(mask) for value in values))


@dataclass(slots=True)
class Decoded:
    """A decoded batch: its flows, and whatever else the stream carried."""

    flows: Columns
    node_statuses: list[bytes]
    """Serialised `relay.NodeStatusEvent`."""
    losses: list[tuple[str, bytes]]
    """(node, serialised `flow.LostEvent`)."""
    undecodable: int = 0
    other: int = 0
    """Messages of kinds we do not read (agent and debug events of exporter logs)."""


LAST_SECOND = 9_223_372_036
"""The first second that cannot be counted in nanoseconds: in the year 2262."""
LARGEST = (1 << 63) - 1
"""What stands for any larger number."""

L7_NONE, L7_DNS, L7_HTTP, L7_KAFKA = 0, 1, 2, 3

_FLAG_BITS = tuple(
    (name, 1 << bit) for bit, name in enumerate(("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"))
)


def flag_bits(serialised: bytes) -> int:
    """The bits of a serialised `flow.TCPFlags`; -1 if it is none."""
    try:
        flags = flow_pb2.TCPFlags.FromString(serialised)
    except DecodeError:
        return -1
    return sum(bit for name, bit in _FLAG_BITS if getattr(flags, name))


def nanoseconds(seconds: Ints, nanos: Ints) -> Ints:
    """Times since the epoch; 0, as where there is none, for what 64 bits cannot hold or is no time."""
    sensible = (seconds >= 0) & (seconds < LAST_SECOND) & (nanos >= 0) & (nanos < 1_000_000_000)
    return np.where(sensible, np.where(sensible, seconds, 0) * 1_000_000_000 + nanos, 0)


def join_policies(policies: list[bytes]) -> bytes:
    """Several serialised policies as one value: length-prefixed, so that it can be split again."""
    return b"".join(len(policy).to_bytes(4, "big") + policy for policy in policies)


def split_policies(joined: bytes) -> list[bytes]:
    """The inverse of `join_policies`."""
    policies, at = [], 0
    while at < len(joined):
        size = int.from_bytes(joined[at : at + 4], "big")
        policies.append(joined[at + 4 : at + 4 + size])
        at += 4 + size
    return policies
