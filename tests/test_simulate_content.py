"""What simulated flows say: the field set, the quirks and the traps of Cilium 1.19, one by one."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable

from flowwatch.hubble import flow_pb2
from flowwatch.simulate.cases import CaseClass
from tests.support.simulated import played

DROP, TRACE, VERDICT, SOCKET, L7 = 1, 4, 5, 7, 129
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def of(flows: Iterable[flow_pb2.Flow], event: int) -> list[flow_pb2.Flow]:
    """The flows of one event type."""
    return [flow for flow in flows if flow.event_type.type == event]


def is_pod(endpoint: flow_pb2.Endpoint) -> bool:
    """Whether an endpoint is a pod, near or far."""
    return bool(endpoint.pod_name)


# ── the form of messages ─────────────────────────────────────────────────────────────────────────


def test_messages_are_canonical() -> None:
    """Putting them together from parts gives exactly what protobuf itself would write."""
    for event, response in zip(played().events, played().responses, strict=True):
        assert response.SerializeToString(deterministic=True) == event.message


def test_a_flow_is_as_long_as_in_real_clusters() -> None:
    """About 1.1 KB."""
    sizes = [len(event.message) for event in played().events if event.template is not None]

    assert 1000 < statistics.mean(sizes) < 1250
    assert max(sizes) < 2600


def test_every_flow_has_a_random_uuid_of_its_own() -> None:
    """Also the second report of one packet."""
    uuids = [flow.uuid for flow in played().flows]

    assert len(set(uuids)) == len(uuids)
    assert all(UUID.fullmatch(uuid) for uuid in uuids)


def test_every_flow_carries_what_agents_of_1_19_send() -> None:
    """Emitter, node labels, summary; addresses with their version; ethernet on packets only."""
    for flow in played().flows:
        packet = flow.event_type.type in (DROP, TRACE, VERDICT)
        assert (flow.emitter.name, flow.emitter.version) == ("Hubble", "1.19.4")
        assert f"kubernetes.io/hostname={flow.node_name}" in flow.node_labels
        assert flow.Summary
        assert flow.IP.ipVersion == (flow_pb2.IPv6 if ":" in flow.IP.source else flow_pb2.IPv4)
        assert flow.HasField("ethernet") is packet
        assert flow.HasField("l4")
        assert flow.Type == {L7: flow_pb2.L7, SOCKET: flow_pb2.SOCK}.get(flow.event_type.type, flow_pb2.L3_L4)


def test_only_a_nodes_own_pods_have_an_id_and_workloads() -> None:
    """Far pods have labels, a name and an identity, and nothing else."""
    pods = {pod.name: pod for pods in played().cluster.pods.values() for pod in pods}
    seen: Counter[bool] = Counter()
    for flow in played().flows:
        for endpoint in (flow.source, flow.destination):
            if is_pod(endpoint):
                pod = pods[endpoint.pod_name]
                own = pod.node.name == flow.node_name
                seen[own] += 1
                assert bool(endpoint.ID) is own
                assert [w.name for w in endpoint.workloads] == ([pod.component.workload] if own else [])
                assert tuple(endpoint.labels) == pod.component.labels
                assert endpoint.identity == pod.identity
                assert endpoint.namespace == pod.component.namespace
            elif "reserved:health" not in endpoint.labels:
                assert not endpoint.ID
    assert seen[True] > 1000
    assert seen[False] > 1000


def test_one_end_at_least_is_known_to_the_node() -> None:
    """A node reports its own pods, or itself."""
    for flow in played().flows:
        own = flow.source.ID or flow.destination.ID
        itself = "reserved:host" in [*flow.source.labels, *flow.destination.labels]
        assert own or itself


def test_identities_of_names_and_addresses_are_private_to_nodes() -> None:
    """The same labels have other numbers elsewhere; one number means one label set on one node."""
    numbers: dict[tuple[str, ...], set[int]] = defaultdict(set)
    meanings: dict[tuple[str, int], set[tuple[str, ...]]] = defaultdict(set)
    for flow in played().flows:
        if flow.destination.identity >= 1 << 24:
            labels = tuple(flow.destination.labels)
            numbers[labels].add(flow.destination.identity)
            meanings[flow.node_name, flow.destination.identity].add(labels)
            assert any(label.startswith(("fqdn:", "cidr:")) for label in labels)

    assert any(len(values) > 1 for values in numbers.values())
    assert all(len(values) == 1 for values in meanings.values())


def test_entities_have_the_label_sets_of_a_cluster_with_its_own_control_plane() -> None:
    """The API server is a node, near or far, and never an address of its own."""
    entities = {
        tuple(endpoint.labels)
        for flow in played().flows
        for endpoint in (flow.source, flow.destination)
        if not is_pod(endpoint) and endpoint.identity < 1 << 24
    }

    assert entities == {
        ("reserved:health",),
        ("reserved:host",),
        ("reserved:host", "reserved:kube-apiserver"),
        ("reserved:ingress",),
        ("reserved:kube-apiserver", "reserved:remote-node"),
        ("reserved:remote-node",),
        ("reserved:world-ipv4",),
        ("reserved:world-ipv6",),
    }


def test_protocols_versions_and_verdicts_are_mixed() -> None:
    """All verdicts but ERROR, TCP and UDP and ICMP, both IP versions."""
    flows = played().flows

    assert {flow_pb2.Verdict.Name(flow.verdict) for flow in flows} == {
        "FORWARDED", "DROPPED", "REDIRECTED", "AUDIT", "TRACED", "TRANSLATED",
    }  # fmt: skip
    assert {flow.l4.WhichOneof("protocol") for flow in flows} == {"TCP", "UDP", "ICMPv4", "ICMPv6"}
    assert 0.01 < sum(flow.IP.ipVersion == flow_pb2.IPv6 for flow in flows) / len(flows) < 0.2


# ── connections that work ────────────────────────────────────────────────────────────────────────


def test_a_delivery_is_said_to_be_egress() -> None:
    """As servers since 1.16 do, wrongly, for every TO_ENDPOINT trace."""
    delivered = [flow for flow in played().flows if flow.trace_observation_point == flow_pb2.TO_ENDPOINT]

    assert len(delivered) > 1000
    assert {flow.traffic_direction for flow in delivered} == {flow_pb2.EGRESS}
    assert {flow.event_type.sub_type for flow in delivered} == {0}


def test_replies_are_swapped() -> None:
    """Source is the server; is_reply and its deprecated twin say so."""
    replies = [flow for flow in of(played().flows, TRACE) if flow.HasField("is_reply") and flow.is_reply.value]

    assert len(replies) > 1000
    for flow in replies:
        assert flow.reply
        assert flow.trace_reason == flow_pb2.REPLY
        if flow.l4.HasField("TCP"):
            assert flow.l4.TCP.source_port < 32_768 < flow.l4.TCP.destination_port or flow.l4.TCP.source_port == 50_000


def test_only_first_packets_have_verdicts_once_on_each_side() -> None:
    """Allowed ones open a connection, are no reply, and name the policy that allowed them."""
    sides: dict[tuple[object, ...], Counter[int]] = defaultdict(Counter)
    for flow in of(played().flows, VERDICT):
        if flow.verdict == flow_pb2.DROPPED:
            continue
        assert flow.HasField("is_reply")
        assert not flow.is_reply.value
        tcp = flow.l4.TCP
        assert not flow.l4.HasField("TCP") or (tcp.flags.SYN and not tcp.flags.ACK)
        named = flow.ingress_allowed_by if flow.traffic_direction == flow_pb2.INGRESS else flow.egress_allowed_by
        if flow.verdict != flow_pb2.AUDIT and flow.policy_match_type != 1:
            assert [policy.revision for policy in named] == [41]
        if flow.l4.HasField("TCP"):
            sides[flow.IP.source, tcp.source_port, flow.IP.destination, tcp.destination_port][
                flow.traffic_direction
            ] += 1

    assert max(max(counts.values()) for counts in sides.values()) == 1
    assert sum(len(counts) == 2 for counts in sides.values()) > 100


def test_pods_without_a_policy_have_no_verdicts_but_for_lookups() -> None:
    """Their connections show in traces alone."""
    events = Counter(
        flow.event_type.type
        for flow in played().told("violation/unknown-workload")
        if flow.source.namespace == "sandbox" or flow.destination.namespace == "sandbox"
    )

    assert set(events) == {TRACE}


def test_names_are_known_where_they_were_looked_up() -> None:
    """A connection to a name follows its lookup; the node of the pod names it, on replies as source."""
    flows = played().told("violation/fqdn")

    assert {tuple(flow.destination_names or flow.source_names) for flow in flows} == {("paste.example.com",)}
    looked_up = [
        flow
        for flow in of(played().flows, L7)
        if flow.l7.dns.query == "paste.example.com." and flow.source.namespace == "monitoring"
    ]
    assert looked_up[0].time.ToNanoseconds() < flows[0].time.ToNanoseconds()


def test_names_behind_one_address_are_told_together() -> None:
    """As with sites behind one CDN."""
    several = {tuple(flow.destination_names) for flow in played().flows if len(flow.destination_names) > 1}

    assert several
    assert all(names == tuple(sorted(names)) for names in several)


def test_lookups_pass_the_dns_proxy() -> None:
    """Redirected by the clusterwide policy, asked and answered in the proxy's log, endpoints swapped in the answer."""
    redirected = [
        flow for flow in of(played().flows, VERDICT) if flow.verdict == flow_pb2.REDIRECTED and flow.l4.HasField("UDP")
    ]
    records = [flow for flow in of(played().flows, L7) if flow.l7.HasField("dns")]
    responses = [flow for flow in records if flow.l7.type == flow_pb2.RESPONSE]

    assert {(p.name, p.namespace, p.kind) for flow in redirected for p in flow.egress_allowed_by} == {
        ("allow-dns", "", "CiliumClusterwideNetworkPolicy")
    }
    assert {flow.l7.dns.rcode for flow in responses} == {0, 3}
    assert {flow.l7.dns.observation_source for flow in records} == {"proxy"}
    assert {flow.traffic_direction for flow in records} == {flow_pb2.EGRESS}
    for flow in responses:
        assert flow.is_reply.value
        assert "k8s:k8s-app=kube-dns" in flow.source.labels
        assert flow.l7.latency_ns
    assert any(flow.l7.dns.qtypes == ["AAAA"] and flow.l7.dns.ips for flow in responses)
    assert any(flow.trace_observation_point == flow_pb2.TO_PROXY and flow.proxy_port for flow in played().flows)


