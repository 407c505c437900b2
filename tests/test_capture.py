"""Captures: every message that can be read comes out, in order, and of the rest it is said where it is."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowwatch.errors import SourceError
from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.receive import Batch, Receiver
from flowwatch.receive.capture import CaptureReceiver
from flowwatch.receive.framing import LONGEST, SAMPLE, Broken, Frames, Framing, Lines, frame_at
from flowwatch.receive.jsonl import LineConverter
from flowwatch.receive.jsonwire import varint
from flowwatch.receive.unpack import DamagedError, pieces
from tests.support import shared

WAIT = 20.0
"""Seconds that a test waits for what must happen."""


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstd,
}


def event(number: int) -> observer_pb2.GetFlowsResponse:
    flow = flow_pb2.Flow(uuid=f"u-{number}", node_name="n", verdict=flow_pb2.FORWARDED)
    flow.source.labels.append("k8s:app=a")
    return observer_pb2.GetFlowsResponse(flow=flow, node_name="n")


def line(number: int) -> bytes:
    flow = {"uuid": f"u-{number}", "verdict": "FORWARDED", "source": {"labels": ["k8s:app=a"]}, "node_name": "n"}
    return json.dumps({"flow": flow, "node_name": "n"}, separators=(",", ":")).encode() + b"\n"


def frame(number: int) -> bytes:
    message = event(number).SerializeToString()
    return varint(len(message)) + message


FORMS = {"lines": line, "frames": frame}


class Unseekable(io.BytesIO):
    """A source that can be read only once."""

    def seekable(self) -> bool:
        return False


def unpacked(source: BinaryIO) -> tuple[bytes, str]:
    """What comes out of a compressed source, and what is said of its damage."""
    out = b""
    try:
        for piece in pieces(source):
            out += piece.data
    except DamagedError as error:
        return out, str(error)
    return out, ""


class Heard:
    """What a receiver's callbacks were told."""

    def __init__(self) -> None:
        self.broken: list[tuple[str, int, str]] = []
        self.progress: list[tuple[str, int, int]] = []

    def on_broken(self, file: str, line: int, message: str) -> None:
        self.broken.append((Path(file).name, line, message))

    def on_progress(self, file: str, read: int, total: int) -> None:
        self.progress.append((Path(file).name, read, total))


def receiver(*paths: str | Path, heard: Heard | None = None, **options: Any) -> CaptureReceiver:
    heard = heard or Heard()
    return CaptureReceiver(paths, on_broken=heard.on_broken, on_progress=heard.on_progress, **options)


def uuids(messages: list[bytes]) -> list[str]:
    return [observer_pb2.GetFlowsResponse.FromString(message).flow.uuid for message in messages]


def read(capture: CaptureReceiver) -> list[str]:
    """The uuids of everything it yields."""
    return uuids([message for batch in capture.batches() for message in batch.messages])


