"""Faults of simulated servers: how they are written, and what a client sees of each over real gRPC."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import grpc
import pytest

from flowwatch.errors import FlowwatchError
from flowwatch.hubble import observer_pb2, relay_pb2
from flowwatch.simulate import Fault, Mode, Script, SimulatedHubble, chaos, parse_fault
from flowwatch.simulate.faults import MEANINGS, OF_NODES
from tests.support.hubbleclients import Follower, Notified, until

NODES = ["talos-cp-1", "talos-cp-2", "talos-cp-3", "talos-w-1", "talos-w-2", "talos-w-3"]
NODE = "talos-w-3"


@pytest.fixture
def hubble() -> Iterator[SimulatedHubble]:
    """A run with a server for each node."""
    simulated = SimulatedHubble(rate=600.0, nodes=True, at_once=True, journal=True, script=Script(lost=0))
    with simulated:
        yield simulated


def status(address: str) -> observer_pb2.ServerStatusResponse:
    """What a server says of itself."""
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary("/observer.Observer/ServerStatus")(b"", timeout=5)
    return observer_pb2.ServerStatusResponse.FromString(answer)


# ── as text ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rst node=2 at=20s for=10s", Fault(Mode.RST, "2", 0, 20.0, 10.0)),
        ("half-open", Fault(Mode.HALF_OPEN)),
        ("stall for=1m node=*", Fault(Mode.STALL, "*", 0, 0.0, 60.0)),
        ("eof stream=7", Fault(Mode.EOF, "", 7)),
    ],
)
def test_faults_are_written_as_words(text: str, fault: Fault) -> None:
    """In any order; what is printed can be read again."""
    assert parse_fault(text) == fault
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is none of rst, fin, garbage"),
        ("explode node=1", "fault 'explode node=1': 'explode' is none of rst"),
        ("rst when=3s", "'when=3s' is none of node=, stream=, at=, for="),
        ("rst at=3s at=4s", "'at=4s' is none of node=, stream=, at=, for=, or there twice"),
        ("rst at=soon", "'soon' is not a duration"),
        ("rst stream=x", "stream= takes the number of a stream"),
        ("rst node=mars", "there is no node 'mars'; the nodes are talos-cp-1, "),
        ("rst node=7", "there is no node '7'"),
        ("leave", "a relay cannot leave; name a node"),
        ("goaway stream=1", "goaway cannot happen to one stream alone"),
    ],
)
def test_what_is_no_fault_is_refused(text: str, says: str) -> None:
    """With the words that were wrong."""
    with pytest.raises(FlowwatchError) as caught:
        parse_fault(text).check(NODES)

    assert says in str(caught.value)


def test_a_node_can_be_counted() -> None:
    """From one."""
    assert parse_fault("rst node=4").check(NODES).node == "talos-w-1"


def test_every_mode_has_its_meaning() -> None:
    """None is left out of the help."""
    assert set(MEANINGS) == set(Mode)


def test_chaos_is_the_same_for_the_same_seed() -> None:
    """In the order of time, each fault possible and of limited length; of every mode, everywhere."""
    first, again, other = (list(itertools.islice(chaos(seed, NODES), 600)) for seed in (7, 7, 8))

    assert first == again != other
    assert [fault.at for fault in first] == sorted(fault.at for fault in first)
    assert 4.0 < first[-1].at / len(first) < 6.0
    assert {fault.mode for fault in first} == set(Mode)
    assert {fault.node for fault in first} == {"", *NODES}
    assert all(fault.check(NODES) and 0 < (fault.duration or 0) <= 10 for fault in first)
    assert not any(fault.mode in OF_NODES for fault in first if not fault.node)


# ── what a client sees ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("server", ["relay", NODE])
@pytest.mark.parametrize(
    ("mode", "code", "details"),
    [
        (Mode.RST, "UNAVAILABLE", "reset by peer"),
        (Mode.FIN, "UNAVAILABLE", "Socket closed"),
        (Mode.GARBAGE, "UNAVAILABLE", ""),
        (Mode.UNAVAILABLE, "UNAVAILABLE", "transport is closing"),
        (Mode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", "too many requests"),
        (Mode.EOF, "OK", ""),
        (Mode.GOAWAY, "UNAVAILABLE", ""),
        (Mode.RESTART, "UNAVAILABLE", "reset by peer"),
    ],
)
def test_streams_end_as_the_fault_says(
    hubble: SimulatedHubble, server: str, mode: Mode, code: str, details: str
) -> None:
    """And, as it has no duration, the server can be used again at once."""
    node = "" if server == "relay" else server
    address = hubble.relay_address if server == "relay" else hubble.node_addresses[server]
    with Follower(address) as follower:
        until(lambda: follower.flows > 5)
        hubble.inject(Fault(mode, node))
        until(lambda: follower.ends)

        assert follower.ends[0][0] == code
        assert details in follower.ends[0][1]
    with Follower(address) as follower:
        until(lambda: follower.flows > 5)


@pytest.mark.parametrize("mode", [Mode.RST, Mode.FIN, Mode.GOAWAY, Mode.RESTART, Mode.LEAVE])
def test_nobody_can_connect_while_a_server_is_down(hubble: SimulatedHubble, mode: Mode) -> None:
    """The connection is refused; the port is the same afterwards."""
    address = hubble.node_addresses[NODE]
    lift = hubble.inject(Fault(mode, NODE, duration=600))

    with pytest.raises(grpc.RpcError) as caught:
        status(address)
    assert "onnection refused" in caught.value.details()

    lift()
    assert status(address).max_flows == 4095
    assert hubble.node_addresses[NODE] == address


@pytest.mark.parametrize("mode", [Mode.UNAVAILABLE, Mode.RESOURCE_EXHAUSTED])
def test_calls_fail_while_it_lasts(hubble: SimulatedHubble, mode: Mode) -> None:
    """Those that answer once, too."""
    address = hubble.node_addresses[NODE]
    lift = hubble.inject(Fault(mode, NODE, duration=600))

    with Follower(address) as follower:
        until(lambda: follower.ends)
    with pytest.raises(grpc.RpcError) as caught:
        status(address)
    assert caught.value.code().name == follower.ends[0][0] == mode.name

    lift()
    assert status(address).max_flows == 4095


@pytest.mark.parametrize("server", ["", NODE])
def test_a_stalled_stream_stays_open_and_the_status_is_answered(hubble: SimulatedHubble, server: str) -> None:
    """It goes on afterwards as if nothing had been; flows are seen meanwhile."""
    address = hubble.node_addresses[server] if server else hubble.relay_address
    with Follower(address) as follower:
        until(lambda: follower.flows > 5)
        lift = hubble.inject(Fault(Mode.STALL, server))
        seen = status(address).seen_flows
        until(lambda: status(address).seen_flows > seen + 100)
        settled = follower.flows
        until(lambda: status(address).seen_flows > seen + 200)

        assert follower.flows - settled <= 1
        assert follower.ends == []
        lift()
        until(lambda: follower.flows > settled + 100)


def test_a_frozen_connection_answers_nothing(hubble: SimulatedHubble) -> None:
    """Not even the status; what waited arrives afterwards."""
    address = hubble.node_addresses[NODE]
    with Follower(address) as follower, grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/observer.Observer/ServerStatus")
        ask(b"", timeout=30)
        until(lambda: follower.flows > 5)
        lift = hubble.inject(Fault(Mode.FREEZE, NODE))
        with pytest.raises(grpc.RpcError) as caught:
            ask(b"", timeout=0.5)
        settled = follower.flows

        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert [stream.held for stream in hubble.evidence().streams.values()] == [True]
        lift()
        until(lambda: follower.flows > settled + 100)
        assert follower.ends == []
        assert [stream.held for stream in hubble.evidence().streams.values()] == [False]


def test_a_half_open_server_accepts_and_is_silent(hubble: SimulatedHubble) -> None:
    """Connections there are say nothing either; when the host is back it resets them."""
    address = hubble.node_addresses[NODE]
    with Follower(address) as follower:
        until(lambda: follower.flows > 5)
        lift = hubble.inject(Fault(Mode.HALF_OPEN, NODE))
        with pytest.raises(grpc.RpcError) as caught, grpc.insecure_channel(address) as channel:
            channel.unary_unary("/observer.Observer/ServerStatus")(b"", timeout=0.5)

        assert "refused" not in caught.value.details()
        assert follower.ends == []
        lift()
        until(lambda: follower.ends)
        assert "reset by peer" in follower.ends[0][1]
    assert status(address).max_flows == 4095


def test_a_corrupt_message_comes_between_others(hubble: SimulatedHubble) -> None:
    """It takes the place of none."""
    with Follower(hubble.node_addresses[NODE]) as follower:
        until(lambda: follower.flows > 5)
        hubble.inject(Fault(Mode.CORRUPT, NODE))
        until(lambda: follower.broken)
        flows = follower.flows
        until(lambda: follower.flows > flows + 50)

        assert follower.broken == 1
        times = [message.time.ToNanoseconds() for message in follower.messages]
        assert times == sorted(times)


def test_a_delay_postpones_everything(hubble: SimulatedHubble) -> None:
    """Calls take longer by it."""
    with grpc.insecure_channel(hubble.node_addresses[NODE]) as channel:
        ask = channel.unary_unary("/observer.Observer/ServerStatus")
        ask(b"", timeout=30)
        hubble.inject(Fault(Mode.DELAY, NODE))
        began = time.monotonic()
        ask(b"", timeout=30)

        assert time.monotonic() - began >= 0.2


def test_one_stream_alone_can_be_hit(hubble: SimulatedHubble) -> None:
    """Its connection breaks, or it stalls; others go on."""
    address = hubble.node_addresses[NODE]
    with Follower(address) as one:
        until(lambda: one.flows)
        with Follower(address) as two:
            until(lambda: two.flows)
            hubble.inject(Fault(Mode.RST, NODE, stream=2))
            until(lambda: two.ends)
        hubble.inject(Fault(Mode.EOF, NODE, stream=1))
        flows = one.flows
        until(lambda: one.ends)

        assert "reset by peer" in two.ends[0][1]
        assert one.ends == [("OK", "")]
        assert one.flows >= flows > 0
        assert {number: each.cut for number, each in hubble.evidence().streams.items()} == {1: "", 2: "rst"}


def test_a_restarted_agent_has_forgotten_everything(hubble: SimulatedHubble) -> None:
    """Ring, counter and uptime begin anew; while it is down nothing is seen."""
    address = hubble.node_addresses[NODE]
    before = until(lambda: (now := status(address)).seen_flows > 100 and now)
    lift = hubble.inject(Fault(Mode.RESTART, NODE, duration=600))
    emitted = len(hubble.evidence().emitted[NODE].uuids)
    flows = hubble.truth().totals.flows
    until(lambda: hubble.truth().totals.flows > flows + 300)
    assert len(hubble.evidence().emitted[NODE].uuids) - emitted <= 256
    emitted = len(hubble.evidence().emitted[NODE].uuids)
    lift()
    after = status(address)

    assert after.uptime_ns < before.uptime_ns
    assert after.seen_flows < before.seen_flows
    assert hubble.evidence().emitted[NODE].boots == [0, emitted]


def test_faults_happen_at_their_times() -> None:
    """Counted from the beginning of the run, and they end when they are to; the journal says when both were."""
    faults = [parse_fault("rst node=1 at=0.2s"), parse_fault("eof at=0.3s for=0.4s")]
    hubble = SimulatedHubble(rate=500.0, faults=faults, journal=True)
    with hubble as address, Follower(address) as follower:
        until(lambda: len(hubble.evidence().faults) == 4)
        until(lambda: follower.ends)
        assert follower.ends == [("OK", "")]
        told = hubble.evidence().faults

    assert [(text, on) for _, text, on in told] == [
        ("rst node=talos-cp-1 at=200ms", True),
        ("rst node=talos-cp-1 at=200ms", False),
        ("eof at=300ms for=400ms", True),
        ("eof at=300ms for=400ms", False),
    ]
    assert told[3][0] - told[2][0] >= 0.4e9


# ── what a relay makes of its nodes' faults ──────────────────────────────────────────────────────


def test_a_relay_reports_a_failed_node_late_and_never_its_return(
    hubble: SimulatedHubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NODE_ERROR with the time of the error; then the original request again, so that history comes twice."""
    monkeypatch.setattr("flowwatch.simulate.relay.AGGREGATE", 3.0)
    since = observer_pb2.GetFlowsRequest().since
    since.FromNanoseconds(time.time_ns())
    with Follower(hubble.relay_address, since=since) as follower:
        until(lambda: any(message.node_name == NODE for message in follower.messages))
        began = time.time_ns()
        hubble.inject(Fault(Mode.RST, NODE))
        states = until(
            lambda: [each for each in follower.messages if each.HasField("node_status")][1:] if follower else None
        )
        until(lambda: max(follower.uuids.values()) > 1)

    assert [each.node_status.state_change for each in states] == [relay_pb2.NODE_ERROR]
    assert list(states[0].node_status.node_names) == [NODE]
    assert began <= states[0].time.ToNanoseconds() <= began + 2e9
    again = {uuid for uuid, count in follower.uuids.items() if count > 1}
    assert again <= set(hubble.evidence().emitted[NODE].uuids)
    assert len(hubble.evidence().streams[1].live_from[NODE]) == 2
    connected = [m for m in follower.messages if m.node_status.state_change == relay_pb2.NODE_CONNECTED]
    assert len(connected) == 1