def test_requests_through_the_http_proxy_are_recorded() -> None:
    """Redirected at layer 4, then a request and its answer with a code, from the gateway."""
    records = [flow for flow in of(played().flows, L7) if flow.l7.HasField("http")]
    codes = {flow.l7.http.code for flow in records if flow.l7.type == flow_pb2.RESPONSE}

    assert {200, 302, 404} <= codes
    assert {flow.traffic_direction for flow in records} == {flow_pb2.INGRESS}
    assert all(not flow.l4.TCP.HasField("flags") for flow in records)
    assert {tuple(f.source.labels) for f in records if f.l7.type == flow_pb2.REQUEST} == {("reserved:ingress",)}


def test_masquerading_shows_the_nodes_address() -> None:
    """On IPv4 packets that leave the cluster, and nowhere else."""
    nodes = {node.name: node.ip for node in played().cluster.nodes}
    masked = [flow for flow in played().flows if flow.IP.source_xlated]

    assert masked
    for flow in masked:
        assert flow.IP.source_xlated == nodes[flow.node_name]
        assert flow.trace_observation_point == flow_pb2.TO_NETWORK
        assert any(label.startswith("reserved:world") for label in flow.destination.labels)


# ── drops ────────────────────────────────────────────────────────────────────────────────────────


def test_a_denied_packet_is_told_twice_and_sent_again() -> None:
    """By a verdict and microseconds later by a drop; several times, with growing waits."""
    for kind in ("denied egress-fqdn", "denied egress-pod", "blocked egress-broken"):
        flows = played().told(f"violation/{kind.split()[1]}")
        attempts: dict[tuple[str, int], list[flow_pb2.Flow]] = defaultdict(list)
        for flow in flows:
            attempts[flow.IP.source, flow.l4.TCP.source_port].append(flow)
        whole = [told for told in attempts.values() if len(told) == 8]
        assert whole, kind
        for told in whole:
            assert [flow.event_type.type for flow in told] == [VERDICT, DROP] * 4
            assert {flow.verdict for flow in told} == {flow_pb2.DROPPED}
            assert {flow.drop_reason for flow in told} == {133}
            assert not any(flow.HasField("is_reply") for flow in told)
            for verdict, drop in zip(told[::2], told[1::2], strict=True):
                assert 0 < drop.time.ToNanoseconds() - verdict.time.ToNanoseconds() < 50_000
                assert drop.file.name == "bpf_lxc.c"


