"""Streams from every node, found through the Peer service; and several sources as one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from flowwatch.config import HubbleSettings, SourceSettings, TLSSettings
from flowwatch.hubble.flow_pb2 import Flow
from flowwatch.hubble.observer_pb2 import GetFlowsResponse, GetNodesResponse, Node, ServerStatusResponse
from flowwatch.hubble.peer_pb2 import PEER_DELETED, PEER_UPDATED
from flowwatch.hubble.relay_pb2 import NODE_CONNECTED, NODE_UNAVAILABLE
from flowwatch.receive import (
    Batch,
    Closed,
    Heard,
    Left,
    Listed,
    NodeReport,
    NoResume,
    Notice,
    Opened,
    Receiver,
    ReceiverStatus,
    Resume,
)
from flowwatch.receive.merged import MergedReceiver, merged_status
from flowwatch.receive.roster import SETTLED, Changes, Roster
from flowwatch.receive.roster import Node as Member
from tests.support.observer import Observer, PeerService, ends_after, peer, sends

SOON = 30.0


def message(number: int, node: str = "n") -> bytes:
    return GetFlowsResponse(flow=Flow(uuid=str(number), node_name=node), node_name=node).SerializeToString()


def quick(**changes: Any) -> HubbleSettings:
    """Settings that are quick to try again."""
    return replace(HubbleSettings(reconnect_min=0.01, reconnect_max=0.05, dial_timeout=2.0), **changes)


def nodes_source(address: str, cluster: str = "prod", **changes: Any) -> SourceSettings:
    return SourceSettings(cluster, quick(source="nodes", peer=address, **changes))


@dataclass
class Cursors:
    """A `Resume` that remembers who asked."""

    times: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def since(self, source: str) -> float | None:
        self.asked.append(source)
        return self.times.get(source)

    def position(self, source: str) -> str:
        raise AssertionError(source)


@dataclass
class Clock:
    """A clock that stands still until told otherwise."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Seen:
    """Everything that came, by source."""

    messages: dict[str, list[bytes]] = field(default_factory=dict)
    notices: dict[str, list[Notice]] = field(default_factory=dict)
    order: list[Batch] = field(default_factory=list)

    def of(self, source: str, kind: type[Any]) -> list[Any]:
        return [notice for notice in self.notices.get(source, []) if isinstance(notice, kind)]


def watch(receiver: Receiver, enough: Callable[[Seen], object]) -> Seen:
    """Iterate until what came is enough; then stop and take what is left."""
    seen = Seen()
    deadline = time.monotonic() + SOON
    for batch in receiver.batches():
        if batch.source:
            seen.order.append(batch)
            seen.messages.setdefault(batch.source, []).extend(batch.messages)
            seen.notices.setdefault(batch.source, []).extend(batch.notices)
        assert time.monotonic() < deadline or receiver.stop(), f"{seen}, {receiver.statuses}"
        if enough(seen):
            receiver.stop()
    return seen


def merged(*sources: SourceSettings, resume: Resume | None = None, **options: Any) -> MergedReceiver:
    return MergedReceiver(sources, resume or NoResume(), interval=0.01, **options)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + SOON
    while left := [thread for thread in threading.enumerate() if thread not in before]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


# A stream for each node


def test_every_node_has_a_stream_and_a_cursor_of_its_own() -> None:
    """Nodes are found, asked from their own cursors and told apart; before a stream is up its node is expected."""
    cursors = Cursors({"prod/a": 1_700_000_000.5, "prod/b": 1_700_000_100.0})
    with (
        Observer(sends(message(1, "prod/a"))) as a,
        Observer(sends(message(2, "b"))) as b,
        PeerService(peer("prod/a", a.address), peer("b", b.address)) as service,
    ):
        receiver = merged(nodes_source(service.address), resume=cursors)
        seen = watch(receiver, lambda seen: seen.messages.get("prod/a") and seen.messages.get("prod/b"))
        assert a.requests[0].since.ToMicroseconds() == 1_700_000_000_500_000
        assert b.requests[0].since.ToMicroseconds() == 1_700_000_100_000_000
    assert seen.messages["prod/a"] == [message(1, "prod/a")]
    assert {batch.cluster for batch in seen.order} == {"prod"}
    assert sorted(cursors.asked) == ["prod/a", "prod/b"]
    first, second = seen.notices["prod/b"][:2]
    assert isinstance(first, Heard)
    assert first.nodes == (NodeReport("b", connected=False),)
    assert isinstance(second, Opened)
    assert (second.nodes, second.since) == (("b",), 1_700_000_100.0)
    assert set(receiver.statuses) == {service.address, "prod/a", "prod/b"}


