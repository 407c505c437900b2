"""The traps: flows of a healthy cluster that a naive reader takes for violations.

Each is a case of its own with fixed ends, so that a finding about one can be told from a mistake.
They begin within the first seconds and come back all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from flowwatch.hubble import flow_pb2
from flowwatch.model import Protocol
from flowwatch.simulate.beats import (
    ACK,
    BARE,
    DATAGRAM,
    FIN_ACK,
    PSH_ACK,
    RST_ACK,
    SYN,
    Beat,
    Flags,
    Path,
    Way,
)
from flowwatch.simulate.cases import Case, CaseClass
from flowwatch.simulate.cluster import Cluster, Health, Host, Outside, Party, Pod
from flowwatch.simulate.messages import DROP, EGRESS, INGRESS, NONE, POLICY_VERDICT, SOCKET, varint
from flowwatch.simulate.stage import Scene, Stage

_TCP, _UDP, _ICMP, _ICMPV6 = Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ICMPV6
_ICMP_TAG, _ICMPV6_TAG = 0x1A, 0x22
_OVERLAY = (7, "cilium_vxlan")
_NTP, _CLUSTER_IP = "192.0.2.123", "10.96.77.59"
_FIRST, _SPREAD = 1.0, 20.0
_PERIODS = (17.0, 23.0, 31.0)

Tell: TypeAlias = Callable[[Stage, Path], list[Beat]]
Ends: TypeAlias = Callable[[Stage], tuple[Party, Party]]


def traps(cluster: Cluster) -> list[Scene]:
    """All traps, their beginnings spread over the first seconds."""
    made = list(_traps(cluster))
    return [
        Scene(case, act, first=_FIRST + _SPREAD * number / len(made), every=_PERIODS[number % len(_PERIODS)])
        for number, (case, act) in enumerate(made)
    ]


_Trap: TypeAlias = tuple[Case, Callable[[Stage, int, Case], None]]


def _traps(cluster: Cluster) -> Iterator[_Trap]:
    made = _Maker(cluster)
    loki, gateway, filer = "monitoring/loki", "monitoring/loki-gateway", "seaweedfs/filer"
    master, tempo, workflow = "seaweedfs/master", "monitoring/tempo", "argo/workflow-pods"
    yield made.pods("reply_unknown", filer, master, 9333, _reply_unknown)
    yield made.pods("reply_unknown", workflow, filer, 8333, _reply_unknown)
    yield made.pods("late_reply", tempo, filer, 8333, _late_reply)
    yield made.pods("stale_reply_drop", loki, filer, 8333, _stale_reply)
    yield made.pods("stale_reply_drop", "monitoring/prometheus", "trivy-system/trivy-operator", 8080, _stale_reply)
    yield made.pods("icmp_error", gateway, loki, 3, _unreachable, _ICMP)
    yield made.pods("policy_audit", workflow, "argocd/applicationset-controller", 8888, _audited)
    yield made.pods("policy_audit", "cert-manager/cainjector", "argocd/redis", 6379, _audited)
    yield made.pods("sock_xlate", "oauth2-proxy/oauth2-proxy-hubble", "kube-system/hubble-ui", 8081, _translated)
    yield made.pods("sock_xlate", "argocd/server", "argocd/repo-server", 8081, _translated)
    for source, server, port, reason in (
        (gateway, loki, 3100, flow_pb2.STALE_OR_UNROUTABLE_IP),
        ("argocd/server", "argocd/redis", 6379, flow_pb2.CT_TRUNCATED_OR_INVALID_HEADER),
        ("monitoring/alloy", gateway, 8080, flow_pb2.UNSUPPORTED_L3_PROTOCOL),
        ("kube-system/hubble-ui", "argo/workflows-server", 8080, flow_pb2.STALE_OR_UNROUTABLE_IP),
    ):
        yield made.pods("non_policy_drop", source, server, port, _lost_for(reason))
    for ref, reason in (
        (workflow, flow_pb2.UNSUPPORTED_L3_PROTOCOL),
        ("monitoring/grafana", flow_pb2.INVALID_SOURCE_IP),
        (tempo, flow_pb2.FORBIDDEN_ICMPV6_MESSAGE),
    ):
        yield made.neighbours(ref, reason)
    for ref, port in (("monitoring/grafana", 3000), (loki, 3100)):
        yield made.itself(ref, port)
    yield made.time_service()
    yield made.health("remote-node", 4240, _TCP)
    yield made.health("remote-node", 8, _ICMP)
    for component in cluster.homelab.components.values():
        declared = {port.number for line in component.ingress if "host" in line.peers for port in line.ports}
        yield from (made.probe(component.ref, port) for port in component.probes if port not in declared)
    yield made.pods("stale_ipcache", gateway, loki, 3100, _stale_identity)


class _Maker:
    """Names the cases of traps after the components of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._components = cluster.homelab.components

    def case(self, kind: str, source: str, destination: str, port: int, protocol: Protocol) -> Case:
        name = f"trap-{kind}-{source}-{destination}-{port}-{protocol.name}".replace("/", ".").lower()
        return Case(name, CaseClass.TRAP, kind, source, destination, port, protocol)

    def pods(self, kind: str, source: str, server: str, port: int, tell: Tell, protocol: Protocol = _TCP) -> _Trap:
        """A trap between a client and a server; `tell` says what their nodes report."""
        case = self.case(kind, self._title(source), self._title(server), port, protocol)

        def ends(stage: Stage) -> tuple[Party, Party]:
            client = stage.pod(source)
            return client, stage.other_pod(server, client)

        return case, _act(ends, tell)

    def neighbours(self, ref: str, reason: flow_pb2.DropReason) -> _Trap:
        """Router solicitations that a pod's IPv6 stack sends when it starts."""
        case = self.case("ipv6_ndp", self._title(ref), "ff02::2", 133, _ICMPV6)
        return case, _act(lambda stage: (stage.pod(ref), Outside("ff02::2")), _solicitation(reason))

    def itself(self, ref: str, port: int) -> _Trap:
        """A pod that reaches itself through its own service."""
        title = self._title(ref)

        def ends(stage: Stage) -> tuple[Party, Party]:
            pod = stage.pod(ref)
            return pod, pod

        return self.case("self", title, title, port, _TCP), _act(ends, _hairpin)

    def time_service(self) -> _Trap:
        """A node's own clock; no policy of pods speaks of it."""
        case = self.case("host_network", "host", _NTP, 123, _UDP)
        return case, _act(lambda stage: (Host(stage.random.choice(stage.cluster.nodes)), Outside(_NTP)), _from_host)

    def health(self, source: str, port: int, protocol: Protocol) -> _Trap:
        """Cilium's agents checking each other."""

        def ends(stage: Stage) -> tuple[Party, Party]:
            node = stage.random.choice(stage.cluster.nodes)
            return Host(stage.other_node(stage.cluster.workers, node)), Health(node)

        return self.case("health", source, "health", port, protocol), _act(ends, _ping if protocol is _ICMP else _plain)

    def probe(self, ref: str, port: int) -> _Trap:
        """The kubelet's probes, which no declaration mentions and no policy can forbid."""

        def ends(stage: Stage) -> tuple[Party, Party]:
            pod = stage.pod(ref)
            return Host(pod.node), pod

        return self.case("kubelet_probe", "host", self._title(ref), port, _TCP), _act(ends, _probe)

    def _title(self, ref: str) -> str:
        return self._components[ref].title