def test_an_arriving_drop_was_sent_before() -> None:
    """The client's node forwards it, the server's node drops it; both say so with their own uuids."""
    flows = played().told("violation/ingress-broken")
    sides = {(flow.node_name, flow.verdict, flow.traffic_direction) for flow in flows}
    sent = [flow for flow in flows if flow.verdict == flow_pb2.FORWARDED]

    assert {direction for _, verdict, direction in sides if verdict == flow_pb2.DROPPED} == {flow_pb2.INGRESS}
    assert {flow.event_type.type for flow in sent} >= {VERDICT}
    assert {flow.traffic_direction for flow in sent} == {flow_pb2.EGRESS}
    assert flows[0].time.ToNanoseconds() == min(flow.time.ToNanoseconds() for flow in sent)


def test_an_explicit_denial_names_its_policy() -> None:
    """POLICY_DENY on the verdict, and only there; a default denial names none."""
    explicit = of(played().told("violation/world-ingress"), VERDICT)

    assert {flow.drop_reason_desc for flow in explicit} == {flow_pb2.POLICY_DENY}
    assert {policy.name for flow in explicit for policy in flow.ingress_denied_by} == {"kanidm-backup"}
    assert not any(flow.egress_denied_by for flow in played().flows)
    assert {tuple(flow.source.labels) for flow in explicit} == {("reserved:world-ipv4",)}


