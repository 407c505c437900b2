"""The simulated Hubble over real gRPC, as a client of hubble-relay sees it."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from flowwatch.errors import FlowwatchError
from flowwatch.hubble import flow_pb2, observer_pb2, relay_pb2
from flowwatch.simulate import Script, SimulatedHubble, Tls
from tests.support.patience import PATIENCE, until
from tests.support.simulated import ask, client, decode, get_flows, make_certificate

NODES = ["talos-cp-1", "talos-cp-2", "talos-cp-3", "talos-w-1", "talos-w-2", "talos-w-3"]
FAST = 3000.0


def taken(call: Any, count: int) -> list[observer_pb2.GetFlowsResponse]:
    """The first messages of a stream, which is then cancelled."""
    messages = list(itertools.islice(call, count))
    call.cancel()
    return messages


@pytest.fixture
def over() -> Iterator[tuple[SimulatedHubble, grpc.Channel]]:
    """A run of 2000 flows that is over, and a channel to its server."""
    hubble = SimulatedHubble(rate=20_000.0, flows=2000, at_once=True, script=Script(lost=0))
    with client(hubble) as channel:
        until(lambda: hubble.truth().totals.flows == 2000)
        yield hubble, channel


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_begins_with_the_nodes_and_then_has_flows() -> None:
    """As hubble-relay does; every flow in its envelope, dated about now."""
    hubble = SimulatedHubble(rate=FAST)
    with client(hubble) as channel:
        before = time.time()
        first, *rest = taken(get_flows(channel, follow=True), 400)

    assert first.node_status.state_change == relay_pb2.NODE_CONNECTED
    assert list(first.node_status.node_names) == NODES
    flows = [response for response in rest if response.HasField("flow")]
    assert len(flows) > 380
    for response in flows:
        assert response.node_name == response.flow.node_name
        assert response.time == response.flow.time
        assert before <= response.time.ToNanoseconds() / 1e9 <= time.time() + 0.1


def test_the_run_begins_with_its_first_client() -> None:
    """Whoever comes first sees everything; whoever asks for the status does not count."""
    hubble = SimulatedHubble(rate=FAST, script=Script(lost=0))
    with client(hubble) as channel:
        ask(channel, "ServerStatus", observer_pb2.ServerStatusRequest(), observer_pb2.ServerStatusResponse)
        assert hubble.truth().totals.flows == 0
        begun = time.time()
        flows = taken(get_flows(channel, follow=True), 300)[1:]

    assert flows[0].time.ToNanoseconds() / 1e9 >= begun
    assert len({flow.flow.uuid for flow in flows}) == 299
    assert hubble.truth().violations[0].first >= begun


def test_a_run_can_begin_at_once() -> None:
    """Then nobody needs to listen."""
    hubble = SimulatedHubble(rate=FAST, at_once=True)
    with hubble:
        until(lambda: hubble.truth().totals.flows > 100)


def test_every_client_gets_the_whole_stream() -> None:
    """Two that come together receive the same flows."""
    hubble = SimulatedHubble(rate=FAST, flows=1500, script=Script(lost=0))
    with client(hubble) as channel:
        one, other = get_flows(channel, follow=True), get_flows(channel, follow=True)
        heads = [next(one), next(other)]
        received = [{r.flow.uuid for r in itertools.islice(call, 1200)} for call in (one, other)]
        one.cancel()
        other.cancel()

    assert all(head.HasField("node_status") for head in heads)
    assert len(received[0] & received[1]) >= 1100


def test_without_a_rate_flows_come_as_fast_as_they_are_taken() -> None:
    """Nothing is made that nobody takes, and nothing is lost."""
    hubble = SimulatedHubble(rate=0, script=Script(lost=0))
    with client(hubble) as channel:
        call = get_flows(channel, follow=True)
        messages = taken(call, 8000)
        sent = hubble.truth().totals.flows

    assert sum(message.HasField("flow") for message in messages) == 7999
    assert not any(message.HasField("lost_events") for message in messages)
    assert sent < 8000 + 20_000
    assert len({message.flow.uuid for message in messages[1:]}) == 7999


def test_what_is_received_is_the_truth() -> None:
    """By verdict, to the last flow; and LostEvents."""
    hubble = SimulatedHubble(rate=FAST, flows=4000, script=Script(lost=0))
    with client(hubble) as channel:
        messages = taken(get_flows(channel, follow=True), 4001)
        until(lambda: hubble.truth().totals.flows == 4000)

    verdicts = [flow_pb2.Verdict.Name(message.flow.verdict) for message in messages[1:]]
    totals = hubble.truth().totals
    assert {verdict: verdicts.count(verdict) for verdict in set(verdicts)} == totals.verdicts
    uuids = {message.flow.uuid for message in messages[1:]}
    assert all(uuid in uuids for tally in hubble.truth().violations for uuid in tally.uuids)


def test_lost_events_are_sent_whatever_is_filtered() -> None:
    """Also to a client that wants nothing else."""
    hubble = SimulatedHubble(rate=50.0, script=Script(lost=3))
    with client(hubble) as channel:
        nothing = flow_pb2.FlowFilter(verdict=[flow_pb2.ERROR])
        messages = taken(get_flows(channel, follow=True, whitelist=[nothing]), 2)

    assert messages[1].lost_events.num_events_lost == 1


def test_a_failing_node_is_announced() -> None:
    """To those who listen, and at the head of streams opened later; status and nodes say it too."""
    hubble = SimulatedHubble(rate=FAST, script=Script(failing_node="talos-w-1", failing_after=0.2))
    with client(hubble) as channel:
        call = get_flows(channel, follow=True)
        statuses = list(itertools.islice((m for m in call if m.HasField("node_status")), 2))
        head = taken(get_flows(channel, follow=True), 2)
        status = ask(channel, "ServerStatus", observer_pb2.ServerStatusRequest(), observer_pb2.ServerStatusResponse)
        nodes = ask(channel, "GetNodes", observer_pb2.GetNodesRequest(), observer_pb2.GetNodesResponse).nodes
        call.cancel()

    assert statuses[1].node_status.state_change == relay_pb2.NODE_UNAVAILABLE
    assert list(statuses[1].node_status.node_names) == ["talos-w-1"]
    assert [m.node_status.state_change for m in head] == [relay_pb2.NODE_CONNECTED, relay_pb2.NODE_UNAVAILABLE]
    assert "talos-w-1" not in head[0].node_status.node_names
    assert (status.num_connected_nodes.value, status.num_unavailable_nodes.value) == (5, 1)
    assert list(status.unavailable_nodes) == ["talos-w-1"]
    assert [node.name for node in nodes if node.state == relay_pb2.NODE_UNAVAILABLE] == ["talos-w-1"]


def test_stopping_ends_streams_within_a_second() -> None:
    """The client is told that the server is unavailable."""
    hubble = SimulatedHubble(rate=200.0)
    with grpc.insecure_channel(hubble.start()) as channel:
        call = get_flows(channel, follow=True)
        next(call)
        ended: list[grpc.StatusCode] = []

        def drain() -> None:
            try:
                for _ in call:
                    pass
            except grpc.RpcError as error:
                ended.append(error.code())

        thread = threading.Thread(target=drain)
        thread.start()
        began = time.monotonic()
        hubble.stop()
        stopped = time.monotonic() - began
        thread.join(PATIENCE)

    assert stopped < PATIENCE
    assert ended == [grpc.StatusCode.UNAVAILABLE]


def test_stopping_a_server_nobody_used_is_quick() -> None:
    """It need not have begun."""
    hubble = SimulatedHubble()
    hubble.start()
    began = time.monotonic()
    hubble.stop()

    assert time.monotonic() - began < PATIENCE


def test_a_rate_beyond_its_means_does_not_keep_it_from_stopping() -> None:
    """Though it never has a moment to wait."""
    hubble = SimulatedHubble(rate=1_000_000.0, at_once=True)
    hubble.start()
    until(lambda: hubble.truth().totals.flows > 0)
    began = time.monotonic()
    hubble.stop()

    assert time.monotonic() - began < PATIENCE


# ── history ──────────────────────────────────────────────────────────────────────────────────────


def test_without_following_the_whole_history_is_sent_once(over: tuple[SimulatedHubble, grpc.Channel]) -> None:
    """In the order of time; then the stream ends well."""
    _, channel = over
    messages = list(get_flows(channel))[1:]
    times = [message.time.ToNanoseconds() for message in messages]

    assert len(messages) == 2000
    assert times == sorted(times)


def test_numbers_count_for_each_node(over: tuple[SimulatedHubble, grpc.Channel]) -> None:
    """The newest five of each, or the oldest five of each."""
    _, channel = over
    every = list(get_flows(channel))[1:]
    newest = list(get_flows(channel, number=5))[1:]
    oldest = list(get_flows(channel, number=5, first=True))[1:]

    for node in {message.node_name for message in every}:
        of_node = [message.flow.uuid for message in every if message.node_name == node]
        assert [m.flow.uuid for m in newest if m.node_name == node] == of_node[-5:]
        assert [m.flow.uuid for m in oldest if m.node_name == node] == of_node[:5]


def test_since_and_until_bound_the_history(over: tuple[SimulatedHubble, grpc.Channel]) -> None:
    """Both inclusive; since wins over number for where to begin."""
    _, channel = over
    every = list(get_flows(channel))[1:]
    since, until_ = every[500].time, every[900].time

    span = list(get_flows(channel, since=since, until=until_))[1:]
    few = list(get_flows(channel, since=since, number=2))[1:]

    assert [m.flow.uuid for m in span] == [m.flow.uuid for m in every[500:901]]
    assert few[0].flow.uuid == every[500].flow.uuid


def test_a_stream_can_resume_where_it_broke_off() -> None:
    """Following since a time repeats what came since, with the same uuids, and goes on without a gap."""
    hubble = SimulatedHubble(rate=FAST, flows=3000, script=Script(lost=0))
    with client(hubble) as channel:
        before = taken(get_flows(channel, follow=True), 600)[1:]
        after = taken(get_flows(channel, follow=True, since=before[400].time), 1500)[1:]

    since = before[400].time.ToNanoseconds()
    repeated = {m.flow.uuid for m in before if m.time.ToNanoseconds() >= since}
    assert repeated <= {m.flow.uuid for m in after}
    assert len({m.flow.uuid for m in after}) == len(after)
    assert all(m.time.ToNanoseconds() >= since for m in after)


def test_a_bare_follow_repeats_the_newest_of_each_node(over: tuple[SimulatedHubble, grpc.Channel]) -> None:
    """As real servers do: a reconnecting client must know repeats."""
    _, channel = over
    every = list(get_flows(channel))[1:]
    newest = {message.node_name: message.flow.uuid for message in every}

    repeated = taken(get_flows(channel, follow=True), 1 + len(newest))[1:]

    assert {message.node_name: message.flow.uuid for message in repeated} == newest


def test_a_followed_stream_ends_at_until() -> None:
    """Once something later has come."""
    hubble = SimulatedHubble(rate=FAST)
    with client(hubble) as channel:
        first = taken(get_flows(channel, follow=True), 2)[1]
        end = observer_pb2.GetFlowsResponse(time=first.time)
        end.time.FromNanoseconds(first.time.ToNanoseconds() + 300_000_000)
        messages = list(get_flows(channel, follow=True, until=end.time))

    assert all(m.time.ToNanoseconds() <= end.time.ToNanoseconds() for m in messages[1:])


# ── filters and refusals ─────────────────────────────────────────────────────────────────────────


def test_filters_choose_flows(over: tuple[SimulatedHubble, grpc.Channel]) -> None:
    """Whitelists add up, blacklists take away, fields of one filter must all match."""
    _, channel = over
    every = [m.flow for m in list(get_flows(channel))[1:]]
    verdicts = flow_pb2.FlowFilter(event_type=[flow_pb2.EventTypeFilter(type=5)])
    drops = flow_pb2.FlowFilter(event_type=[flow_pb2.EventTypeFilter(type=1, match_sub_type=True, sub_type=133)])
    dropped = flow_pb2.FlowFilter(verdict=[flow_pb2.DROPPED])
    forward = flow_pb2.FlowFilter(reply=[False], node_name=["talos-w-1"])

    def got(**request: Any) -> set[str]:
        return {m.flow.uuid for m in list(get_flows(channel, **request))[1:]}

    def meant(condition: Any) -> set[str]:
        return {flow.uuid for flow in every if condition(flow)}

    assert got(whitelist=[verdicts]) == meant(lambda f: f.event_type.type == 5)
    assert got(whitelist=[verdicts, drops]) == meant(
        lambda f: f.event_type.type == 5 or (f.event_type.type == 1 and f.event_type.sub_type == 133)
    )
    assert got(whitelist=[verdicts], blacklist=[dropped]) == meant(
        lambda f: f.event_type.type == 5 and f.verdict != flow_pb2.DROPPED
    )
    assert got(whitelist=[forward]) == meant(
        lambda f: (
            f.node_name == "talos-w-1"
            and (not f.is_reply.value if f.HasField("is_reply") else f.verdict == flow_pb2.DROPPED)
        )
    )
    assert got(whitelist=[flow_pb2.FlowFilter()]) == {flow.uuid for flow in every}
    assert got(blacklist=[flow_pb2.FlowFilter()]) == set()
    assert got(whitelist=[flow_pb2.FlowFilter(traffic_direction=[flow_pb2.INGRESS])]) == meant(
        lambda f: f.traffic_direction == flow_pb2.INGRESS
    )
    assert got(whitelist=[flow_pb2.FlowFilter(drop_reason_desc=[flow_pb2.POLICY_DENIED])]) == meant(
        lambda f: f.drop_reason_desc == flow_pb2.POLICY_DENIED
    )


@pytest.mark.parametrize(
    ("request_fields", "words"),
    [
        ({"first": True, "follow": True}, "first cannot be specified with follow"),
        ({"whitelist": [flow_pb2.FlowFilter(source_pod=["a/b"], http_path=["/x"])]}, "source_pod, http_path"),
        ({"blacklist": [flow_pb2.FlowFilter(source_identity=[4])]}, "does not filter by source_identity"),
    ],
)
def test_what_cannot_be_done_is_refused(request_fields: dict[str, Any], words: str) -> None:
    """With words, rather than ignored."""
    with client(SimulatedHubble()) as channel, pytest.raises(grpc.RpcError) as caught:
        list(get_flows(channel, **request_fields))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.details()


@pytest.mark.parametrize("method", ["GetAgentEvents", "GetDebugEvents"])
def test_what_only_agents_can_answer_is_not_implemented(method: str) -> None:
    """As at a relay."""
    with client(SimulatedHubble()) as channel, pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream(f"/observer.Observer/{method}")(b"", timeout=PATIENCE))

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ── the other methods ────────────────────────────────────────────────────────────────────────────


def test_the_status_adds_up_over_nodes(over: tuple[SimulatedHubble, grpc.Channel]) -> None:
    """Counters, capacity, version, and how long it has been up."""
    _, channel = over
    status = ask(channel, "ServerStatus", observer_pb2.ServerStatusRequest(), observer_pb2.ServerStatusResponse)
    nodes = ask(channel, "GetNodes", observer_pb2.GetNodesRequest(), observer_pb2.GetNodesResponse).nodes

    assert status.version == "1.19.4 (simulated)"
    # The rings also hold one event of each agent itself, which made the last flow readable.
    assert (status.num_flows, status.seen_flows, status.max_flows) == (2006, 2000, 6 * 4095)
    assert status.uptime_ns > 0
    assert status.flows_rate > 100
    assert status.num_connected_nodes.value == 6
    assert status.HasField("num_unavailable_nodes")
    assert [node.name for node in nodes] == NODES
    assert sum(node.seen_flows for node in nodes) == 2000
    assert {node.state for node in nodes} == {relay_pb2.NODE_CONNECTED}
    assert nodes[0].address == "192.168.0.131:4244"


def test_namespaces_are_those_of_the_cluster() -> None:
    """Sorted by name."""
    with client(SimulatedHubble()) as channel:
        answer = ask(channel, "GetNamespaces", observer_pb2.GetNamespacesRequest(), observer_pb2.GetNamespacesResponse)

    names = [namespace.namespace for namespace in answer.namespaces]
    assert names == sorted(names)
    assert {"monitoring", "sandbox", "kube-system"} <= set(names)


def test_the_server_says_what_it_is() -> None:
    """In the metadata of its answers, and to health checks."""
    with client(SimulatedHubble(rate=FAST)) as channel:
        call = get_flows(channel, follow=True)
        metadata = dict(call.initial_metadata())
        call.cancel()
        health = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=PATIENCE)

    assert metadata["hubble-relay-version"] == "1.19.4"
    assert health == b"\x08\x01"


# ── where it listens ─────────────────────────────────────────────────────────────────────────────


def test_it_listens_on_loopback_only() -> None:
    """By default, on a free port."""
    hubble = SimulatedHubble()
    with hubble as address:
        host, _, port = address.rpartition(":")

    assert host == "127.0.0.1"
    assert int(port) > 0


def test_a_port_in_use_is_an_error() -> None:
    """Instead of two servers sharing it."""
    with SimulatedHubble() as address:
        other = SimulatedHubble(listen=address)
        with pytest.raises(FlowwatchError, match=f"cannot listen on {address}"):
            other.start()
        other.stop()


def test_an_unknown_node_cannot_fail() -> None:
    """The error names those there are."""
    with pytest.raises(FlowwatchError, match=r"no node 'worker'; the nodes are talos-cp-1, .*talos-w-3"):
        SimulatedHubble(script=Script(failing_node="worker"))


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on PATH")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server's and a client's certificate."""
    directory = tmp_path_factory.mktemp("certificates")
    make_certificate(directory, "ca")
    make_certificate(directory, "server", "ca")
    make_certificate(directory, "client", "ca")
    return directory


