"""What is asked of a Hubble server, and where its answers go: flows of a relay or of a node.

A `Subscription` is told by its `Stream` everything that happens, from several threads but under one
lock, and never decides anything about the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError

from flowwatch.hubble.observer_pb2 import GetFlowsRequest, GetNodesResponse, Node, ServerStatusResponse
from flowwatch.hubble.relay_pb2 import NODE_CONNECTED, NODE_GONE
from flowwatch.receive import Closed, Heard, Listed, NodeReport, Opened, ReceiverStatus, Resume
from flowwatch.receive.channel import GET_FLOWS, GET_NODES, SERVER_STATUS, Reply
from flowwatch.receive.inbox import Lane
from flowwatch.receive.liveness import Answer

Answered = TypeVar("Answered", GetNodesResponse, ServerStatusResponse)


class Subscription(Protocol):
    """One follow stream's purpose."""

    method: str
    status: ReceiverStatus

    @property
    def received(self) -> int:
        """Messages received since the beginning."""

    @property
    def last_message(self) -> float:
        """Monotonic time of the last one."""

    @property
    def question(self) -> str:
        """The method by which the server is asked how it is."""

    def request(self) -> tuple[bytes, float | None]:
        """A request for a new stream, and the time it asks for."""

    def take(self, messages: Iterable[bytes]) -> None:
        """Take the messages of a stream until it ends."""

    def opened(self, at: float, since: float | None) -> None:
        """Hear that a stream is up."""

    def closed(self, at: float, alive: float, reason: str) -> None:
        """Hear that it ended."""

    def heard(self, at: float, method: str, reply: Reply) -> Answer | None:
        """Take the server's answer; tells what it says about flows."""


class Flows:
    """The flows of one relay (`node` is empty) or of one node, into their lane."""

    method = GET_FLOWS

    def __init__(self, lane: Lane, node: str, resume: Resume, monotonic: Callable[[], float]) -> None:
        self.status = ReceiverStatus()
        self._lane = lane
        self._node = node
        self._resume = resume
        self._monotonic = monotonic
        self._knows_nodes = not node
        self._listed: tuple[str, ...] = ()
        self._listing: tuple[str, ...] = ()

    @property
    def received(self) -> int:
        """Messages received since the beginning."""
        return self._lane.received

    @property
    def last_message(self) -> float:
        """Monotonic time of the last one."""
        return self._lane.last_message

    @property
    def question(self) -> str:
        """A relay tells of its nodes; the server of a node, and old relays, only of themselves."""
        return GET_NODES if self._knows_nodes and self.status.server_version else SERVER_STATUS

    def request(self) -> tuple[bytes, float | None]:
        """Everything since what we have; a number without effect beside that."""
        # A relay holds back up to min(100, number × nodes) flows to sort them, for as long as they take to come:
        # a number of 1 keeps that to one per node. It also repeats one old flow per node, as no number does.
        request = GetFlowsRequest(follow=True, number=1)
        since = self._resume.since(self._lane.source)
        if since is not None:
            request.since.FromMicroseconds(int(since * 1_000_000))
        return request.SerializeToString(), since

    def take(self, messages: Iterable[bytes]) -> None:
        """Put messages into the lane."""
        self._lane.fill(messages, self._monotonic)

    def opened(self, at: float, since: float | None) -> None:
        """Put a notice."""
        self._listed = self._listing = ()
        self._lane.note(Opened(at, since, (self._node,) if self._node else ()))

    def closed(self, at: float, alive: float, reason: str) -> None:
        """Put a notice."""
        self._lane.note(Closed(at, alive, reason))

    def heard(self, at: float, method: str, reply: Reply) -> Answer | None:
        """Put a notice of what the server said; a refusal is a sign of life as well."""
        if method == GET_NODES:
            self._knows_nodes = not reply.unknown
            nodes = _read(GetNodesResponse, reply)
            reports = () if nodes is None else tuple(map(_report, nodes.nodes))
            up = [report for report in reports if report.connected]
            answer = Answer(sum(report.seen_flows for report in up), len(up)) if nodes is not None else None
            self._lane.note(Heard(at, reports))
            if nodes is not None:
                self._list(at, tuple(sorted(node.name for node in nodes.nodes if node.state != NODE_GONE)))
            return answer
        server = _read(ServerStatusResponse, reply)
        if server is None:
            self._lane.note(Heard(at))
            return None
        self.status.server_version = server.version
        if self._node:
            counts = (server.seen_flows, server.uptime_ns, server.num_flows, server.max_flows)
            reports = (NodeReport(self._node, True, *counts),)
        else:
            reports = tuple(NodeReport(name, connected=False) for name in server.unavailable_nodes)
        self._lane.note(Heard(at, reports))
        return Answer(server.seen_flows, server.num_connected_nodes.value or 1)

    def _list(self, at: float, nodes: tuple[str, ...]) -> None:
        """Say which nodes there are when it has changed, and a relay says so twice: one that has just started
        does not know them all."""
        if nodes == self._listing != self._listed:
            self._listed = nodes
            self._lane.note(Listed(at, nodes))
        self._listing = nodes


def _report(node: Node) -> NodeReport:
    connected = node.state == NODE_CONNECTED
    return NodeReport(node.name, connected, node.seen_flows, node.uptime_ns, node.num_flows, node.max_flows)


def _read(kind: type[Answered], reply: Reply) -> Answered | None:
    try:
        return None if reply.content is None else kind.FromString(reply.content)
    except DecodeError:
        return None
