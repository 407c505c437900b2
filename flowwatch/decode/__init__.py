"""From message bytes to columns: the only stage that knows the wire format of a flow.

Two decoders produce the same `Columns`: `native` (ptars, Rust, ~1 µs a flow) and `fallback` (protobuf
itself, ~10 µs a flow) for platforms without the former or for a batch it refuses. Endpoints stay
bytes here: a pod sends thousands of flows and its labels are parsed once, by `intern`.
"""

from __future__ import annotations

from typing import Protocol

from flowwatch.decode.columns import Columns, Decoded
from flowwatch.decode.fallback import FallbackDecoder

__all__ = ["Columns", "Decoded", "Decoder", "best_decoder"]


class Decoder(Protocol):
    """Turns a list of serialised `observer.GetFlowsResponse` messages into columns."""

    name: str

    def decode(self, messages: list[bytes]) -> Decoded:
        """Decode a batch; a message that is not one is counted in `undecodable`, never raised."""


def best_decoder() -> Decoder:
    """The fastest decoder this installation has."""
    try:
        from flowwatch.decode.native import NativeDecoder  # noqa: PLC0415 - ptars may be absent
    except ImportError:
        return FallbackDecoder()
    return NativeDecoder()
