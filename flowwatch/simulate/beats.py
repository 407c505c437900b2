"""What nodes report of one connection, packet by packet, for each way a connection can go.

A `Beat` is one flow to come: its template, how long after the one before, which way its ports
point. The methods of `Narrator` return the beats of a whole story; they are pure and depend on the
path alone, so a story is told once and then replayed for every connection on that path.

What servers since 1.16 get wrong is got wrong here too: `traffic_direction` of TO_ENDPOINT traces
is always EGRESS. Replies are swapped. Only first packets have policy verdicts, on each side that
policies select. The sending node reports a connection even if the receiving one then drops it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from flowwatch.hubble import flow_pb2
from flowwatch.model import Protocol
from flowwatch.simulate.cluster import Gateway, Health, Host, Node, Outside, Party, Pod
from flowwatch.simulate.messages import DROP, EGRESS, INGRESS, POLICY_VERDICT, TRACE, Press, Report, Template

L3_ONLY, L3_L4, ALL = 1, 2, 4
"""Values of `policy_match_type`."""
MICROSECOND, MILLISECOND, SECOND = 1_000, 1_000_000, 1_000_000_000
RETRANSMITS = (0, SECOND, 2 * SECOND, 4 * SECOND)
"""Waits before the packets of a TCP connection nobody answers."""
PROXY_PORT = 14_321

_TCP, _UDP = 0x0A, 0x12
_NETWORK, _OVERLAY = (2, "eth0"), (7, "cilium_vxlan")
_HERE = (Pod, Health)


class Way(IntEnum):
    """Which way the ports of a flow point, and which of them it has."""

    FORWARD = 0
    REPLY = 1
    NONE = 2
    SERVER_ONLY = 3


@dataclass(frozen=True, slots=True)
class Flags:
    """Some TCP flags: as a serialised field of `flow.TCP`, and as Hubble's summary."""

    wire: bytes
    summary: str


SYN = Flags(b"\x1a\x02\x10\x01", "TCP Flags: SYN")
SYN_ACK = Flags(b"\x1a\x04\x10\x01\x28\x01", "TCP Flags: SYN, ACK")
PSH_ACK = Flags(b"\x1a\x04\x20\x01\x28\x01", "TCP Flags: ACK, PSH")
FIN_ACK = Flags(b"\x1a\x04\x08\x01\x28\x01", "TCP Flags: ACK, FIN")
RST_ACK = Flags(b"\x1a\x04\x18\x01\x28\x01", "TCP Flags: ACK, RST")
ACK = Flags(b"\x1a\x02\x28\x01", "TCP Flags: ACK")
DATAGRAM = Flags(b"", "UDP")
BARE = Flags(b"", "")


@dataclass(frozen=True, slots=True)
class Path:
    """Between whom and how. `names`: by which names the client looked the server up.

    `policy` overrides the name of the policies on both sides; `broad`: they allow everything;
    `implied`: no policy allows it, but a node may always reach its own pods.
    """

    client: Party
    server: Party
    port: int
    protocol: Protocol = Protocol.TCP
    v6: bool = False
    names: tuple[str, ...] = ()
    policy: str = ""
    broad: bool = False
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """One flow to come: at least `gap` and at most `gap + jitter` ns after the one before.

    `kind` is the tag of the protocol within layer 4, `inside` what follows the ports there.
    """

    template: Template
    gap: int
    jitter: int
    way: Way
    kind: int
    inside: bytes


