"""Writing a run to a capture file instead of serving it: what flows over the wire, as a file.

`.jsonl` holds a line for each message, as `hubble observe -o jsonpb` prints it; `.bin` holds the
messages themselves, each behind its length as a varint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from flowwatch.errors import FlowwatchError
from flowwatch.hubble import observer_pb2
from flowwatch.simulate.messages import varint
from flowwatch.simulate.stage import Event

SUFFIXES = (".jsonl", ".bin")


def record(events: Iterable[Event], path: Path) -> int:
    """Write messages to a capture; return how many. Raises FlowwatchError."""
    if path.suffix not in SUFFIXES:
        raise FlowwatchError(f"cannot tell the format of {path}: its name must end in {' or '.join(SUFFIXES)}")
    encode = as_line if path.suffix == ".jsonl" else as_frame
    written = 0
    try:
        with path.open("wb") as file:
            for event in events:
                file.write(encode(event.message))
                written += 1
    except OSError as error:
        raise FlowwatchError(f"cannot write {path}: {error.strerror or error}") from error
    return written


def as_line(message: bytes) -> bytes:
    """A message as a line of JSON, with the names of the protocol."""
    response = observer_pb2.GetFlowsResponse.FromString(message)
    text = json.dumps(MessageToDict(response, preserving_proto_field_name=True), separators=(",", ":"))
    return text.encode() + b"\n"


def as_frame(message: bytes) -> bytes:
    """A message behind its length."""
    return varint(len(message)) + message
