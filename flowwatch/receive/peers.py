"""The nodes of a cluster, followed through its Peer service: each gets a stream of flows of its own.

Any agent offers the service, over the network or through the socket on its own node. A node that
comes gets a stream, one whose address or certificate name changes gets a new one, one that leaves
loses it and is reported to have left. While the service itself is away, the nodes stay as they were.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from google.protobuf.message import DecodeError

from flowwatch.config import SourceSettings
from flowwatch.hubble.observer_pb2 import ServerStatusResponse
from flowwatch.hubble.peer_pb2 import PEER_ADDED, PEER_DELETED, PEER_UPDATED, ChangeNotification
from flowwatch.receive import Heard, Left, Listed, NodeReport, ReceiverStatus, Resume
from flowwatch.receive.certificates import CertificateFiles
from flowwatch.receive.channel import NOTIFY, SERVER_STATUS, Reply, Target
from flowwatch.receive.inbox import Inbox, Lane
from flowwatch.receive.liveness import Answer
from flowwatch.receive.roster import Node, Roster
from flowwatch.receive.stream import Stream
from flowwatch.receive.subscription import Flows

log = logging.getLogger("flowwatch.receive")

Event = Node | str | None
"""A node that is there, the name of one that left, or None: a new stream of notifications begins."""


class Notifications:
    """A subscription to the Peer service: what it says, in order, with the times it was said."""

    method = NOTIFY
    question = SERVER_STATUS

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.status = ReceiverStatus()
        self.events: deque[tuple[float, Event]] = deque()
        self.received = 0
        self.last_message = 0.0
        self._monotonic = monotonic

    def request(self) -> tuple[bytes, float | None]:
        """Everything."""
        return b"", None

    def take(self, messages: Iterable[bytes]) -> None:
        """Take notifications until the stream ends."""
        for message in messages:
            self.received += 1
            self.last_message = now = self._monotonic()
            try:
                said = ChangeNotification.FromString(message)
            except DecodeError:
                log.warning("the Peer service sent %d bytes that are no notification", len(message))
                continue
            if said.type == PEER_DELETED:
                self.events.append((now, said.name))
            elif said.type in (PEER_ADDED, PEER_UPDATED):
                server_name = said.tls.server_name if said.HasField("tls") else None
                self.events.append((now, Node(said.name, said.address, server_name)))

    def opened(self, _at: float, _since: float | None) -> None:
        """All nodes will be named anew."""
        self.events.append((self._monotonic(), None))

    def closed(self, _at: float, _alive: float, _reason: str) -> None:
        """The nodes stay as they are."""

    def heard(self, _at: float, _method: str, reply: Reply) -> Answer | None:
        """An agent's version; that it sees flows says nothing about nodes."""
        if reply.content is not None:
            with suppress(DecodeError):
                self.status.server_version = ServerStatusResponse.FromString(reply.content).version
        return None


@dataclass(slots=True)
class _Member:
    """A node with its lane and its stream; `wanted` is None once it has left."""

    lane: Lane
    wanted: Node | None
    node: Node | None = None
    stream: Stream | None = None
    status: ReceiverStatus | None = None