def _act(ends: Ends, tell: Tell) -> Callable[[Stage, int, Case], None]:
    def act(stage: Stage, at: int, case: Case) -> None:
        client, server = ends(stage)
        path = Path(client, server, case.port, case.protocol)
        stage.play(at, stage.story((path, tell), lambda: tell(stage, path)), case, case.port)

    return act


# ── what nodes report ────────────────────────────────────────────────────────────────────────────


def _plain(stage: Stage, path: Path) -> list[Beat]:
    return stage.narrator.forwarded(path, 0)


def _probe(stage: Stage, path: Path) -> list[Beat]:
    return stage.narrator.forwarded(Path(path.client, path.server, path.port, implied=True), 0)


def _from_host(stage: Stage, path: Path) -> list[Beat]:
    assert isinstance(path.client, Host)
    return [
        stage.narrator.beat(
            path, DATAGRAM, Way.FORWARD, path.client.node, NONE, reply=False, point=flow_pb2.TO_NETWORK,
            interface=(2, "eth0"), reason=flow_pb2.NEW,
        )
    ]  # fmt: skip


def _reply_unknown(stage: Stage, path: Path) -> list[Beat]:
    """A packet of an open connection, of which the datapath does not say that it is a reply."""
    node = _pod(path.server).node
    return [
        stage.narrator.beat(
            path, PSH_ACK, Way.REPLY, node, NONE, point=flow_pb2.TO_OVERLAY, interface=_OVERLAY,
        )
    ]  # fmt: skip