def test_a_refused_request_has_no_drop_reason() -> None:
    """Let in at layer 4, dropped by the proxy's rules, answered with 403."""
    flows = played().told("violation/l7")
    records = of(flows, L7)

    assert {flow.verdict for flow in of(flows, VERDICT)} == {flow_pb2.REDIRECTED}
    assert {(flow.l7.type, flow.verdict, flow.l7.http.code, flow.drop_reason) for flow in records} == {
        (flow_pb2.REQUEST, flow_pb2.DROPPED, 0, 0),
        (flow_pb2.RESPONSE, flow_pb2.FORWARDED, 403, 0),
    }


# ── traps ────────────────────────────────────────────────────────────────────────────────────────


def test_every_trap_occurs() -> None:
    """Each within the first half minute, and again."""
    counts = Counter(event.case.id for event in played().events if event.case is not None and event.opens)
    traps = [scene.case for scene in played().scenes.traps]

    assert {case.kind for case in traps} == {
        "reply_unknown", "late_reply", "stale_reply_drop", "icmp_error", "policy_audit", "sock_xlate", "health",
        "non_policy_drop", "ipv6_ndp", "self", "host_network", "kubelet_probe", "stale_ipcache",
    }  # fmt: skip
    assert [case.id for case in traps if counts[case.id] < 2] == []
    assert all(case.case_class is CaseClass.TRAP and case.square is None for case in traps)


def test_replies_that_do_not_say_so() -> None:
    """From a service's port, with neither is_reply nor a trace reason."""
    for flow in played().told("trap/reply_unknown"):
        assert not flow.HasField("is_reply")
        assert flow.trace_reason == flow_pb2.TRACE_REASON_UNKNOWN
        assert flow.l4.TCP.source_port < flow.l4.TCP.destination_port


def test_late_replies() -> None:
    """A reset after the end."""
    assert all(f.is_reply.value and f.l4.TCP.flags.RST for f in played().told("trap/late_reply"))