class Nodes:
    """All nodes of one cluster. `watch` is for one thread; `start` and `stop` come before and after it."""

    def __init__(
        self,
        source: SourceSettings,
        inbox: Inbox,
        resume: Resume,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        random: Random | None = None,
    ) -> None:
        settings = source.hubble
        self.name = settings.peer
        self._source = source
        self._inbox = inbox
        self._resume = resume
        self._clock = clock
        self._monotonic = monotonic
        self._random = random
        self._stopped = False
        self._files = CertificateFiles(settings)
        self._roster = Roster()
        self._members: dict[str, _Member] = {}
        self._statuses: dict[str, ReceiverStatus] = {}
        self._told = Notifications(monotonic)
        self._lane = inbox.lane(settings.peer, source.cluster)
        # The socket is of this very machine, and agents speak plain text on it whatever they do elsewhere.
        encrypted = settings.tls.enabled and not settings.peer.startswith("unix:")
        target = Target(settings.peer, settings.tls.server_name, settings, encrypted)
        self._peers = self._stream(target, self._told, f"the Peer service {settings.peer}")

    @property
    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """The Peer service's and each node's."""
        return {self.name: self._told.status, **self._statuses}

    def start(self) -> None:
        """Begin."""
        self._peers.start()

    def watch(self) -> None:
        """Follow what the Peer service said, and look after every stream."""
        now = self._monotonic()
        self._files.look(now)
        self._peers.watch(self._files)
        while self._told.events:
            self._follow(*self._told.events.popleft())
        settled = self._roster.settle(now)
        for name in settled.left:
            self._want(name, None)
        if settled.complete:
            self._lane.note(Listed(self._clock(), tuple(node.name for node in self._roster.nodes)))
        for name, member in list(self._members.items()):
            if member.stream is not None:
                member.stream.watch(self._files)
            self._advance(name, member)

    def stop(self) -> None:
        """End soon, from any thread."""
        self._stopped = True
        for stream in self._streams():
            stream.stop()

    def join(self) -> None:
        """Wait for the end of every stream, which `stop` has brought about."""
        for stream in self._streams():
            stream.stop()
            stream.join()

    def _streams(self) -> list[Stream]:
        return [self._peers, *(member.stream for member in list(self._members.values()) if member.stream is not None)]

    def _follow(self, now: float, event: Event) -> None:
        if event is None:
            self._roster.begin(now)
            return
        changes = self._roster.remove(event, now) if isinstance(event, str) else self._roster.add(event, now)
        for node in changes.present:
            self._want(node.name, node)
        for name in changes.left:
            self._want(name, None)

    def _want(self, name: str, node: Node | None) -> None:
        member = self._members.get(name)
        if member is None:
            if node is None:
                return
            lane = self._inbox.lane(self._key(name), self._source.cluster)
            # Expected from now on, whether it can be reached or not.
            lane.note(Heard(self._clock(), (NodeReport(name, connected=False),)))
            member = self._members[name] = _Member(lane, node)
        member.wanted = node
        if member.stream is not None and node != member.node:
            member.stream.stop()

    def _advance(self, name: str, member: _Member) -> None:
        """Bring a member to where it is wanted; a lane has one stream at a time."""
        stopped = member.stream is not None and member.stream.stopping
        if self._stopped or (member.wanted == member.node and not stopped):
            return
        if member.stream is not None and not member.stream.join(0):
            return
        member.stream, member.node = None, member.wanted
        key = self._key(name)
        if member.wanted is None:
            member.lane.note(Left(self._clock(), name))
            member.lane.end()
            del self._members[name]
            self._statuses.pop(key, None)
            log.info("node %s has left", name)
            return
        if refusal := self._refusal(member.wanted):
            self._statuses[key] = ReceiverStatus(state="waiting", error=refusal, failures=1)
            log.warning("%s", refusal)
            return
        flows = Flows(member.lane, name, self._resume, self._monotonic)
        settings, node = self._source.hubble, member.wanted
        target = Target(node.address, node.server_name or "", settings, settings.tls.enabled, small=True)
        self._statuses[key] = flows.status
        member.stream = self._stream(target, flows, f"node {name}")
        member.stream.start()

    def _refusal(self, node: Node) -> str:
        """Why a node is not even called; empty where it is."""
        if not node.address:
            return f"the Peer service gives no address for node {node.name}"
        if node.server_name is not None and not self._source.hubble.tls.enabled:
            section = f"{self._source.hubble.section}.tls"
            return (
                f"node {node.name} speaks TLS as {node.server_name}, and {section}.enabled is false: "
                f"set it to true, and {section}.ca, cert and key"
            )
        return ""

    def _stream(self, target: Target, subscription: Flows | Notifications, name: str) -> Stream:
        return Stream(
            target, subscription, name=name, clock=self._clock, monotonic=self._monotonic, random=self._random
        )

    def _key(self, name: str) -> str:
        """The stream's source: the node's name, which alone may be that of another cluster's node as well."""
        prefix = f"{self._source.cluster}/"
        return name if name.startswith(prefix) else prefix + name
