"""Where one message ends and the next begins: lines of JSON, or protobuf with its length in front.

A framing is fed bytes in pieces of any size and hands back messages; what cannot be read
comes out as `Broken`, in its place. Which of the two a file holds is told from its first
bytes. What a message says is none of this module's business.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError

from flowwatch.hubble import observer_pb2, projection_pb2
from flowwatch.receive.jsonl import LineConverter, LineError

LONGEST = 16 << 20
"""Bytes of a line or frame. Flows have a thousand or two."""
SAMPLE = 1 << 20
"""Bytes that are looked at before a file is said to be neither."""
BOM = b"\xef\xbb\xbf"

FIRST_TAGS = (b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a", b"\xc2\x3e", b"\xca\x3e")
"""How an event begins: with any of its parts, or with its node or time."""
BINARY = re.compile(rb"[^\t\n\r\x20-\xff]")


class NotACaptureError(ValueError):
    """A file is neither JSON lines nor Hubble messages; the text says what it looks like."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that could not be read. `line` counts from 1 and is 0 where there are no lines."""

    line: int
    message: str


class Framing(Protocol):
    """Cuts one file into messages."""

    @property
    def line(self) -> int:
        """Lines read so far; 0 where there are none."""

    def feed(self, data: bytes) -> list[bytes | Broken]:
        """What is complete with `data`."""

    def finish(self) -> list[bytes | Broken]:
        """What is left at the end of the file."""


class Lines:
    """JSON lines. Blank ones are skipped, though counted; too long ones are not kept in memory. `line` says how
    many were read before, by whoever goes on within a file."""

    def __init__(self, converter: LineConverter, line: int = 0) -> None:
        self._convert = converter.convert
        self._line = line
        self._held: list[bytes] = []
        self._length = 0

    @property
    def line(self) -> int:
        """Lines read so far."""
        return self._line

    def feed(self, data: bytes) -> list[bytes | Broken]:
        """The messages of the lines that end in `data`."""
        head, newline, rest = data.partition(b"\n")
        self._hold(head)
        if not newline:
            return []
        out = [self._held_line()]
        *lines, tail = rest.split(b"\n")
        out += [self._read(line) for line in lines]
        self._hold(tail)
        return [item for item in out if item is not None]

    def finish(self) -> list[bytes | Broken]:
        """The message of a last line without an end."""
        item = self._held_line() if self._length else None
        return [item] if item is not None else []

    def _hold(self, data: bytes) -> None:
        self._length += len(data)
        self._held.append(data)
        if self._length > LONGEST:
            self._held.clear()

    def _held_line(self) -> bytes | Broken | None:
        line, length = b"".join(self._held), self._length
        self._held, self._length = [], 0
        if length <= LONGEST:
            return self._read(line)
        self._line += 1
        return Broken(self._line, f"a line of {length:,} bytes; longer than {LONGEST:,} is not read")

    def _read(self, line: bytes) -> bytes | Broken | None:
        self._line += 1
        line = line.strip()
        if not line:
            return None
        try:
            return self._convert(line)
        except LineError as error:
            return Broken(self._line, str(error))


class Frames:
    """Messages with their length as a varint in front. After a broken one nothing can be found any more."""

    line = 0

    def __init__(self) -> None:
        self._held = b""
        self._offset = 0
        self._lost = False

    def feed(self, data: bytes) -> list[bytes | Broken]:
        """The messages that end in `data`."""
        if self._lost:
            return []
        data = self._held + data
        out: list[bytes | Broken] = []
        at = 0
        while True:
            length, start = frame_at(data, at)
            if not 0 < length <= LONGEST:
                if start:
                    out.append(self._broken(at, f"a length of {length:,} bytes"))
                break
            if len(data) < start + length:
                break
            message = data[start : start + length]
            try:
                projection_pb2.Response.FromString(message)
            except DecodeError:
                out.append(self._broken(at, f"{length:,} bytes that are no message of Hubble's"))
                break
            out.append(message)
            at = start + length
        self._offset += at
        self._held = b"" if self._lost else data[at:]
        return out

    def finish(self) -> list[bytes | Broken]:
        """Broken, if the file ends within a frame."""
        if not self._held:
            return []
        length, start = frame_at(self._held, 0)
        missing = f", {start + length - len(self._held):,} bytes early" if start else ""
        return [self._broken(0, f"the file ends in the middle of it{missing}")]

    def _broken(self, at: int, what: str) -> Broken:
        self._lost = True
        return Broken(0, f"the frame at byte {self._offset + at:,} is broken: {what}; nothing is read from there on")