class Narrator:
    """Tells the stories of connections."""

    def __init__(self, press: Press) -> None:
        self._press = press

    # ── whole stories ────────────────────────────────────────────────────────────────────────────

    def forwarded(self, path: Path, rounds: int = 1) -> list[Beat]:
        """A connection that works: opened, `rounds` exchanges of data, closed; UDP is one exchange."""
        if path.protocol is Protocol.UDP:
            return [*self.opening(path, DATAGRAM), *self.answer(path, DATAGRAM, 2 * MILLISECOND)]
        story = [*self.opening(path, SYN), *self.answer(path, SYN_ACK, 300 * MICROSECOND)]
        for _ in range(rounds):
            story += self.packet(path, PSH_ACK, 300 * MICROSECOND) + self.answer(path, PSH_ACK, 8 * MILLISECOND)
        return [*story, *self.packet(path, FIN_ACK, 3 * MILLISECOND), *self.answer(path, FIN_ACK, 500 * MICROSECOND)]

    def refused_leaving(self, path: Path) -> list[Beat]:
        """The client's own policy drops it."""
        assert isinstance(path.client, Pod)
        return self._refused(path, path.client.node, EGRESS, flow_pb2.POLICY_DENIED)

    def refused_arriving(self, path: Path, explicit: bool = False) -> list[Beat]:
        """The client's node lets it go, the server's policy drops it; `explicit`: by a deny rule."""
        assert isinstance(path.server, Pod)
        reason = flow_pb2.POLICY_DENY if explicit else flow_pb2.POLICY_DENIED
        sent = self._sent(path, _first(path), flow_pb2.NEW)
        return [*sent, *self._refused(path, path.server.node, INGRESS, reason)]

    def _refused(
        self, path: Path, node: Node, direction: flow_pb2.TrafficDirection, reason: flow_pb2.DropReason
    ) -> list[Beat]:
        waits = RETRANSMITS if path.protocol is Protocol.TCP else RETRANSMITS[:2]
        return [beat for wait in waits for beat in self.drop(path, node, direction, reason, wait)]

    # ── parts of stories ─────────────────────────────────────────────────────────────────────────

    def opening(self, path: Path, flags: Flags) -> list[Beat]:
        """The first packet all the way: verdicts on both sides, and traces."""
        return self._sent(path, flags, flow_pb2.NEW) + self._received(path, flags, flow_pb2.NEW)

    def packet(self, path: Path, flags: Flags, gap: int) -> list[Beat]:
        """A later packet of the client's."""
        sent = self._sent(path, flags, flow_pb2.ESTABLISHED)
        return _later(sent + self._received(path, flags, flow_pb2.ESTABLISHED), gap)

    def answer(self, path: Path, flags: Flags, gap: int) -> list[Beat]:
        """A packet of the server's."""
        beats = []
        server, client = path.server, path.client
        if isinstance(server, _HERE) and not (isinstance(client, Pod) and client.node == server.node):
            point, interface = _departure(server.node, client)
            beats.append(
                self.beat(
                    path, flags, Way.REPLY, server.node, INGRESS, reply=True, point=point, interface=interface,
                    reason=flow_pb2.REPLY,
                )
            )  # fmt: skip
        if isinstance(client, Pod):
            beats.append(
                self.beat(
                    path, flags, Way.REPLY, client.node, EGRESS, reply=True, point=flow_pb2.TO_ENDPOINT,
                    interface=client.interface, reason=flow_pb2.REPLY, source_names=path.names,
                )
            )  # fmt: skip
        return _later(beats, gap)

    def drop(
        self,
        path: Path,
        node: Node,
        direction: flow_pb2.TrafficDirection,
        reason: flow_pb2.DropReason,
        gap: int = 0,
        flags: Flags | None = None,
        way: Way = Way.FORWARD,
    ) -> list[Beat]:
        """One packet that policy drops, told twice: by the verdict and, microseconds later, by the drop."""
        flags = flags or _first(path)
        common: dict[str, Any] = {"drop": reason, "verdict": flow_pb2.DROPPED, "match": 0}
        if direction == EGRESS:
            common["destination_names"] = path.names
        explicit = reason == flow_pb2.POLICY_DENY
        verdict = self.beat(
            path, flags, way, node, direction, event=POLICY_VERDICT,
            **common | ({"policy": _policy(path, path.server), "match": L3_ONLY} if explicit else {}),
        )  # fmt: skip
        line = 1372 if direction == EGRESS else 2159
        dropped = self.beat(
            path, flags, way, node, direction, event=DROP, sub_type=int(reason), file=("bpf_lxc.c", line), **common
        )
        return [*_later([verdict], gap), *_later([dropped], MICROSECOND, 12 * MICROSECOND)]

    def beat(
        self,
        path: Path,
        flags: Flags,
        way: Way,
        node: Node,
        direction: flow_pb2.TrafficDirection,
        *,
        event: int = TRACE,
        verdict: flow_pb2.Verdict = flow_pb2.FORWARDED,
        kind: int | None = None,
        **fields: Any,
    ) -> Beat:
        """One flow of the path as `node` reports it; `fields` are fields of `Report`."""
        client, server = path.client.address(path.v6), path.server.address(path.v6)
        back = way is Way.REPLY
        if event == TRACE:
            fields.setdefault("sub_type", _sub_type(fields.get("point", flow_pb2.UNKNOWN_POINT)))
        fields.setdefault("summary", flags.summary)
        fields.setdefault("source_ip", server if back else client)
        fields.setdefault("destination_ip", client if back else server)
        report = Report(
            node=node,
            event=event,
            verdict=verdict,
            direction=direction,
            source=path.server if back else path.client,
            destination=path.client if back else path.server,
            **fields,
        )
        tag = kind if kind is not None else _UDP if path.protocol is Protocol.UDP else _TCP
        gap, jitter = 20 * MICROSECOND, 150 * MICROSECOND
        return Beat(self._press.template(report), gap, jitter, way, tag, flags.wire)

    # ── one side ─────────────────────────────────────────────────────────────────────────────────

    def _sent(self, path: Path, flags: Flags, reason: flow_pb2.TraceReason) -> list[Beat]:
        """A packet of the client's leaving its node."""
        client, server = path.client, path.server
        if not isinstance(client, Pod):
            return []
        beats = []
        names: dict[str, Any] = {"destination_names": path.names}
        if reason == flow_pb2.NEW and client.governed:
            match: dict[str, Any] = {"match": ALL if path.broad else L3_L4, "policy": _policy(path, client)}
            beats.append(
                self.beat(path, flags, Way.FORWARD, client.node, EGRESS, event=POLICY_VERDICT, reply=False, **match,
                          **names)
            )  # fmt: skip
        if not (isinstance(server, _HERE) and server.node == client.node):
            point, interface = _departure(client.node, server)
            masked = isinstance(server, Outside) and not server.v6
            beats.append(
                self.beat(
                    path, flags, Way.FORWARD, client.node, EGRESS, reply=False, point=point, interface=interface,
                    reason=reason, xlated=client.node.ip if masked else "", **names,
                )
            )  # fmt: skip
        return beats

    def _received(self, path: Path, flags: Flags, reason: flow_pb2.TraceReason) -> list[Beat]:
        """A packet of the client's arriving at its destination."""
        server = path.server
        if not isinstance(server, _HERE):
            return []
        beats = []
        if reason == flow_pb2.NEW and isinstance(server, Pod) and server.governed:
            beats.append(self.admission(path, flags))
        interface = server.interface if isinstance(server, Pod) else (19, "lxc_health")
        beats.append(
            self.beat(
                path, flags, Way.FORWARD, server.node, EGRESS, reply=False, point=flow_pb2.TO_ENDPOINT,
                interface=interface, reason=reason,
            )
        )  # fmt: skip
        return beats

    def admission(self, path: Path, flags: Flags, verdict: flow_pb2.Verdict = flow_pb2.FORWARDED) -> Beat:
        """The verdict of the server's policy that lets a connection in."""
        assert isinstance(path.server, Pod)
        match = L3_ONLY if path.implied else ALL if path.broad else L3_L4
        policy = ("", "") if path.implied else _policy(path, path.server)
        return self.beat(
            path, flags, Way.FORWARD, path.server.node, INGRESS, event=POLICY_VERDICT, verdict=verdict, reply=False,
            match=match, policy=policy,
        )  # fmt: skip


