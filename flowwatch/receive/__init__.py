"""Where flows come from. Every receiver yields batches of serialised messages, and what happened to the stream.

A message is one `observer.GetFlowsResponse` as it was on the wire (`observer.ExportEvent` is
the same for the fields we read). Decoding is the next stage's work, so that the receiving
thread never does more per message than append it to a list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

# gRPC's C core reads this when it is first imported; its handshake lines would end up in the live view,
# and what they say is in `ReceiverStatus.error` in better words.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


@dataclass(slots=True)
class ReceiverStatus:
    """How a receiver is doing. Written by the receiver alone, read by anyone at any time."""

    state: str = "connecting"
    """`connecting`, `streaming`, `waiting` (backing off after an error) or `ended`."""
    error: str = ""
    """The last failure in words; empty once a stream is up again."""
    connects: int = 0
    """Streams opened successfully since the start."""
    failures: int = 0
    messages: int = 0
    bytes: int = 0
    broken: int = 0
    """Lines or frames that could not be read (captures only)."""
    last_message: float = 0.0
    server_version: str = ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a server says of one node: is it reached, and its own counters. 0 where it did not say."""

    name: str
    connected: bool = True
    seen_flows: int = 0
    """Flows the node has seen since it started; what did not reach us of them is lost."""
    uptime_ns: int = 0
    num_flows: int = 0
    max_flows: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is up: its first sign of life. `since` is what it was asked to repeat from (None: live flows
    only); `nodes` names the node of a node's own stream, a relay says in-band whom it reaches. `seamless`
    when it goes on exactly where it ended, as a file does whose place was found again: nothing was missed."""

    at: float
    since: float | None
    nodes: tuple[str, ...] = ()
    seamless: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream ended; `alive` is its last proof of life, never later than `at`."""

    at: float
    alive: float
    reason: str


@dataclass(frozen=True, slots=True)
class Heard:
    """The server answered a question about its state: proof of life, and numbers to compare with ours."""

    at: float
    nodes: tuple[NodeReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Shed:
    """Our own queue was full and whole oldest batches of messages were given up, counted by node."""

    at: float
    nodes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Left:
    """The cluster no longer has this node; nobody expects flows from it."""

    at: float
    node: str


@dataclass(frozen=True, slots=True)
class Listed:
    """All nodes the cluster has, by whoever knows (the Peer service, a relay); the others have left."""

    at: float
    nodes: tuple[str, ...]


Notice = Opened | Closed | Heard | Shed | Left | Listed


@dataclass(slots=True)
class Batch:
    """Messages of one stream, oldest first, and what happened to the stream before them.

    `source` names the stream and is the key of its cursors: a relay's address, a node, a file.
    `cluster` is the operator's name of the cluster. `position` is where a file is to be read on after
    these messages; it is stored with their rows.
    """

    source: str
    cluster: str
    messages: list[bytes] = field(default_factory=list)
    notices: tuple[Notice, ...] = ()
    position: str = ""


class Resume(Protocol):
    """Where to go on: asked at every connect, from any thread."""

    def since(self, source: str) -> float | None:
        """The time (seconds) from which a stream should repeat what its server still has; None for live flows only."""

    def position(self, source: str) -> str:
        """The position stored with the newest rows of a file; empty where there are none."""


class NoResume:
    """Nothing to go on from: every stream begins now, every file at its beginning."""

    def since(self, source: str) -> float | None:
        """Live flows only."""
        del source
        return None

    def position(self, source: str) -> str:
        """The beginning."""
        del source
        return ""


class Receiver(Protocol):
    """A source of flows, or several."""

    @property
    def name(self) -> str:
        """The source as the user wrote it."""

    @property
    def status(self) -> ReceiverStatus:
        """How it is doing as a whole."""

    @property
    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """How each stream is doing, by its source."""

    def batches(self) -> Iterator[Batch]:
        """Yield batches, each stream's oldest first; one that holds nothing and names nobody at least every
        100 ms when all is quiet, so that whoever iterates can act on time. Ends when the source does
        (a capture) or after `stop`; a live source reconnects by itself for ever."""

    def stop(self) -> None:
        """End `batches` soon, from any thread."""