def test_stale_replies_are_dropped_as_if_they_opened_a_connection() -> None:
    """Told twice as any denial; from a service's port; never a SYN."""
    flows = played().told("trap/stale_reply_drop")

    assert {flow.event_type.type for flow in flows} == {VERDICT, DROP}
    for flow in flows:
        assert flow.drop_reason_desc == flow_pb2.POLICY_DENIED
        assert not flow.l4.TCP.flags.SYN
        assert flow.l4.TCP.source_port in (8333, 8080)
        assert flow.l4.TCP.destination_port >= 32_768
        assert not flow.HasField("is_reply")


def test_drops_that_are_no_policys() -> None:
    """No verdict comes with them."""
    flows = played().told("trap/non_policy_drop") + played().told("trap/ipv6_ndp")

    assert {flow.event_type.type for flow in flows} == {DROP}
    assert {flow_pb2.DropReason.Name(flow.drop_reason_desc) for flow in flows} == {
        "STALE_OR_UNROUTABLE_IP", "CT_TRUNCATED_OR_INVALID_HEADER", "UNSUPPORTED_L3_PROTOCOL", "INVALID_SOURCE_IP",
        "FORBIDDEN_ICMPV6_MESSAGE",
    }  # fmt: skip
    assert all(flow.drop_reason == flow.drop_reason_desc == flow.event_type.sub_type for flow in flows)


def test_neighbour_discovery_comes_from_link_local_addresses() -> None:
    """Router solicitations to all routers."""
    for flow in played().told("trap/ipv6_ndp"):
        assert flow.IP.source.startswith("fe80::")
        assert (flow.IP.destination, flow.l4.ICMPv6.type) == ("ff02::2", 133)


def test_audited_connections_are_forwarded() -> None:
    """AUDIT verdicts stand alone."""
    flows = played().told("trap/policy_audit")

    assert {(flow.event_type.type, flow.verdict) for flow in flows} == {(VERDICT, flow_pb2.AUDIT)}
    assert all(flow.HasField("is_reply") and not flow.is_reply.value for flow in flows)


def test_socket_events_carry_the_service_and_then_the_pod() -> None:
    """Before and after translation; no client port, no direction."""
    before, after = played().told("trap/sock_xlate")[:2]

    assert [flow_pb2.Verdict.Name(flow.verdict) for flow in (before, after)] == ["TRACED", "TRANSLATED"]
    assert (before.destination_service.name, before.destination_service.namespace) != ("", "")
    assert before.destination.labels == ["reserved:world-ipv4"]
    assert after.destination.pod_name
    for flow in (before, after):
        assert flow.l4.TCP.source_port == 0
        assert flow.traffic_direction == flow_pb2.TRAFFIC_DIRECTION_UNKNOWN
        assert flow.socket_cookie
        assert flow.sock_xlate_point == flow.event_type.sub_type


def test_other_traps_look_as_they_do() -> None:
    """ICMP errors are related, probes come from the own node, a pod may reach itself, clocks need no pod."""
    assert {f.trace_reason for f in played().told("trap/icmp_error")} == {flow_pb2.RELATED}
    assert {f.l4.ICMPv4.type for f in played().told("trap/icmp_error")} == {3}
    probes = of(played().told("trap/kubelet_probe"), VERDICT)
    assert {f.policy_match_type for f in probes} == {1}
    assert all("reserved:host" in f.source.labels and not f.ingress_allowed_by for f in probes)
    assert all(f.IP.source == f.IP.destination for f in played().told("trap/self"))
    for flow in played().told("trap/host_network"):
        assert "reserved:host" in flow.source.labels
        assert flow.l4.UDP.destination_port == 123
    health = played().told("trap/health")
    assert all("reserved:health" in [*f.source.labels, *f.destination.labels] for f in health)
    assert {f.l4.WhichOneof("protocol") for f in health} == {"TCP", "ICMPv4"}
    pods = {pod.ip for pods in played().cluster.pods.values() for pod in pods}
    for flow in played().told("trap/stale_ipcache"):
        assert flow.destination.labels == ["reserved:world-ipv4"]
        assert flow.IP.destination in pods
