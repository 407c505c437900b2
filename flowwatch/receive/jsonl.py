"""From one line of JSON to the message it prints: an `observer.ExportEvent` on the wire.

Reads what `hubble observe -o jsonpb` and the agents' flow export have printed since Cilium
1.8, masked and aggregated ones included, and the older form, a flow without anything around
it. Agent and debug events stay the messages they are. A flow's own node and time stand in
where the response does not give them.

Printing one flow takes Hubble about as long as reading it takes here, so speed matters: the
two endpoints are half of a line and mostly the same text as in an earlier line. They are cut
out, known by their text, and only the rest is parsed.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from google.protobuf.descriptor import Descriptor

from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.receive.jsoncare import CarefulEncoder, LineError
from flowwatch.receive.jsonwire import LENGTH, UNUSUAL, FastEncoder, names, tag, varint

__all__ = ["LineConverter", "LineError"]

EVENT: Descriptor = observer_pb2.DESCRIPTOR.message_types_by_name["ExportEvent"]
FLOW: Descriptor = flow_pb2.DESCRIPTOR.message_types_by_name["Flow"]
ENDPOINT: Descriptor = flow_pb2.DESCRIPTOR.message_types_by_name["Endpoint"]

KINDS = frozenset(key for field in EVENT.oneofs_by_name["response_types"].fields for key in names(field))
BARE_FLOW = frozenset(key for field in FLOW.fields for key in names(field)) - {"time", "node_name", "nodeName"}
"""A line is a flow without anything around it if it has one of these; log lines have a time, too."""

ENDS = tuple(
    (name, f'"{name}":{{', tag(FLOW.fields_by_name[name].number, LENGTH)) for name in ("source", "destination")
)
FLOW_TAG = tag(EVENT.fields_by_name["flow"].number, LENGTH)

STRETCHES = (
    ("what", '"verdict":"', ',"l4":{'),
    ("where", '"Type":"', ',"Summary":"'),
)
"""Fields in the order of the schema that vary little together: what takes their place when they
are cut out, how they begin, and what comes after them."""

REMEMBERED = 16 << 20
"""How much text a memo may hold, in characters."""


class TextMemo(dict[str, tuple[bytes, str]]):
    """Encoded parts of flows by the text they were made from, with the node that the text names.

    Starts over when it holds too much: flows repeat themselves soon enough.
    """

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def add(self, text: str, encoded: bytes, node: str = "") -> tuple[bytes, str]:
        """Remember `text`; returns what `get` will."""
        self._size += len(text) + len(encoded)
        if self._size > REMEMBERED:
            self.clear()
            self._size = len(text) + len(encoded)
        self[text] = encoded, node
        return encoded, node


class LineConverter:
    """Converts lines, remembering what endpoints look like. Not for use from two threads at once."""

    def __init__(self) -> None:
        self._parse = json.JSONDecoder().raw_decode
        fast = FastEncoder(EVENT)
        self._fields = fast.fields
        self._flow = fast.body(FLOW)
        self._endpoint = fast.body(ENDPOINT)
        self._careful = CarefulEncoder()
        self._endpoints = TextMemo()
        self._stretches = TextMemo()

    @property
    def unknown_enums(self) -> Counter[str]:
        """Enum names that the schema lacks (`flow.Verdict: HELD`), and how often they were left out."""
        return self._careful.unknown_enums

    def convert(self, line: bytes) -> bytes:
        """The message that `line` prints, serialised. LineError says what is wrong with the line."""
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise LineError(f"not UTF-8: byte 0x{line[error.start]:02x} in column {error.start + 1}") from None
        try:
            return self._convert_fast(text)
        except UNUSUAL:
            return self._convert_carefully(text)

    def _convert_fast(self, text: str) -> bytes:
        """Any exception means: not here. What it returns is what the careful way would."""
        parts: list[bytes] = []
        cut: list[str] = []
        for name, key, head in ENDS:
            at = text.find(key)
            if at >= 0:
                start = at + len(key) - 1
                endpoint, end = self._endpoint_at(text, start)
                text = f"{text[:start]}null{text[end:]}"
                parts += head, endpoint
                cut.append(name)
        node = ""
        for mark, first, after in STRETCHES:
            start = text.find(first)
            end = text.find(after, start)
            if 0 <= start < end:
                stretch, named = self._stretch(text[start:end])
                text = f'{text[:start]}"{mark}":null{text[end:]}'
                parts.append(stretch)
                cut.append(mark)
                node = named or node
        record, end = self._parse(text)
        if end != len(text):
            raise ValueError("more than one value")
        return self._assemble(record, parts, cut, node)

    def _assemble(self, record: dict[str, Any], parts: list[bytes], cut: list[str], node: str) -> bytes:
        flow = record if KINDS.isdisjoint(record) else record["flow"]
        for name in cut:
            if flow.pop(name) is not None:
                raise ValueError("what was cut out was not this flow's")
        if flow is record:
            if not cut and BARE_FLOW.isdisjoint(record):
                raise ValueError("not a flow")
            record = {}
        elif len(KINDS & record.keys()) > 1:
            raise ValueError("more than a flow")
        if "nodeName" in record or "nodeName" in flow:
            raise ValueError("not as Hubble prints it")
        parts.append(self._flow(flow))
        body = b"".join(parts)
        out = [FLOW_TAG, varint(len(body)), body]
        node = record.get("node_name") or flow.get("node_name") or node
        if node:
            out.append(self._fields["node_name"](node))
        time = record.get("time") or flow.get("time")
        if time:
            out.append(self._fields["time"](time))
        return b"".join(out)

    def _endpoint_at(self, text: str, start: int) -> tuple[bytes, int]:
        """The endpoint (length and content) whose `{` is at `start`, and where it ends.

        A text that was a whole JSON value once is the same value wherever a value starts with
        it. So its end need not be searched for, only guessed: the first `}`, or the one after
        the list of workloads.
        """
        end = text.find("}", start) + 1
        if text.startswith("]}", end):
            end += 2
        known = self._endpoints.get(text[start:end])
        if known is None:
            value, end = self._parse(text, start)
            body = self._endpoint(value)
            known = self._endpoints.add(text[start:end], varint(len(body)) + body)
        return known[0], end

    def _stretch(self, members: str) -> tuple[bytes, str]:
        """Some fields that follow each other, and the node if one of them names it.

        What is a list of members on its own is one within any object, too.
        """
        known = self._stretches.get(members)
        if known is None:
            value = json.loads(f"{{{members}}}")
            if "time" in value or "nodeName" in value:
                raise ValueError("not as Hubble prints it")
            known = self._stretches.add(members, self._flow(value), value.get("node_name") or "")
        return known

    def _convert_carefully(self, text: str) -> bytes:
        try:
            record, end = self._parse(text)
            if text[end:].strip():
                raise LineError(f"not JSON: more text after the end of the value (column {end + 1})")
            return self._careful.message(EVENT, completed(record))
        except json.JSONDecodeError as error:
            raise LineError(f"not JSON: {error.msg[:1].lower()}{error.msg[1:]} (column {error.colno})") from None
        except RecursionError:
            raise LineError("nested too deeply") from None
        except LineError:
            raise
        except ValueError as error:
            raise LineError(f"not JSON: {error}") from None


def completed(record: Any) -> dict[str, Any]:
    """The line as an export event, with the flow's node and time where the event has none."""
    if type(record) is not dict:
        raise LineError("not a JSON object")
    event: dict[str, Any] = record
    if KINDS.isdisjoint(event):
        if BARE_FLOW.isdisjoint(event):
            raise LineError("neither a flow nor an event of Hubble's")
        event = {"flow": event}
    flow = event.get("flow")
    if type(flow) is not dict:
        return event
    node = event.get("node_name") or event.get("nodeName") or flow.get("node_name") or flow.get("nodeName")
    rest = {key: value for key, value in event.items() if key not in ("node_name", "nodeName", "time")}
    return {**rest, "node_name": node, "time": event.get("time") or flow.get("time")}