def numbered(count: int) -> list[str]:
    return [f"u-{number}" for number in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Writes bytes to a file whose name says nothing about them."""

    def write(data: bytes, name: str = "capture") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


# ---- What is read


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", FORMS)
def test_content_decides_how_a_file_is_read(file: Callable[..., Path], form: str, compression: str) -> None:
    """Lines and frames, plain and compressed, are told apart whatever the file is called."""
    data = b"".join(FORMS[form](number) for number in range(300))
    capture = receiver(file(COMPRESSIONS[compression](data), "misleading.txt.gz"))
    messages = [message for batch in capture.batches() for message in batch.messages]
    assert uuids(messages) == numbered(300)
    assert all(observer_pb2.GetFlowsResponse.FromString(message) == event(at) for at, message in enumerate(messages))
    assert capture.status.messages == 300
    assert capture.status.bytes == sum(map(len, messages))
    assert capture.status.broken == 0


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
@pytest.mark.parametrize("form", FORMS)
def test_compressed_members_that_follow_each_other_are_one_file(
    file: Callable[..., Path], form: str, compression: str
) -> None:
    """`cat a.gz b.gz` is a capture, too, even if a member ends within a message."""
    data = b"".join(FORMS[form](number) for number in range(10))
    parts = [data[:100], data[100:333], b"", data[333:]]
    assert read(receiver(file(b"".join(map(COMPRESSIONS[compression], parts))))) == numbered(10)


@pytest.mark.parametrize("compression", ["gzip", "xz"])
def test_zeros_after_a_compressed_file_are_padding(file: Callable[..., Path], compression: str) -> None:
    """Tapes and pre-allocated files end in zeros."""
    packed = COMPRESSIONS[compression]
    data = packed(line(0)) + bytes(70_000) + packed(line(1)) + bytes(8)
    capture = receiver(file(data))
    assert read(capture) == numbered(2)
    assert capture.status.broken == 0


def test_how_a_text_file_was_written_does_not_matter(file: Callable[..., Path]) -> None:
    """A byte order mark, Windows line ends, blank lines and a missing last line end are no errors."""
    heard = Heard()
    text = (
        b"\xef\xbb\xbf" + b"\r\n\r\n" + line(0).replace(b"\n", b"\r\n") + b"  \t\n" + b" " + line(1) + line(2).strip()
    )
    assert read(receiver(file(text), heard=heard)) == numbered(3)
    assert not heard.broken


@pytest.mark.parametrize(
    "data", [b"", b"\n\n  \r\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0), lzma.compress(b""), zstd(b"")]
)
def test_an_empty_file_holds_no_messages(file: Callable[..., Path], data: bytes) -> None:
    """That is no error: a quiet night is written down as nothing."""
    capture = receiver(file(data))
    assert list(capture.batches()) == []
    assert (capture.status.state, capture.status.broken, capture.status.error) == ("ended", 0, "")


def test_files_are_read_in_order_into_full_batches(file: Callable[..., Path]) -> None:
    """A batch holds messages of one file; only the last of a file is smaller than the rest."""
    first = file(line(0) + line(1) + line(2), "a")
    second = file(frame(3) + frame(4), "b")
    capture = receiver(first, second, first, batch_size=2, cluster="prod")
    got = [(batch.source, batch.cluster, len(batch.messages)) for batch in capture.batches()]
    a, b = str(first), str(second)
    assert got == [(file, "prod", count) for file, count in ((a, 2), (a, 1), (b, 2), (a, 2), (a, 1))]
    assert capture.name == f"{first} {second} {first}"
    assert capture.status.connects == 3


def test_log_lines_before_the_first_flow_do_not_hide_what_the_file_is(file: Callable[..., Path]) -> None:
    """An agent that exports to its standard output writes its log there as well."""
    heard = Heard()
    log = b'level=info msg="Cilium starts"\n{"time":"2026-01-01T00:00:00Z","level":"info"}\n'
    assert read(receiver(file(log + line(0)), heard=heard)) == ["u-0"]
    assert [(at, message[:20]) for _, at, message in heard.broken] == [
        (1, "not JSON: expecting "),
        (2, "neither a flow nor a"),
    ]


def test_events_without_a_flow_are_messages_as_well(file: Callable[..., Path]) -> None:
    """Lost events, node states and agent events pass like flows."""
    text = b'{"lost_events":{"num_events_lost":"3"}}\n{"node_status":{}}\n{"agent_event":{"type":"AGENT_STARTED"}}\n'
    messages = [message for batch in receiver(file(text)).batches() for message in batch.messages]
    kinds = [observer_pb2.ExportEvent.FromString(message).WhichOneof("response_types") for message in messages]
    assert kinds == ["lost_events", "node_status", "agent_event"]


def test_unknown_names_are_told(file: Callable[..., Path]) -> None:
    """A capture of a newer Cilium is read, and the receiver can say what it did not know."""
    capture = receiver(file(line(0).replace(b"FORWARDED", b"HELD")))
    assert read(capture) == ["u-0"]
    assert capture.unknown_enums == {"flow.Verdict: HELD": 1}


def test_a_capture_receiver_is_a_receiver(file: Callable[..., Path]) -> None:
    """It has the shape that every source of flows has, and keeps time by the clock it is given."""
    capture: Receiver = CaptureReceiver([file(line(0))], now=lambda: 42.0)
    assert capture.status.state == "connecting"
    assert len(list(capture.batches())) == 1
    assert (capture.status.state, capture.status.last_message, capture.status.messages) == ("ended", 42.0, 1)


# ---- Progress


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_progress_counts_the_bytes_of_the_file(file: Callable[..., Path], compression: str) -> None:
    """Percentages are right for compressed files: what counts is what was read, not what it became."""
    data = b"".join(line(number) for number in range(20_000))
    path = file(COMPRESSIONS[compression](data))
    heard = Heard()
    assert len(read(receiver(path, heard=heard))) == 20_000
    size = path.stat().st_size
    reads = [count for _, count, _ in heard.progress]
    assert {(name, total) for name, _, total in heard.progress} == {("capture", size)}
    assert reads == sorted(reads)
    assert reads[-1] == size
    assert len(reads) > 1


# ---- What cannot be read


def test_a_broken_line_costs_nothing_but_itself(file: Callable[..., Path]) -> None:
    """It is counted and reported with its number; blank lines count."""
    heard = Heard()
    text = line(0) + b'{"flow":{"uuid":7}}\n\n' + line(1) + b'{"flow":{"u\n' + line(2) + b"\xff\n" + b'{"flow'
    capture = receiver(file(text), heard=heard)
    assert read(capture) == numbered(3)
    assert [(name, at) for name, at, _ in heard.broken] == [("capture", at) for at in (2, 5, 7, 8)]
    assert heard.broken[0][2] == "flow.uuid: 7 is not text"
    assert capture.status.broken == 4
    assert capture.status.error.startswith(f"{capture.name}:8: not JSON: ")


def test_strict_ends_at_the_first_broken_line(file: Callable[..., Path]) -> None:
    """The error names file and line, and comes after the messages before it."""
    path = file(line(0) + line(1) + b"{}\n" + line(2))
    capture = receiver(path, strict=True)
    batches = capture.batches()
    assert uuids(next(batches).messages) == numbered(2)
    with pytest.raises(SourceError) as caught:
        next(batches)
    assert str(caught.value) == f"{path}:3: neither a flow nor an event of Hubble's"
    assert (capture.status.state, capture.status.failures, capture.status.messages) == ("ended", 1, 2)


def test_a_huge_line_is_skipped_without_being_held(file: Callable[..., Path]) -> None:
    """A line of 100 MB takes the memory of what is allowed, and the lines around it are read."""
    heard = Heard()
    with gzip.open(path := file(b""), "wb", compresslevel=1) as out:
        out.write(line(0))
        for _ in range(100):
            out.write(bytes(1 << 20))
        out.write(b"\n" + line(1))
    tracemalloc.start()
    try:
        assert read(receiver(path, heard=heard)) == numbered(2)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()
    assert heard.broken == [("capture", 2, f"a line of 104,857,600 bytes; longer than {LONGEST:,} is not read")]


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (b"\x05\x0a\x20abc", "5 bytes that are no message of Hubble's; nothing is read from there on"),
        (b"\x00" * 50, "a length of 0 bytes; nothing is read from there on"),
        (varint(LONGEST + 1), f"a length of {LONGEST + 1:,} bytes; nothing is read from there on"),
        (b"\xff" * 30, "a length of 34,359,738,368 bytes; nothing is read from there on"),
        (frame(2)[:-1], "the file ends in the middle of it, 1 bytes early; nothing is read from there on"),
        (b"\x80", "the file ends in the middle of it; nothing is read from there on"),
    ],
)
def test_a_broken_frame_ends_its_file(file: Callable[..., Path], tail: bytes, message: str) -> None:
    """Nothing says where the next one begins. The report names the byte; the next file is read."""
    heard = Heard()
    start = frame(0) + frame(1)
    capture = receiver(file(start + tail, "a"), file(line(2), "b"), heard=heard)
    assert read(capture) == numbered(3)
    assert heard.broken == [("a", 0, f"the frame at byte {len(start):,} is broken: {message}")]
    assert capture.status.broken == 1


def test_strict_ends_at_a_broken_frame(file: Callable[..., Path]) -> None:
    """The error names file and byte."""
    path = file(frame(0) + b"\x00")
    with pytest.raises(SourceError, match=f"capture: the frame at byte {len(frame(0))} is broken: a length of 0"):
        read(receiver(path, strict=True))


def test_a_file_of_one_cut_off_message_is_broken_not_foreign(file: Callable[..., Path]) -> None:
    """A capture that was stopped at once still is a capture."""
    for data in (frame(0)[:-5], line(0)[:-5]):
        heard = Heard()
        assert read(receiver(file(data), heard=heard)) == []
        assert len(heard.broken) == 1


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
def test_what_stands_before_damage_is_read(file: Callable[..., Path], compression: str) -> None:
    """A file that is cut off yields its beginning, and one report that says where it ends."""
    text = b"".join(
        line(number) + os.urandom(20).hex().encode().join([b'{"lost_events":{},"x":"', b'"}\n'])
        for number in range(30_000)
    )
    packed = COMPRESSIONS[compression](text)
    heard = Heard()
    capture = receiver(file(packed[: len(packed) // 2]), heard=heard)
    got = [uuid for uuid in read(capture) if uuid]
    assert got == numbered(len(got))
    assert 10_000 < len(got) < 20_000
    (report,) = heard.broken
    assert report[1] > 20_000
    assert compression in report[2]
    assert f"{len(packed) // 2:,} bytes" in report[2] or f"byte {len(packed) // 2:,}" in report[2]


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
@pytest.mark.parametrize("seekable", [True, False])
def test_damage_in_the_middle_is_noticed(compression: str, seekable: bool) -> None:
    """What was packed comes out up to the damage, or to somewhat before it where the source cannot be read twice."""
    text = b"".join(os.urandom(40).hex().encode() + b"\n" for _ in range(20_000))
    packed = bytearray(COMPRESSIONS[compression](text))
    half = len(packed) // 2
    packed[half : half + 200_000] = b"\xff" * 200_000
    out, damage = unpacked(io.BytesIO(packed) if seekable else Unseekable(packed))
    assert f"the {compression} data is damaged" in damage
    same = next((at for at, pair in enumerate(zip(out, text, strict=False)) if pair[0] != pair[1]), len(text))
    assert same >= len(text) // 2 - (1 << 19)


def test_foreign_data_after_a_compressed_file_is_reported(file: Callable[..., Path]) -> None:
    """What came before it is read."""
    heard = Heard()
    packed = gzip.compress(line(0))
    assert read(receiver(file(packed + b"junk"), heard=heard)) == ["u-0"]
    assert heard.broken == [("capture", 1, f"something else follows the gzip data, from byte {len(packed)} on")]


def test_a_compressed_file_without_anything_readable_is_broken(file: Callable[..., Path]) -> None:
    """There is no telling what it was a capture of, but it was one."""
    heard = Heard()
    assert read(receiver(file(gzip.compress(line(0))[:12]), heard=heard)) == []
    assert [message for _, _, message in heard.broken] == ["the gzip data ends in the middle, after 12 bytes"]


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"\x7fELF\x02\x01\x01\x00", "it begins with the bytes 7f 45 4c 46 02 01 01 00"),
        (b"PK\x03\x04" + bytes(range(256)) * 8, "it begins with the bytes 50 4b 03 04"),
        (b"hello\nworld\n", "it begins with `hello`"),
        (b"h\nabc", "it begins with `h`"),
        (b"apiVersion: v1\nkind: Pod\n", "it begins with `apiVersion: v1`"),
        (b'[{"flow":{}},\n{"flow":{}}]\n', "a JSON array; `jq -c .[]` makes a line of each element"),
        (b'{\n  "flow": {\n    "verdict": "DROPPED"\n  }\n}\n', "several lines; `jq -c .` makes a line of it"),
        ("\ufeff{}\n".encode("utf-16-le"), "it is UTF-16 text, and Hubble writes UTF-8"),
        (gzip.compress(b"hello\n", mtime=0), "it begins with `hello`"),
        (b"text\n" * SAMPLE, "it begins with `text`"),
    ],
)
def test_a_file_that_is_no_capture_is_said_so(file: Callable[..., Path], data: bytes, looks: str) -> None:
    """Reporting each of its lines as broken would hide the mistake."""
    path = file(data)
    with pytest.raises(SourceError) as caught:
        read(receiver(path))
    assert str(caught.value).startswith(f"{path}: neither JSON lines nor Hubble messages: ")
    assert looks in str(caught.value)


def test_files_that_cannot_be_opened_are_told_before_anything_is_read(
    file: Callable[..., Path], tmp_path: Path
) -> None:
    """A mistyped name is noticed at once, not after the files before it."""
    first = file(line(0))
    missing = tmp_path / "missing"
    capture = receiver(first, missing)
    with pytest.raises(SourceError) as caught:
        next(capture.batches())
    assert str(caught.value) == f"{missing}: cannot be read: no such file or directory"
    assert (capture.status.error, capture.status.state) == (str(caught.value), "ended")
    with pytest.raises(SourceError, match="is a directory; name the files in it"):
        read(receiver(tmp_path))
    with pytest.raises(SourceError, match="cannot be read: embedded null byte"):
        read(receiver("a\0b"))


def test_a_file_that_may_not_be_read_is_told(file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may read everything, so the answer of the system is put in its mouth."""
    path = file(line(0))
    monkeypatch.setattr("flowwatch.receive.capture.os.access", lambda *_: False)
    with pytest.raises(SourceError, match="capture: cannot be read: permission denied"):
        read(receiver(path))


def test_a_file_that_vanishes_between_check_and_reading_is_told(file: Callable[..., Path]) -> None:
    """The messages before it are delivered first."""
    first, second = file(line(0) + line(1), "a"), file(line(2), "b")
    batches = receiver(first, second, batch_size=1).batches()
    assert uuids(next(batches).messages) == ["u-0"]
    second.unlink()
    assert uuids(next(batches).messages) == ["u-1"]
    with pytest.raises(SourceError, match="b: cannot be read: no such file or directory"):
        next(batches)


def test_a_disk_that_fails_is_damage() -> None:
    """What was read before is delivered, and the rest reported."""

    class Failing(io.RawIOBase):
        def __init__(self) -> None:
            self._parts = [line(0), line(1)]

        def read(self, _size: int = -1) -> bytes:
            if not self._parts:
                raise OSError(5, "Input/output error")
            return self._parts.pop(0)

    heard = Heard()
    capture = receiver("-", heard=heard, stdin=Failing())
    assert read(capture) == numbered(2)
    assert heard.broken == [("-", 2, "it cannot be read any further: Input/output error")]
    assert capture.status.error == "standard input:2: it cannot be read any further: Input/output error"


def test_errors_of_the_callbacks_are_not_taken_for_damage(file: Callable[..., Path]) -> None:
    """A terminal that went away is no fault of the file."""

    def gone(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        list(CaptureReceiver([file(line(0))], on_progress=gone).batches())


# ---- Live sources


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The reading and the writing end of a pipe."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as reader, os.fdopen(write_end, "wb", buffering=0) as writer:
        yield reader, writer


def messages_of(batch: Batch) -> bool:
    """Whether there are any."""
    return bool(batch.messages)


def quiet(batch: Batch) -> bool:
    """Whether there are none."""
    return not batch.messages


def until(batches: Iterator[Batch], wanted: Callable[[Batch], bool]) -> list[bytes]:
    """The messages of the first batch that is wanted; other ones must be empty."""
    deadline = time.monotonic() + WAIT
    for batch in batches:
        if wanted(batch):
            return batch.messages
        assert not batch.messages
        assert time.monotonic() < deadline
    raise AssertionError("the source ended")


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
@pytest.mark.parametrize("form", FORMS)
def test_a_pipe_is_read_as_it_is_written(
    pipe: tuple[BinaryIO, BinaryIO], form: str, packed: Callable[[bytes], bytes]
) -> None:
    """Each message comes out although the writer goes on, and quiet times are told by empty batches."""
    reader, writer = pipe
    heard = Heard()
    capture = receiver("-", stdin=reader, heard=heard)
    batches = capture.batches()
    for number in range(3):
        assert until(batches, quiet) == []
        writer.write(packed(FORMS[form](number)))
        assert uuids(until(batches, messages_of)) == [f"u-{number}"]
        assert capture.status.state == "streaming"
    writer.close()
    assert not any(batch.messages for batch in batches)
    assert capture.status.state == "ended"
    assert {total for _, _, total in heard.progress} == {0}
    assert not heard.broken


def test_a_line_may_arrive_in_pieces(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """Nothing is decided, and nothing is broken, before the line is whole."""
    reader, writer = pipe
    heard = Heard()
    batches = receiver("-", stdin=reader, heard=heard).batches()
    whole = line(0)
    for part in (whole[:1], whole[1:30], whole[30:]):
        assert until(batches, quiet) == []
        writer.write(part)
    assert uuids(until(batches, messages_of)) == ["u-0"]
    writer.close()
    assert not any(batch.messages for batch in batches)
    assert not heard.broken


def test_a_trickle_is_handed_on_in_time(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """A source that never pauses long enough to seem quiet does not fill a batch first."""
    reader, writer = pipe
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.wait(0.01):
            writer.write(line(number))
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        batches = receiver("-", stdin=reader).batches()
        assert 0 < len(until(batches, messages_of)) < 1_000
    finally:
        done.set()
        thread.join()


def test_stop_ends_a_source_that_is_still_open(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """From another thread, while nothing arrives."""
    reader, writer = pipe
    capture = receiver("-", stdin=reader)
    writer.write(line(0))
    got: list[bytes] = []
    thread = threading.Thread(
        target=lambda: got.extend(message for batch in capture.batches() for message in batch.messages)
    )
    thread.start()
    deadline = time.monotonic() + WAIT
    while not capture.status.messages and time.monotonic() < deadline:
        time.sleep(0.005)
    capture.stop()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert uuids(got) == ["u-0"]
    writer.close()


def test_stop_ends_before_the_next_file(file: Callable[..., Path]) -> None:
    """What was read is still handed out."""
    capture = receiver(file(line(0), "a"), file(line(1), "b"), batch_size=1)
    batches = capture.batches()
    assert uuids(next(batches).messages) == ["u-0"]
    capture.stop()
    assert list(batches) == []


def test_a_named_pipe_without_a_writer_is_quiet(tmp_path: Path) -> None:
    """Opening it blocks, and whoever iterates does not notice."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    batches = receiver(fifo).batches()
    assert until(batches, quiet) == []
    fifo.write_bytes(line(0))
    assert uuids([message for batch in batches for message in batch.messages]) == ["u-0"]


def test_standard_input_is_the_default_of_a_dash(monkeypatch: pytest.MonkeyPatch, file: Callable[..., Path]) -> None:
    """A redirected file has a size; standard input itself stays open."""
    path = file(line(0) + b"{}\n")
    heard = Heard()
    with path.open() as redirected:
        monkeypatch.setattr("sys.stdin", redirected)
        capture = receiver("-", heard=heard)
        assert read(capture) == ["u-0"]
        assert not redirected.closed
    assert heard.progress[-1] == ("-", path.stat().st_size, path.stat().st_size)
    assert capture.status.error == "standard input:2: neither a flow nor an event of Hubble's"
    with pytest.raises(SourceError, match="standard input: cannot be read: "):
        read(receiver("-"))


def test_an_abandoned_receiver_leaves_no_thread(file: Callable[..., Path]) -> None:
    """Whoever stops iterating early need not clean up."""
    batches = receiver(file(line(0) * 100_000), batch_size=1).batches()
    next(batches)
    assert isinstance(batches, Generator)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "flowwatch-read"]


# ---- By chance, and by the real data


def framed(framing: Framing, data: bytes, cuts: list[int]) -> list[bytes | Broken]:
    """What a framing makes of `data` fed in pieces."""
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    out = [item for start, end in pairwise(at) for item in framing.feed(data[start:end])]
    return out + framing.finish()


CONVERTER = LineConverter()


@given(
    st.lists(st.sampled_from([line(0), b"\n", b"\r\n", b"{}\n", b"x" * 20 + b"\n"]), max_size=8),
    st.sampled_from([b"", line(1), line(1).strip(), b'{"']),
    st.lists(st.integers(0, 600), max_size=12),
)
def test_where_lines_are_cut_does_not_matter(parts: list[bytes], tail: bytes, cuts: list[int]) -> None:
    """Messages, errors and their places are the same however the bytes arrive."""
    data = b"".join([*parts, tail])
    assert framed(Lines(CONVERTER), data, cuts) == framed(Lines(CONVERTER), data, [])


@given(
    st.lists(st.sampled_from([frame(0), frame(1), frame(2)]), max_size=8),
    st.sampled_from([b"", b"\0", b"\x80", frame(3)[:-1], b"\x03\x0a\x09a", b"\xff" * 6]),
    st.lists(st.integers(0, 300), max_size=12),
)
def test_where_frames_are_cut_does_not_matter(parts: list[bytes], tail: bytes, cuts: list[int]) -> None:
    """Messages, errors and their places are the same however the bytes arrive."""
    data = b"".join([*parts, tail])
    whole = framed(Frames(), data, [])
    assert framed(Frames(), data, cuts) == whole
    assert len(whole) == len(parts) + bool(tail)


@given(st.integers(0, (1 << 35) - 1), st.binary(max_size=3))
def test_lengths_are_read_as_they_are_written(length: int, before: bytes) -> None:
    """A varint of up to five bytes, anywhere; none before its last byte is there."""
    written = before + varint(length)
    assert frame_at(written, len(before)) == (length, len(written))
    assert frame_at(written[:-1], len(before)) == (0, 0)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", line(0), frame(0), b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"]),
)
@example(b"\x05\x0a\x03abc", b"")
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused_in_words(data: bytes, start: bytes) -> None:
    """Hostile files end in messages, reports or a SourceError."""
    heard = Heard()
    capture = receiver("-", stdin=io.BytesIO(start + data), heard=heard)
    try:
        messages = [message for batch in capture.batches() for message in batch.messages]
    except SourceError as error:
        refused = str(error)
    else:
        refused = ""
        assert len(messages) == capture.status.messages
        assert len(heard.broken) == capture.status.broken
    assert not refused or "neither JSON lines nor Hubble messages" in refused


def test_both_forms_of_the_simulated_capture_hold_the_same_flows() -> None:
    """40,000 flows, once as JSON lines and once as frames, both in xz: equal messages in the same order."""
    folder = shared.folder("simulated")
    lines, frames = receiver(folder / "dev.jsonl.xz"), receiver(folder / "dev.bin.xz")
    count = 0
    for batch, other in zip(lines.batches(), frames.batches(), strict=True):
        for printed, sent in zip(batch.messages, other.messages, strict=True):
            assert observer_pb2.GetFlowsResponse.FromString(printed) == observer_pb2.GetFlowsResponse.FromString(sent)
            count += 1
    assert count == 40_000
    assert lines.status.broken == frames.status.broken == 0


def test_every_real_capture_is_read_whole() -> None:
    """1,916 flows of a cluster of 2021 in nine files, none broken, each with its node and time."""
    heard = Heard()
    capture = receiver(*sorted(shared.folder("hubble-otel").glob("*.jsonl")), heard=heard)
    messages = [message for batch in capture.batches() for message in batch.messages]
    assert len(messages) == 1916
    assert not heard.broken
    events = map(observer_pb2.GetFlowsResponse.FromString, messages)
    assert all(event.node_name and event.HasField("time") and event.HasField("flow") for event in events)
    assert capture.unknown_enums.total() == 0