def test_a_node_that_fails_delays_nobody() -> None:
    """One that is never there, and one whose stream breaks off again and again, leave the third alone."""
    with (
        Observer(sends(message(1))) as good,
        Observer(ends_after(message(2))) as flapping,
        PeerService(
            peer("good", good.address), peer("bad", "127.0.0.1:1"), peer("flapping", flapping.address)
        ) as service,
    ):
        receiver = merged(nodes_source(service.address))
        seen = watch(
            receiver, lambda seen: len(seen.of("prod/flapping", Closed)) > 3 and seen.messages.get("prod/good")
        )
        status = receiver.statuses
    assert len(seen.of("prod/good", Opened)) == 1
    assert not seen.of("prod/bad", Opened)
    assert not seen.of("prod/bad", Closed)
    assert status["prod/bad"].failures > 0
    assert status["prod/bad"].error.startswith("connection refused at 127.0.0.1:1")
    assert status["prod/flapping"].connects > 3
    kinds = [type(notice) for notice in seen.notices["prod/flapping"] if isinstance(notice, Opened | Closed)]
    assert kinds[:6] == [Opened, Closed] * 3
    closed = seen.of("prod/flapping", Closed)[0]
    assert closed.alive <= closed.at
    assert closed.reason.startswith(f"{flapping.address} ended the stream")


def test_nodes_come_move_and_leave() -> None:
    """A new node is followed, a moved one is followed to its new address, one that left is said to have left."""
    with (
        Observer(sends(message(1))) as old,
        Observer(sends(message(2))) as new,
        Observer(sends(message(3))) as late,
        PeerService(peer("mover", old.address)) as service,
    ):
        steps = iter(
            [
                lambda seen: (
                    seen.messages.get("prod/mover") == [message(1)]
                    and not service.tell(peer("mover", new.address, PEER_UPDATED))
                ),
                lambda seen: (
                    seen.messages["prod/mover"] == [message(1), message(2)]
                    and not service.tell(peer("late", late.address))
                ),
                lambda seen: seen.messages.get("prod/late") and not service.tell(peer("late", "", PEER_DELETED)),
                lambda seen: seen.of("prod/late", Left),
            ]
        )
        step = next(steps)

        def all_done(seen: Seen) -> bool:
            nonlocal step
            if step(seen):
                following = next(steps, None)
                if following is None:
                    return True
                step = following
            return False

        receiver = merged(nodes_source(service.address))
        seen = watch(receiver, all_done)
        assert "prod/late" not in receiver.statuses
    assert [type(notice) for notice in seen.notices["prod/mover"] if not isinstance(notice, Heard)][:3] == [
        Opened,
        Closed,
        Opened,
    ]
    assert seen.of("prod/late", Left)[0].node == "late"
    ends = [type(notice) for notice in seen.notices["prod/late"] if not isinstance(notice, Heard)]
    assert ends == [Opened, Closed, Left]


def test_a_node_that_left_and_is_back_at_once_is_followed() -> None:
    """Gone and come in one breath, before its old stream has ended: there is a new one."""
    with Observer(sends(message(1)), sends(message(2))) as node, PeerService(peer("a", node.address)) as service:
        receiver = merged(nodes_source(service.address))
        told = False

        def enough(seen: Seen) -> bool:
            nonlocal told
            if seen.messages.get("prod/a") == [message(1)] and not told:
                told = True
                service.tell(peer("a", node.address, PEER_DELETED))
                service.tell(peer("a", node.address))
            return seen.messages.get("prod/a") == [message(1), message(2)]

        seen = watch(receiver, enough)
    assert len(seen.of("prod/a", Opened)) == 2


def test_a_peer_service_that_was_away_is_reconciled() -> None:
    """While it is away nodes stay; what it names anew goes on, what it does not name has left, and all is listed."""
    clock = Clock()
    with (
        Observer(sends(message(1))) as a,
        Observer(sends(message(2))) as b,
        PeerService(peer("a", a.address), peer("b", b.address)) as service,
    ):
        receiver = merged(nodes_source(service.address), clock=clock, monotonic=clock)

        def enough(seen: Seen) -> bool:
            if service.streams == 1 and seen.messages.get("prod/a") and seen.messages.get("prod/b"):
                service.known = [peer("a", a.address)]
                service.cut()
            if service.streams > 1 and receiver.statuses[service.address].connects > 1:
                clock.now += 1.0
            return bool(seen.of("prod/b", Left) and seen.of(service.address, Listed))

        seen = watch(receiver, enough)
    assert len(seen.of("prod/a", Opened)) == 1, "the stream that was there is still there"
    assert not seen.of("prod/a", Closed) or seen.of("prod/a", Closed)[0].reason == "stopped"
    assert seen.of(service.address, Listed)[-1].nodes == ("a",)


