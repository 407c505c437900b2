"""The servers of single nodes, the Peer service, the agent's socket, other clusters, and certificates."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from flowwatch.errors import FlowwatchError
from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.simulate import Script, SimulatedHubble, Tls
from flowwatch.simulate.certificates import make_certificate, make_certificates, served_with
from flowwatch.simulate.cluster import Cluster, make_cluster
from flowwatch.simulate.gate import Call, Gate
from flowwatch.simulate.journal import Journal
from flowwatch.simulate.relay import Merge
from flowwatch.simulate.ring import Item, Query
from tests.support.hubbleclients import Follower, Notified, until
from tests.support.simulated import ask, get_flows

NODE = "talos-w-1"


@pytest.fixture(scope="module")
def hubble() -> Iterator[SimulatedHubble]:
    """A cluster with a name and a server for each node."""
    script = Script(lost=0, lose=(("perf", 2.0), ("queue", 0.5)), skew=(("talos-w-2", 30.0),))
    cluster = make_cluster(name="prod")
    with_nodes = SimulatedHubble(rate=500.0, nodes=True, at_once=True, cluster=cluster, script=script)
    with with_nodes:
        yield with_nodes


# ── agents ───────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_sends_its_own_flows_and_no_word_about_nodes(hubble: SimulatedHubble) -> None:
    """In order, named as in the cluster; the pods are of that cluster."""
    with Follower(hubble.node_addresses[NODE]) as follower:
        until(lambda: follower.flows > 100)
        messages = list(follower.messages)

    assert {message.node_name for message in messages} == {"prod/talos-w-1"}
    assert not any(message.HasField("node_status") for message in messages)
    times = [message.time.ToNanoseconds() for message in messages if message.HasField("flow")]
    assert times == sorted(times)
    flows = [message.flow for message in messages if message.HasField("flow")]
    assert {flow.node_name for flow in flows} == {"prod/talos-w-1"}
    pods = [flow.source for flow in flows if flow.source.pod_name]
    assert {pod.cluster_name for pod in pods} == {"prod"}
    assert all("k8s:io.cilium.k8s.policy.cluster=prod" in pod.labels for pod in pods)


def test_an_agent_answers_for_itself_alone(hubble: SimulatedHubble) -> None:
    """No counts of nodes, no GetNodes, its own version header."""
    with grpc.insecure_channel(hubble.node_addresses[NODE]) as channel:
        status = ask(channel, "ServerStatus", observer_pb2.ServerStatusRequest(), observer_pb2.ServerStatusResponse)
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, "GetNodes", observer_pb2.GetNodesRequest(), observer_pb2.GetNodesResponse)
        call = get_flows(channel, follow=True)
        metadata = dict(call.initial_metadata())
        call.cancel()

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert status.max_flows == 4095
    assert not status.HasField("num_connected_nodes")
    assert not status.HasField("num_unavailable_nodes")
    assert metadata["hubble-server-version"] == "1.19.4"
    assert "hubble-relay-version" not in metadata


def test_the_relay_knows_where_the_agents_are(hubble: SimulatedHubble) -> None:
    """By the same names and addresses as the Peer service."""
    with grpc.insecure_channel(hubble.relay_address) as channel, Notified(hubble.node_addresses[NODE]) as notified:
        nodes = ask(channel, "GetNodes", observer_pb2.GetNodesRequest(), observer_pb2.GetNodesResponse).nodes
        until(lambda: len(notified.changes) == 6)

    said = [("PEER_ADDED", f"prod/{name}", address) for name, address in hubble.node_addresses.items()]
    assert notified.said() == said
    assert [("PEER_ADDED", node.name, node.address) for node in nodes] == said
    assert not any(change.HasField("tls") for change in notified.changes)


def test_events_are_lost_at_the_rates_asked_for(hubble: SimulatedHubble) -> None:
    """Told once a second by every node, by who lost them, to relay and agents alike."""
    with Follower(hubble.node_addresses["talos-cp-2"]) as follower:
        lost = until(lambda: len(found := [m for m in follower.messages if m.HasField("lost_events")]) >= 3 and found)

    perf = [m.lost_events for m in lost if m.lost_events.source == flow_pb2.PERF_EVENT_RING_BUFFER]
    assert {m.node_name for m in lost} == {"prod/talos-cp-2"}
    assert {each.num_events_lost for each in perf} == {2}
    assert all(each.HasField("cpu") for each in perf)
    queue = [m.lost_events for m in lost if m.lost_events.source == flow_pb2.OBSERVER_EVENTS_QUEUE]
    assert {each.num_events_lost for each in queue} <= {1}


def test_a_clock_can_be_wrong(hubble: SimulatedHubble) -> None:
    """All flows of the node are dated by it; `since` means the node's own time."""
    with Follower(hubble.node_addresses["talos-w-2"]) as ahead, Follower(hubble.node_addresses[NODE]) as right:
        until(lambda: ahead.flows > 50 and right.flows > 50)
        newest = [follower.messages[-1].time.ToNanoseconds() / 1e9 for follower in (ahead, right)]

    assert newest[0] - newest[1] == pytest.approx(30.0, abs=10.0)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (Script(lose=(("disk", 1.0),)), "'disk' loses no events; it is one of ring, perf, queue"),
        (Script(skew=(("mars", 1.0),)), "there is no node 'mars'; the nodes are talos-cp-1, "),
    ],
)
def test_what_cannot_be_in_a_script_is_refused(script: Script, says: str) -> None:
    """Before anything is served."""
    with pytest.raises(FlowwatchError, match=says):
        SimulatedHubble(script=script)