def test_a_relay_without_nodes_ends_its_streams_well(hubble: SimulatedHubble) -> None:
    """When all have failed, having said so; and at once when there is none."""
    with Follower(hubble.relay_address) as follower:
        until(lambda: follower.flows)
        for node in NODES:
            hubble.inject(Fault(Mode.RST, node, duration=600))
        until(lambda: follower.ends)
    with Follower(hubble.relay_address) as late:
        until(lambda: late.ends)

    assert follower.ends == late.ends == [("OK", "")]
    failed = [m.node_status for m in follower.messages if m.node_status.state_change == relay_pb2.NODE_ERROR]
    assert sorted(name for each in failed for name in each.node_names) == NODES
    assert [m.node_status.state_change for m in late.messages] == [relay_pb2.NODE_UNAVAILABLE]


def test_a_relay_opens_a_stream_that_ended_well_never_again(hubble: SimulatedHubble) -> None:
    """The node is silent until the client connects anew."""
    with Follower(hubble.relay_address) as follower:
        until(lambda: any(message.node_name == NODE for message in follower.messages))
        hubble.inject(Fault(Mode.EOF, NODE))
        flows = hubble.truth().totals.nodes["talos-w-2"]
        until(lambda: hubble.truth().totals.nodes["talos-w-2"] > flows + 500)
        stream = hubble.evidence().streams[1]

    assert len(stream.live_from[NODE]) == 1
    assert follower.ends[:1] != [("OK", "")]
    assert all(m.node_status.state_change != relay_pb2.NODE_ERROR for m in follower.messages)


def test_leaving_joining_and_moving_are_announced(hubble: SimulatedHubble) -> None:
    """By the Peer service of every other server; the address is the new one."""
    address = hubble.node_addresses[NODE]
    with Notified(hubble.relay_address) as relay, Notified(hubble.node_addresses["talos-cp-1"]) as agent:
        everyone = [("PEER_ADDED", name, hubble.node_addresses[name]) for name in NODES]
        until(lambda: len(relay.changes) == len(agent.changes) == 6)
        lift = hubble.inject(Fault(Mode.LEAVE, NODE))
        lift()
        hubble.inject(Fault(Mode.MOVE, NODE))
        until(lambda: len(relay.changes) == len(agent.changes) == 9)
        moved = hubble.node_addresses[NODE]

    assert moved != address
    assert status(moved).max_flows == 4095
    assert relay.said() == agent.said() == [
        *everyone,
        ("PEER_DELETED", NODE, address),
        ("PEER_ADDED", NODE, address),
        ("PEER_UPDATED", NODE, moved),
    ]  # fmt: skip