def test_refuses_plain_text_to_nodes_that_speak_tls() -> None:
    """The Peer service says so; nothing is sent, and the error names the settings."""
    with PeerService(peer("a", "127.0.0.1:1", server_name="a.default.hubble-grpc.cilium.io")) as service:
        receiver = merged(nodes_source(service.address))
        watch(receiver, lambda _: receiver.status.error)
        assert receiver.statuses["prod/a"].error == (
            "node a speaks TLS as a.default.hubble-grpc.cilium.io, and hubble.tls.enabled is false: "
            "set it to true, and hubble.tls.ca, cert and key"
        )


def test_an_agents_socket_names_the_nodes(tmp_path: Path) -> None:
    """The Peer service behind a Unix socket is plain text even where nodes speak TLS."""
    socket = tmp_path / "hubble.sock"
    tls = TLSSettings(enabled=True, ca=tmp_path / "missing")
    with PeerService(peer("a", "127.0.0.1:1", server_name="a"), unix=str(socket)) as service:
        receiver = merged(nodes_source(service.address, tls=tls))
        watch(receiver, lambda _: receiver.statuses.get("prod/a", ReceiverStatus()).failures)
        assert receiver.statuses[service.address].connects == 1
        assert receiver.statuses["prod/a"].error == f"{tmp_path / 'missing'}: hubble.tls.ca: does not exist"


# Answers


def test_a_relay_is_asked_for_its_nodes() -> None:
    """What it says of each is handed on, and who there are once it has said so twice."""
    clock = Clock()
    nodes = GetNodesResponse(
        nodes=[
            Node(name="a", state=NODE_CONNECTED, seen_flows=7, uptime_ns=5, num_flows=3, max_flows=4095),
            Node(name="b", state=NODE_UNAVAILABLE),
        ]
    )
    with Observer(sends(message(1))) as relay:
        relay.nodes = nodes
        receiver = merged(SourceSettings("prod", quick(server=relay.address)), clock=clock, monotonic=clock)

        def enough(seen: Seen) -> bool:
            clock.now += 1.0
            return bool(seen.of(relay.address, Listed))

        seen = watch(receiver, enough)
    reports = (NodeReport("a", True, 7, 5, 3, 4095), NodeReport("b", connected=False))
    heard = [notice.nodes for notice in seen.of(relay.address, Heard)]
    assert heard[:3] == [(), reports, reports]
    assert seen.of(relay.address, Listed)[0].nodes == ("a", "b")
    assert isinstance(seen.notices[relay.address][0], Opened)


def test_an_old_relay_is_asked_for_its_status() -> None:
    """Where nodes cannot be asked for, the few that are unavailable are told."""
    clock = Clock()
    status = ServerStatusResponse(version="old", unavailable_nodes=["b"], seen_flows=1)
    with Observer(sends(message(1)), status=status) as relay:
        receiver = merged(SourceSettings("prod", quick(server=relay.address)), clock=clock, monotonic=clock)

        def enough(seen: Seen) -> bool:
            clock.now += 1.0
            return len(seen.of(relay.address, Heard)) >= 4

        seen = watch(receiver, enough)
    told = (NodeReport("b", connected=False),)
    assert [notice.nodes for notice in seen.of(relay.address, Heard)][:4] == [told, (), told, told]


def test_a_node_is_asked_how_many_flows_it_saw() -> None:
    """Its own counters come with its name."""
    status = ServerStatusResponse(version="v", seen_flows=9, uptime_ns=8, num_flows=7, max_flows=4095)
    with Observer(sends(), status=status) as node, PeerService(peer("a", node.address)) as service:
        receiver = merged(nodes_source(service.address))
        seen = watch(receiver, lambda seen: len(seen.of("prod/a", Heard)) > 1)
    assert seen.of("prod/a", Heard)[1].nodes == (NodeReport("a", True, 9, 8, 7, 4095),)


# Several sources


