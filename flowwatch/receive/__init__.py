"""Where flows come from. Every receiver yields lists of serialised messages and nothing else.

A message is one `observer.GetFlowsResponse` as it was on the wire (`observer.ExportEvent` is
the same for the fields we read). Decoding is the next stage's work, so that the receiving
thread never does more per message than append it to a list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
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


class Receiver(Protocol):
    """A source of flows."""

    @property
    def name(self) -> str:
        """The source as the user wrote it."""

    @property
    def status(self) -> ReceiverStatus: ...

    def batches(self) -> Iterator[list[bytes]]:
        """Yield lists of messages, oldest first; an empty list at least every 100 ms when the
        source is quiet, so that whoever iterates can act on time. Ends when the source does
        (a capture) or after `stop`; a live source reconnects by itself for ever."""

    def stop(self) -> None:
        """End `batches` soon, from any thread."""