def _first(path: Path) -> Flags:
    return SYN if path.protocol is Protocol.TCP else DATAGRAM


def _later(beats: list[Beat], gap: int, jitter: int | None = None) -> list[Beat]:
    """The same beats, the first of them after a wait."""
    if not beats or not gap:
        return beats
    return [replace(beats[0], gap=gap, jitter=gap // 3 if jitter is None else jitter), *beats[1:]]


def _departure(node: Node, towards: Party) -> tuple[flow_pb2.TraceObservationPoint, tuple[int, str]]:
    """Where a packet that leaves a node's pod is last seen there."""
    match towards:
        case Host() if towards.node == node:
            return flow_pb2.TO_STACK, (0, "")
        case Gateway() if towards.node == node:
            return flow_pb2.TO_STACK, (0, "")
        case Pod() | Gateway() | Health():
            return flow_pb2.TO_OVERLAY, _OVERLAY
        case _:
            return flow_pb2.TO_NETWORK, _NETWORK


def _sub_type(point: flow_pb2.TraceObservationPoint) -> int:
    """The datapath's number of a point, which for TO_ENDPOINT is not Hubble's."""
    return 0 if point == flow_pb2.TO_ENDPOINT else int(point)


def _policy(path: Path, pod: Party) -> tuple[str, str]:
    assert isinstance(pod, Pod)
    return path.policy or pod.component.policy, pod.component.namespace
