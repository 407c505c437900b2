"""Both decoders: the same columns from the same messages, and nothing lost on bad ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.decode import best_decoder
from flowwatch.decode.columns import Columns, join_policies, split_policies
from flowwatch.decode.fallback import FallbackDecoder
from flowwatch.decode.native import NativeDecoder
from flowwatch.hubble import flow_pb2, observer_pb2, relay_pb2
from tests.support import shared

DECODERS = pytest.mark.parametrize("decoder", [NativeDecoder, FallbackDecoder], ids=["native", "fallback"])
NATIVE, FALLBACK = NativeDecoder(), FallbackDecoder()


def as_lists(columns: Columns) -> dict[str, list[object]]:
    values = {field.name: getattr(columns, field.name) for field in dataclasses.fields(columns)}
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value.to_pylist() for name, value in values.items()
    }


def response(**fields: object) -> bytes:
    return observer_pb2.GetFlowsResponse(flow=flow_pb2.Flow(**fields)).SerializeToString()  # type: ignore[arg-type]


def test_the_native_decoder_is_the_one_in_use() -> None:
    """Where ptars is installed, it decodes."""
    assert best_decoder().name == "native"


@DECODERS
def test_every_field_arrives(decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """A flow with all fields we read becomes one row with all of them."""
    flow = flow_pb2.Flow(
        uuid="u-1", verdict=flow_pb2.DROPPED, drop_reason_desc=flow_pb2.POLICY_DENIED, node_name="node-1",
        Type=flow_pb2.L7, traffic_direction=flow_pb2.EGRESS, trace_observation_point=flow_pb2.TO_ENDPOINT,
        trace_reason=flow_pb2.NEW, destination_names=["b.example", "a.example"],
    )  # fmt: skip
    flow.time.FromNanoseconds(1_780_000_000_123_456_789)
    flow.event_type.type, flow.event_type.sub_type = 129, 3
    flow.is_reply.value = False
    flow.IP.source, flow.IP.destination, flow.IP.encrypted = "10.0.0.1", "203.0.113.7", True
    flow.auth_type = flow_pb2.SPIRE
    flow.l4.TCP.source_port, flow.l4.TCP.destination_port = 40000, 443
    flow.l4.TCP.flags.SYN = flow.l4.TCP.flags.ACK = True
    flow.source.labels.append("k8s:app=web")
    flow.l7.type, flow.l7.latency_ns = flow_pb2.RESPONSE, 1500
    flow.l7.http.code, flow.l7.http.method, flow.l7.http.url = 403, "GET", "http://x/"
    flow.egress_denied_by.add(name="p", namespace="shop", kind="CiliumNetworkPolicy")
    flow.aggregate.egress_flow_count = 17
    row = {
        name: values[0]
        for name, values in as_lists(
            decoder().decode([observer_pb2.GetFlowsResponse(flow=flow).SerializeToString()]).flows
        ).items()
    }
    assert row == {
        "time": 1_780_000_000_123_456_789, "verdict": 2, "drop_reason": 133, "event": 129, "sub_type": 3,
        "direction": 2, "point": 101, "trace_reason": 1, "reply": 1, "protocol": 6, "source_port": 40000,
        "destination_port": 443, "tcp_flags": 18, "encrypted": 1,
        "auth_type": 1, "weight": 17, "l7_type": 2, "l7_kind": 2, "latency": 1500,
        "dns_rcode": 0,
        "dns_ttl": 0, "dns_ips": "", "http_status": 403,
        "node": "node-1", "source": flow.source.SerializeToString(),
        "destination": b"", "source_ip": "10.0.0.1", "destination_ip": "203.0.113.7", "names": "a.example,b.example",
        "uuid": "u-1", "dns_query": "", "http_method": "GET", "http_url": "http://x/", "allowed_by": b"",
        "denied_by": join_policies([flow.egress_denied_by[0].SerializeToString()]),
    }  # fmt: skip


@DECODERS
def test_other_messages_are_told_apart(decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """Node statuses and losses come out beside the flows; agent events are counted; none is a flow."""
    status = relay_pb2.NodeStatusEvent(state_change=relay_pb2.NODE_UNAVAILABLE, node_names=["a"])
    lost = flow_pb2.LostEvent(source=flow_pb2.HUBBLE_RING_BUFFER, num_events_lost=7)
    agent = observer_pb2.ExportEvent(agent_event=flow_pb2.AgentEvent(type=flow_pb2.AGENT_STARTED))
    decoded = decoder().decode(
        [
            observer_pb2.GetFlowsResponse(node_status=status).SerializeToString(),
            response(uuid="u"),
            observer_pb2.GetFlowsResponse(lost_events=lost, node_name="node-9").SerializeToString(),
            agent.SerializeToString(),
        ]
    )
    assert decoded.node_statuses == [status.SerializeToString()]
    assert decoded.losses == [("node-9", lost.SerializeToString())]
    assert (len(decoded.flows), decoded.other, decoded.undecodable) == (1, 1, 0)


@DECODERS
def test_a_broken_message_costs_itself_only(decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """Garbage between flows is counted, and the flows around it are there."""
    decoded = decoder().decode([response(uuid="a"), b"\xff\xff\xff", response(uuid="b")])
    assert decoded.flows.uuid.to_pylist() == ["a", "b"]
    assert decoded.undecodable == 1


@DECODERS
def test_nothing_is_a_batch_too(decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """No messages, no flows."""
    assert len(decoder().decode([]).flows) == 0


@DECODERS
def test_unheard_of_numbers_survive(decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """Enum values newer than our protos keep their number."""
    decoded = decoder().decode([response(verdict=99, drop_reason_desc=206, trace_observation_point=77)])
    row = as_lists(decoded.flows)
    assert (row["verdict"], row["drop_reason"], row["point"]) == ([99], [206], [77])


@DECODERS
def test_old_servers_reply(decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """Without `is_reply`, the old `reply` says yes or nothing."""
    decoded = decoder().decode([response(reply=True), response(reply=False)])
    assert decoded.flows.reply.tolist() == [2, 0]


def test_policies_split_as_they_were_joined() -> None:
    """Joining serialised policies loses nothing, not even empty ones."""
    assert split_policies(join_policies([b"a", b"", b"ccc"])) == [b"a", b"", b"ccc"]


words = st.text(st.characters(codec="utf-8", exclude_characters=","), max_size=8)
numbers = st.integers(0, 2**31 - 1)
tcp = st.builds(
    lambda source, destination, syn: flow_pb2.Layer4(
        TCP=flow_pb2.TCP(source_port=source, destination_port=destination, flags=flow_pb2.TCPFlags(SYN=syn))
    ),
    numbers,
    numbers,
    st.booleans(),
)
dns = st.builds(
    lambda kind, query, rcode, ips: flow_pb2.Layer7(
        type=kind, dns=flow_pb2.DNS(query=query, rcode=rcode, ttl=rcode, ips=ips)
    ),
    numbers,
    words,
    numbers,
    st.lists(words, max_size=2),
)
flows = st.builds(
    flow_pb2.Flow,
    verdict=numbers,
    drop_reason=numbers,
    drop_reason_desc=numbers,
    traffic_direction=numbers,
    trace_observation_point=numbers,
    trace_reason=numbers,
    auth_type=numbers,
    node_name=words,
    uuid=words,
    reply=st.booleans(),
    destination_names=st.lists(words, max_size=3),
    event_type=st.builds(flow_pb2.CiliumEventType, type=numbers, sub_type=numbers),
    IP=st.none() | st.builds(flow_pb2.IP, source=words, destination=words, encrypted=st.booleans()),
    source=st.none() | st.builds(flow_pb2.Endpoint, ID=numbers, identity=numbers, labels=st.lists(words, max_size=2)),
    l4=st.none()
    | tcp
    | st.builds(lambda a, b: flow_pb2.Layer4(UDP=flow_pb2.UDP(source_port=a, destination_port=b)), numbers, numbers)
    | st.builds(lambda a, b: flow_pb2.Layer4(ICMPv6=flow_pb2.ICMPv6(type=a, code=b)), numbers, numbers)
    | st.builds(lambda a: flow_pb2.Layer4(IGMP=flow_pb2.IGMP(type=a)), numbers),
    l7=st.none()
    | dns
    | st.builds(lambda m, c: flow_pb2.Layer7(http=flow_pb2.HTTP(method=m, code=c)), words, numbers)
    | st.just(flow_pb2.Layer7(kafka=flow_pb2.Kafka(topic="t"))),
    ingress_allowed_by=st.lists(st.builds(flow_pb2.Policy, name=words, revision=numbers), max_size=2),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(flows, max_size=6))
def test_both_decoders_agree(some: list[flow_pb2.Flow]) -> None:
    """Whatever the flows hold, both decoders give the same columns."""
    messages = [observer_pb2.GetFlowsResponse(flow=flow, node_name="outer").SerializeToString() for flow in some]
    assert as_lists(NATIVE.decode(messages).flows) == as_lists(FALLBACK.decode(messages).flows)


def test_both_decoders_agree_on_simulated_flows() -> None:
    """40,000 realistic flows come out the same."""
    messages = list(shared.frames(shared.folder("simulated") / "dev.bin.xz"))
    assert as_lists(NATIVE.decode(messages).flows) == as_lists(FALLBACK.decode(messages).flows)
