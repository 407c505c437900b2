"""Classify whole batches: one integer per flow holds its `Shape`, each distinct shape is decided once.

A cluster produces a few hundred shapes however many flows it has, so the pure function `decide` runs
a few hundred times in the life of the process, and everything per flow is numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowwatch.classify import NOTHING, Decision, Shape, decide
from flowwatch.codes import (
    EPHEMERAL,
    HANDLED_DROPS,
    ICMP_ERRORS,
    ICMPV6_ERRORS,
    ICMPV6_NEIGHBOUR,
    POLICY_DROPS,
    PROTOCOLS,
    Drop,
    Flags,
    FlowClass,
    Icmp,
    Ports,
    Reply,
)
from flowwatch.model import Protocol

Ints = npt.NDArray[np.int64]

_WIDTHS = (  # bits per field, low to high, in the order of `Shape`
    ("event", 8), ("point", 7), ("verdict", 4), ("drop", 2), ("direction", 2), ("reply", 2), ("trace_reason", 4),
    ("protocol", 3), ("flags", 2), ("icmp", 2), ("ports", 2), ("l7", 2), ("source_local", 1),
    ("destination_local", 1), ("health", 1), ("same_endpoint", 1), ("stale_identity", 1),
)  # fmt: skip


def unpack(packed: int) -> Shape:
    """The shape a packed integer stands for."""
    values: dict[str, int] = {}
    for name, width in _WIDTHS:
        values[name] = packed & ((1 << width) - 1)
        packed >>= width
    return Shape(
        event=values["event"],
        point=values["point"],
        verdict=values["verdict"],
        drop=Drop(values["drop"]),
        direction=values["direction"],
        reply=Reply(values["reply"]),
        trace_reason=values["trace_reason"],
        protocol=PROTOCOLS[values["protocol"]],
        flags=Flags(values["flags"]),
        icmp=Icmp(values["icmp"]),
        ports=Ports(values["ports"]),
        l7=values["l7"],
        source_local=bool(values["source_local"]),
        destination_local=bool(values["destination_local"]),
        health=bool(values["health"]),
        same_endpoint=bool(values["same_endpoint"]),
        stale_identity=bool(values["stale_identity"]),
    )


def _table(size: int, default: int, entries: Mapping[int, int]) -> Ints:
    table = np.full(size, default, dtype=np.int64)
    for index, value in entries.items():
        table[index] = value
    return table


_DROPS = _table(
    1024,
    Drop.INFRA,
    {0: Drop.NONE} | dict.fromkeys(POLICY_DROPS, Drop.POLICY) | dict.fromkeys(HANDLED_DROPS, Drop.HANDLED),
)
_PROTOCOL_CODES = _table(256, 0, {int(protocol): code for code, protocol in enumerate(PROTOCOLS)})
_ICMP_TYPES = _table(256, Icmp.QUERY, dict.fromkeys(ICMP_ERRORS, Icmp.ERROR))
_ICMPV6_TYPES = _table(
    256, Icmp.QUERY, dict.fromkeys(ICMPV6_ERRORS, Icmp.ERROR) | dict.fromkeys(ICMPV6_NEIGHBOUR, Icmp.NEIGHBOUR)
)

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
"""Bits of `Flows.tcp_flags`."""


@dataclass(frozen=True, slots=True)
class Flows:
    """The columns `classify` reads, one element per flow, all int64 and as Hubble numbers them.

    `drop_reason` is the code; `tcp_flags` are bits (FIN 1, SYN 2, RST 4, PSH 8, ACK 16 …); `destination_port` is the
    type for ICMP; `reply` is a `Reply`; the last five are 0 or 1.
    """

    event: Ints
    point: Ints
    verdict: Ints
    drop_reason: Ints
    direction: Ints
    reply: Ints
    trace_reason: Ints
    protocol: Ints
    tcp_flags: Ints
    source_port: Ints
    destination_port: Ints
    l7: Ints
    source_local: Ints
    destination_local: Ints
    health: Ints
    same_endpoint: Ints
    stale_identity: Ints


def pack(flows: Flows) -> Ints:
    """One integer per flow that holds exactly its `Shape`."""
    icmp = np.where(
        flows.protocol == Protocol.ICMP,
        _ICMP_TYPES[np.clip(flows.destination_port, 0, 255)],
        np.where(flows.protocol == Protocol.ICMPV6, _ICMPV6_TYPES[np.clip(flows.destination_port, 0, 255)], Icmp.NONE),
    )
    syn, ack = flows.tcp_flags & SYN != 0, flows.tcp_flags & ACK != 0
    flags = np.select(
        [flows.tcp_flags == 0, syn & ~ack, syn & ack], [Flags.NONE, Flags.SYN, Flags.SYN_ACK], Flags.LATER
    )
    columns = {
        "event": np.clip(flows.event, 0, 255),
        "point": np.clip(flows.point, 0, 127),
        "verdict": np.clip(flows.verdict, 0, 15),
        "drop": _DROPS[np.clip(flows.drop_reason, 0, 1023)],
        "direction": np.clip(flows.direction, 0, 3),
        "reply": flows.reply,
        "trace_reason": np.clip(flows.trace_reason, 0, 15),
        "protocol": _PROTOCOL_CODES[np.clip(flows.protocol, 0, 255)],
        "flags": flags,
        "icmp": icmp,
        "ports": _ports(flows),
        "l7": np.clip(flows.l7, 0, 3),
        "source_local": flows.source_local,
        "destination_local": flows.destination_local,
        "health": flows.health,
        "same_endpoint": flows.same_endpoint,
        "stale_identity": flows.stale_identity,
    }
    packed = np.zeros(len(flows.event), dtype=np.int64)
    shift = 0
    for name, width in _WIDTHS:
        packed |= columns[name].astype(np.int64) << shift
        shift += width
    return packed


def _ports(flows: Flows) -> Ints:
    """Compare the ports: ephemeral ones are clients', and below 1024 live services."""
    source, destination = flows.source_port, flows.destination_port
    has_ports = np.isin(flows.protocol, (Protocol.TCP, Protocol.UDP, Protocol.SCTP)) & (source > 0) & (destination > 0)
    rank_source = (source >= 1024).astype(np.int64) + (source >= EPHEMERAL)
    rank_destination = (destination >= 1024).astype(np.int64) + (destination >= EPHEMERAL)
    return np.select(
        [~has_ports, rank_destination < rank_source, rank_destination > rank_source],
        [Ports.UNKNOWN, Ports.FORWARD, Ports.BACKWARD],
        Ports.UNKNOWN,
    ).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Classes:
    """What each flow of a batch is: `Decision`, column by column."""

    flow_class: npt.NDArray[np.uint8]
    side: npt.NDArray[np.uint8]
    evidence: npt.NDArray[np.uint8]
    swapped: npt.NDArray[np.bool_]
    opens: npt.NDArray[np.bool_]


class Classifier:
    """Classifies batches, deciding every distinct shape once in its life."""

    def __init__(self, judged: frozenset[FlowClass] = NOTHING) -> None:
        """`judged` are the classes of noise that are switched off."""
        self._judged = judged
        self._known: dict[int, Decision] = {}

    def classify(self, flows: Flows) -> Classes:
        """Decide every flow of a batch."""
        distinct, inverse = np.unique(pack(flows), return_inverse=True)
        decisions = [self._decision(int(packed)) for packed in distinct]
        return Classes(
            np.array([d.flow_class for d in decisions], dtype=np.uint8)[inverse],
            np.array([d.side for d in decisions], dtype=np.uint8)[inverse],
            np.array([d.evidence for d in decisions], dtype=np.uint8)[inverse],
            np.array([d.swapped for d in decisions], dtype=np.bool_)[inverse],
            np.array([d.opens for d in decisions], dtype=np.bool_)[inverse],
        )

    def _decision(self, packed: int) -> Decision:
        decision = self._known.get(packed)
        if decision is None:
            decision = self._known[packed] = decide(unpack(packed), self._judged)
        return decision