def _late_reply(stage: Stage, path: Path) -> list[Beat]:
    """The last word of a server whose client has closed already."""
    client = _pod(path.client)
    return [
        stage.narrator.beat(
            path, RST_ACK, Way.REPLY, client.node, EGRESS, reply=True, point=flow_pb2.TO_ENDPOINT,
            interface=client.interface, reason=flow_pb2.REPLY,
        )
    ]  # fmt: skip


def _stale_reply(stage: Stage, path: Path) -> list[Beat]:
    """Replies of a connection that conntrack forgot, so that policy drops them as if they opened one."""
    node = _pod(path.server).node
    packets = (ACK, FIN_ACK, RST_ACK)
    return [
        beat
        for number, flags in enumerate(packets)
        for beat in stage.narrator.drop(
            path, node, EGRESS, flow_pb2.POLICY_DENIED, number * 200_000_000, flags, Way.REPLY
        )
    ]


def _unreachable(stage: Stage, path: Path) -> list[Beat]:
    """`path.port` is the ICMP type: a server tells its client that nobody listens."""
    client = _pod(path.client)
    flags = _icmp(path.port, 3, "ICMPv4 DestinationUnreachable(Port)")
    return [
        stage.narrator.beat(
            path, flags, Way.NONE, client.node, EGRESS, kind=_ICMP_TAG, reply=False, point=flow_pb2.TO_ENDPOINT,
            interface=client.interface, reason=flow_pb2.RELATED,
        )
    ]  # fmt: skip


def _stale_identity(stage: Stage, path: Path) -> list[Beat]:
    """The node does not know yet whose address it is, and takes the pod for the world."""
    client, server = _pod(path.client), _pod(path.server)
    unknown = Path(client, Outside(server.ip), path.port)
    return [
        stage.narrator.beat(
            unknown, SYN, Way.FORWARD, client.node, EGRESS, reply=False, point=flow_pb2.TO_OVERLAY,
            interface=_OVERLAY, reason=flow_pb2.NEW,
        )
    ]  # fmt: skip


def _audited(stage: Stage, path: Path) -> list[Beat]:
    """In audit mode: policy would drop it."""
    return [
        stage.narrator.beat(
            path, SYN, Way.FORWARD, _pod(path.client).node, EGRESS, event=POLICY_VERDICT, verdict=flow_pb2.AUDIT,
            reply=False,
        )
    ]  # fmt: skip


def _lost_for(reason: flow_pb2.DropReason) -> Tell:
    def tell(stage: Stage, path: Path) -> list[Beat]:
        return [_drop(stage, path, ACK, Way.FORWARD, reason)]

    return tell