def frame_at(data: bytes, at: int) -> tuple[int, int]:
    """The length of the frame at `at` and where its content starts; (0, 0) where `data` ends too early.

    A length that no varint of five bytes can hold is given as one that is certainly too long.
    """
    length = shift = 0
    for position in range(at, min(at + 5, len(data))):
        byte = data[position]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, position + 1
        shift += 7
    return (1 << 35, at + 5) if len(data) - at >= 5 else (0, 0)


class Content:
    """A file of either framing. Holds back what comes until it is clear which of them it is."""

    def __init__(self, converter: LineConverter) -> None:
        self._converter = converter
        self._sample = b""
        self._framing: Framing | None = None

    @property
    def line(self) -> int:
        """Lines read so far; 0 where there are none."""
        return self._framing.line if self._framing else 0

    def feed(self, data: bytes) -> list[bytes | Broken]:
        """What is complete with `data`. NotACaptureError if that settles that it is neither."""
        if self._framing is None:
            self._sample += data
            self._framing = framing_of(self._sample.removeprefix(BOM), self._converter, complete=False)
            data, self._sample = self._sample.removeprefix(BOM), b"" if self._framing else self._sample
        return self._framing.feed(data) if self._framing else []

    def finish(self, damage: str = "") -> list[bytes | Broken]:
        """What is left at the end. With `damage` the file was cut off there, and that is the last report."""
        out: list[bytes | Broken] = []
        if self._framing is None:
            sample = self._sample.removeprefix(BOM)
            try:
                self._framing = framing_of(sample, self._converter, complete=True)
            except NotACaptureError:
                if not damage:
                    raise
            out += self._framing.feed(sample) if self._framing else []
        out += self._framing.finish() if self._framing else []
        if damage:
            if out and isinstance(out[-1], Broken):
                out.pop()  # what the damage cut off is reported once, as damage
            out.append(Broken(self.line, damage))
        return out


def framing_of(sample: bytes, converter: LineConverter, *, complete: bool) -> Framing | None:
    """The framing of a file that begins with `sample`, or None where more of it is needed.

    NotACaptureError says what the file looks like if it is neither. `complete`: there is no more.
    """
    # A message may hold a line of JSON; a line of JSON that begins like a message begins with its brace.
    frame = False if sample.lstrip().startswith(b"{") else begins_with_frame(sample)
    if frame or (frame is None and not complete):
        return Frames() if frame else None
    if has_object(sample, complete=complete):
        return Lines(converter)
    frame = begins_with_frame(sample)
    if frame:
        return Frames()
    if not complete and len(sample) < SAMPLE:
        return None
    if not sample.strip() or re.match(rb'\s*\{[ \t]*"', sample):
        return Lines(converter)
    if frame is None and BINARY.search(sample[:64]):
        return Frames()
    raise NotACaptureError(appearance(sample))


def has_object(sample: bytes, *, complete: bool) -> bool:
    """Is one of the lines a JSON object? Log lines may stand before it."""
    lines = sample.split(b"\n")
    for line in lines if complete else lines[:-1]:
        if line.lstrip().startswith(b"{"):
            try:
                json.loads(line)
            except (ValueError, RecursionError):
                continue
            return True
    return False


def begins_with_frame(sample: bytes) -> bool | None:
    """Is a message of Hubble's the first thing? None if it may be, but goes on after `sample`."""
    length, start = frame_at(sample, 0)
    if not 0 < length <= LONGEST or not sample.startswith(FIRST_TAGS, start):
        return False
    if len(sample) < start + length:
        return None
    try:
        event = observer_pb2.ExportEvent.FromString(sample[start : start + length])
    except DecodeError:
        return False
    return bool(event.WhichOneof("response_types") or event.node_name or event.HasField("time"))


def appearance(sample: bytes) -> str:
    """What a file that is neither looks like."""
    start = sample.lstrip()
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16 text, and Hubble writes UTF-8"
    if start.startswith(b"["):
        return "it begins with `[`: a JSON array; `jq -c .[]` makes a line of each element"
    if start.startswith(b"{"):
        return "it begins with a JSON object over several lines; `jq -c .` makes a line of it"
    if BINARY.search(sample[:64]):
        return f"it begins with the bytes {sample[:12].hex(' ')}"
    return f"it begins with `{start[:40].decode(errors='replace').splitlines()[0]}`"