@needs_openssl
def test_it_speaks_tls(certificates: Path) -> None:
    """Clients verify the server."""
    tls = Tls(certificates / "server.crt", certificates / "server.key")
    trusted = grpc.ssl_channel_credentials((certificates / "ca.crt").read_bytes())
    with SimulatedHubble(tls=tls, rate=FAST) as address, grpc.secure_channel(address, trusted) as channel:
        assert len(taken(get_flows(channel, follow=True), 5)) == 5


@needs_openssl
def test_it_may_demand_client_certificates(certificates: Path) -> None:
    """Signed by the CA it is given."""
    files = {name: (certificates / name).read_bytes() for name in ("ca.crt", "client.crt", "client.key")}
    tls = Tls(certificates / "server.crt", certificates / "server.key", certificates / "ca.crt")
    nobody = grpc.ssl_channel_credentials(files["ca.crt"])
    somebody = grpc.ssl_channel_credentials(files["ca.crt"], files["client.key"], files["client.crt"])
    with SimulatedHubble(tls=tls, rate=FAST) as address:
        with grpc.secure_channel(address, somebody) as channel:
            assert len(taken(get_flows(channel, follow=True), 5)) == 5
        with grpc.secure_channel(address, nobody) as channel, pytest.raises(grpc.RpcError) as caught:
            list(get_flows(channel))

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@needs_openssl
def test_unreadable_certificates_are_an_error(tmp_path: Path) -> None:
    """Missing, or not what they should be."""
    (tmp_path / "empty").write_text("no certificate")
    missing, broken = Tls(tmp_path / "none.crt", tmp_path / "none.key"), Tls(tmp_path / "empty", tmp_path / "empty")

    with pytest.raises(FlowwatchError, match=r"cannot read .*none"):
        SimulatedHubble(tls=missing).start()
    with pytest.raises(FlowwatchError, match="cannot listen"):
        SimulatedHubble(tls=broken).start()


def test_raw_bytes_are_the_messages_of_the_run() -> None:
    """What arrives is what was made, not a second serialisation."""
    hubble = SimulatedHubble(rate=FAST)
    with client(hubble) as channel:
        call = channel.unary_stream("/observer.Observer/GetFlows")
        stream = call(observer_pb2.GetFlowsRequest(follow=True).SerializeToString(), timeout=PATIENCE)
        raw = list(itertools.islice(stream, 50))
        stream.cancel()

    assert all(decode(message).SerializeToString(deterministic=True) == message for message in raw)