def _solicitation(reason: flow_pb2.DropReason) -> Tell:
    def tell(stage: Stage, path: Path) -> list[Beat]:
        local = Path(path.client, path.server, path.port, path.protocol, v6=True)
        flags = _icmp(path.port, 0, "ICMPv6 RouterSolicitation")
        link_local = f"fe80::{_pod(path.client).ip6.rpartition(':')[2]}"
        return [_drop(stage, local, flags, Way.NONE, reason, kind=_ICMPV6_TAG, source_ip=link_local)]

    return tell


def _drop(stage: Stage, path: Path, flags: Flags, way: Way, reason: flow_pb2.DropReason, **fields: Any) -> Beat:
    return stage.narrator.beat(
        path, flags, way, _pod(path.client).node, EGRESS, event=DROP, verdict=flow_pb2.DROPPED, sub_type=int(reason),
        drop=reason, file=("bpf_lxc.c", 1372), **fields,
    )  # fmt: skip


def _hairpin(stage: Stage, path: Path) -> list[Beat]:
    pod = _pod(path.client)
    return [
        stage.narrator.beat(
            path, flags, Way.FORWARD, pod.node, EGRESS, reply=False, point=flow_pb2.TO_ENDPOINT,
            interface=pod.interface, reason=reason,
        )
        for flags, reason in ((SYN, flow_pb2.NEW), (PSH_ACK, flow_pb2.ESTABLISHED))
    ]  # fmt: skip


def _ping(stage: Stage, path: Path) -> list[Beat]:
    """An echo request arrives at a health endpoint and is answered."""
    node = path.server.node if isinstance(path.server, Health) else None
    assert node is not None
    asked, answered = _icmp(path.port, 0, "ICMPv4 EchoRequest"), _icmp(0, 0, "ICMPv4 EchoReply")
    return [
        stage.narrator.beat(
            path, asked, Way.NONE, node, EGRESS, kind=_ICMP_TAG, reply=False, point=flow_pb2.TO_ENDPOINT,
            interface=(19, "lxc_health"), reason=flow_pb2.NEW,
        ),
        stage.narrator.beat(
            Path(path.server, path.client, 0, _ICMP), answered, Way.NONE, node, INGRESS, kind=_ICMP_TAG, reply=True,
            point=flow_pb2.TO_NETWORK, interface=(2, "eth0"), reason=flow_pb2.REPLY,
        ),
    ]  # fmt: skip


def _translated(stage: Stage, path: Path) -> list[Beat]:
    """Socket events before and after the service's address is replaced by a pod's; no packet exists yet."""
    client, server = _pod(path.client), _pod(path.server)
    cookie = 700_000 + client.endpoint
    service = (server.component.workload, server.component.namespace)
    before = Path(client, Outside(_CLUSTER_IP), path.port)
    common: dict[str, Any] = {"event": SOCKET, "socket_cookie": cookie, "summary": "TCP"}
    return [
        stage.narrator.beat(
            before, BARE, Way.SERVER_ONLY, client.node, NONE, verdict=flow_pb2.TRACED, sub_type=1, service=service,
            socket_point=flow_pb2.SOCK_XLATE_POINT_PRE_DIRECTION_FWD, **common,
        ),
        stage.narrator.beat(
            path, BARE, Way.SERVER_ONLY, client.node, NONE, verdict=flow_pb2.TRANSLATED, sub_type=2,
            socket_point=flow_pb2.SOCK_XLATE_POINT_POST_DIRECTION_FWD, **common,
        ),
    ]  # fmt: skip


def _icmp(kind: int, code: int, summary: str) -> Flags:
    wire = (b"\x08" + varint(kind) if kind else b"") + (b"\x10" + varint(code) if code else b"")
    return Flags(wire, summary)


def _pod(party: Party) -> Pod:
    assert isinstance(party, Pod)
    return party