def test_an_agents_socket_serves_flows_and_peers(tmp_path: Path) -> None:
    """Without TLS, whatever the TCP servers speak; the socket is removed at the end."""
    path = tmp_path / "hubble.sock"
    with SimulatedHubble(rate=500.0, peer_socket=path):
        with Follower(f"unix:{path}") as follower, Notified(f"unix:{path}") as notified:
            until(lambda: follower.flows and len(notified.changes) == 6)
        names = {message.node_name for message in follower.messages}

    assert names == {"talos-cp-1"}
    assert notified.changes[0].address == "192.168.0.131:4244"
    assert not path.exists()


def test_a_relay_holds_flows_back_to_sort_them() -> None:
    """The newest so many; the oldest of all goes out when there is no room, and nothing waits without a buffer."""

    def out(size: int, *batches: list[int]) -> list[list[int]]:
        merge = Merge(Query(follow=True), Call(1, Gate("relay", Journal()), "", 0), size)
        sent = [merge.sort([Item(time, "n", -1, b"") for time in batch]) for batch in batches]
        return [[item.time for item in items] for items in (*sent, merge.drain())]

    assert out(3, [5, 1, 9], [4], [7, 2]) == [[], [1], [2, 4], [5, 7, 9]]
    assert out(0, [5, 1], [4]) == [[1, 5], [4], []]


# ── certificates ─────────────────────────────────────────────────────────────────────────────────

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on PATH")


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cluster]:
    """The certificates of a cluster."""
    directory, cluster = tmp_path_factory.mktemp("certificates"), make_cluster(name="prod.eu")
    make_certificates(directory, cluster)
    return directory, cluster


def asked(directory: Path, address: str, server_name: str = "", client: str = "client") -> str:
    """The version a server says it has, or what is wrong."""
    files = [(directory / name).read_bytes() for name in ("ca.crt", f"{client}.key", f"{client}.crt")]
    options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(*files), options) as channel:
        try:
            status = ask(channel, "ServerStatus", observer_pb2.ServerStatusRequest(), observer_pb2.ServerStatusResponse)
        except grpc.RpcError as error:
            return str(error.details())
    return str(status.version)


@needs_openssl
def test_each_server_proves_its_own_name(certified: tuple[Path, Cluster]) -> None:
    """As Cilium's do, with dots of names made dashes; and they want to know who asks."""
    directory, cluster = certified
    relay, nodes = served_with(directory, cluster)
    nodes["talos-w-2"] = Tls(directory / "expired.crt", directory / "expired.key", directory / "ca.crt")
    nodes["talos-w-3"] = Tls(directory / "stranger.crt", directory / "stranger.key", directory / "ca.crt")
    own = "talos-w-1.prod-eu.hubble-grpc.cilium.io"
    simulated = SimulatedHubble(cluster=cluster, nodes=True, tls=relay, node_tls=nodes)
    with simulated as address:
        at = simulated.node_addresses
        assert asked(directory, address) == "1.19.4 (simulated)"
        assert asked(directory, address, "instance.hubble-relay.cilium.io") == "1.19.4 (simulated)"
        assert asked(directory, at[NODE], own) == "1.19.4 (simulated)"
        assert "Hostname Verification" in asked(directory, at[NODE], own.replace("w-1", "w-2"))
        assert "expired" in asked(directory, at["talos-w-2"], own.replace("w-1", "w-2"))
        assert "CERTIFICATE_VERIFY_FAILED" in asked(directory, at["talos-w-3"], own.replace("w-1", "w-3"))
        for client in ("expired", "stranger"):
            assert "failed to connect" in asked(directory, at[NODE], own, client)


@needs_openssl
def test_replaced_certificates_are_used_at_once(certified: tuple[Path, Cluster], tmp_path: Path) -> None:
    """By the next connection; the Peer service names the server either way."""
    directory, cluster = certified
    for name in ("ca", "client", NODE):
        for suffix in ("crt", "key"):
            shutil.copy(directory / f"{name}.{suffix}", tmp_path)
    tls = Tls(tmp_path / f"{NODE}.crt", tmp_path / f"{NODE}.key", tmp_path / "ca.crt")
    own = f"{NODE}.prod-eu.hubble-grpc.cilium.io"
    simulated = SimulatedHubble(cluster=cluster, nodes=True, node_tls={NODE: tls})
    with simulated as address, Notified(address) as notified:
        until(lambda: len(notified.changes) == 6)
        assert asked(tmp_path, simulated.node_addresses[NODE], own) == "1.19.4 (simulated)"
        for suffix in ("crt", "key"):
            shutil.copy(directory / f"expired.{suffix}", tmp_path / f"{NODE}.{suffix}")
        assert "expired" in asked(tmp_path, simulated.node_addresses[NODE], own)

    assert {change.name: change.tls.server_name for change in notified.changes}[f"prod.eu/{NODE}"] == own


@needs_openssl
def test_certificates_that_cannot_be_made_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what openssl said, or that it is missing."""
    with pytest.raises(FlowwatchError, match="cannot make certificates: "):
        make_certificate(tmp_path, "server", ("IP:nowhere",), "ca")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlowwatchError, match="the openssl command is not installed"):
        make_certificate(tmp_path, "ca")