class Given:
    """A receiver of batches that are given."""

    name = "given.log"

    def __init__(self, batches: list[Batch]) -> None:
        self.status = ReceiverStatus(state="streaming")
        self.statuses = {self.name: self.status}
        self.stopped = False
        self._batches = batches

    def batches(self) -> Iterator[Batch]:
        yield Batch("", "")
        yield from self._batches

    def stop(self) -> None:
        self.stopped = True


def test_relays_nodes_and_files_are_one_receiver() -> None:
    """Two relays of two clusters, the nodes of a third and a file: each with its own name and cluster."""
    batches = [Batch("given.log", "east", [message(9)], position="100")]
    given = Given(batches)
    with (
        Observer(sends(message(1))) as one,
        Observer(sends(message(2))) as two,
        Observer(sends(message(3))) as node,
        PeerService(peer("n", node.address)) as service,
    ):
        receiver = merged(
            SourceSettings("west", quick(server=one.address)),
            SourceSettings("south", quick(server=two.address)),
            nodes_source(service.address, "north"),
            SourceSettings("east", quick(source="file", files=(Path("given.log"),))),
            tail=lambda _: given,
        )
        seen = watch(receiver, lambda seen: sum(map(len, seen.messages.values())) == 4)
        assert receiver.name == f"{one.address}, {two.address}, {service.address}, given.log"
    assert {batch.source: batch.cluster for batch in seen.order} == {
        one.address: "west",
        two.address: "south",
        "north/n": "north",
        "given.log": "east",
    }
    assert batches[0] in seen.order
    assert given.stopped


def test_an_error_of_a_file_ends_everything() -> None:
    """What a file's receiver raises is raised to whoever iterates."""

    class Failing(Given):
        def batches(self) -> Iterator[Batch]:
            yield Batch("given.log", "east", [message(9)])
            raise ValueError("no such thing")

    receiver = merged(SourceSettings("east", quick(source="file")), tail=lambda _: Failing([]))
    with pytest.raises(ValueError, match="no such thing"):
        watch(receiver, lambda _: False)


def test_the_status_of_many_is_that_of_the_worst() -> None:
    """It streams when all do; the first error says how many are concerned."""
    up = ReceiverStatus(state="streaming", connects=2, server_version="v1")
    down = ReceiverStatus(state="waiting", error="refused", failures=3)
    taken = ReceiverStatus(messages=5, bytes=50, last_message=7.0)
    both = merged_status({"a": up, "b": down}, taken, ended=False)
    assert (both.state, both.error) == ("waiting", "refused (1 of 2 streams are down)")
    assert (both.connects, both.failures, both.messages, both.bytes, both.last_message) == (2, 3, 5, 50, 7.0)
    assert both.server_version == "v1"
    assert merged_status({"a": up}, taken, ended=False).state == "streaming"
    assert merged_status({"a": up}, taken, ended=True).state == "ended"


# Who there is, as pure bookkeeping


def test_a_new_stream_of_notifications_is_complete_after_a_while() -> None:
    """Nodes that it did not name by then have left; before, nobody has."""
    roster = Roster()
    a, b = Member("a", "x:1", None), Member("b", "y:1", None)
    roster.begin(0.0)
    assert roster.add(a, 0.0) == Changes(present=(a,))
    assert roster.add(b, 1.0) == Changes(present=(b,))
    assert roster.settle(1.0 + SETTLED) == Changes(complete=True)
    roster.begin(100.0)
    assert roster.add(a, 100.0) == Changes()
    assert roster.settle(100.0 + SETTLED - 0.1) == Changes()
    assert roster.settle(100.0 + SETTLED) == Changes(left=("b",), complete=True)
    assert roster.settle(1000.0) == Changes()
    assert roster.nodes == (a,)


def test_a_stream_that_names_nobody_has_not_begun() -> None:
    """An agent knows itself at least; a service that is still starting makes no node leave."""
    roster = Roster()
    roster.begin(0.0)
    roster.add(Member("a", "x:1", None), 0.0)
    roster.begin(50.0)
    assert roster.settle(1000.0) == Changes()
    assert roster.remove("a", 1000.0) == Changes(left=("a",))
    assert roster.remove("a", 1000.0) == Changes()


def test_a_node_that_moves_is_told_again() -> None:
    """Another address or another name on the certificate is a change; the same again is none."""
    roster = Roster()
    roster.begin(0.0)
    for node in (Member("a", "x:1", None), Member("a", "x:2", None), Member("a", "x:2", "a.example")):
        assert roster.add(node, 1.0) == Changes(present=(node,))
        assert roster.add(node, 2.0) == Changes()
