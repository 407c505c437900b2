"""What is fuzzed, and what must hold of it: each target takes any bytes and raises if a promise is broken.

A target returns why it rejected the input, or nothing when it took it. Every rejection has a reason; whatever else
is raised is a bug.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flowwatch import allowlist, config
from flowwatch.decode import Decoded
from flowwatch.decode.fallback import FallbackDecoder
from flowwatch.decode.inside import is_message
from flowwatch.engine import Engine
from flowwatch.errors import AllowlistError, ConfigError, ProblemsError
from flowwatch.hubble import observer_pb2, projection_pb2
from flowwatch.receive import Batch
from flowwatch.receive.framing import Broken, Content, NotACaptureError
from flowwatch.receive.jsonl import LineConverter, LineError
from flowwatch.receive.place import PlaceError, Position
from flowwatch.receive.unpack import DamagedError, pieces
from tests.fuzz import samples
from tests.fuzz.http import ask
from tests.fuzz.mutate import varint

NOW = 1_790_000_000.0


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder: where to begin, and what to do with an input."""

    name: str
    doc: str
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], str]


def lists(decoded: Decoded) -> dict[str, list[Any]]:
    """Everything that decoding gave, in plain values."""
    columns = {name: getattr(decoded.flows, name) for name in decoded.flows.__dataclass_fields__}
    out = {
        name: value.tolist() if isinstance(value, np.ndarray) else value.to_pylist() for name, value in columns.items()
    }
    return {
        **out,
        "statuses": decoded.node_statuses,
        "losses": decoded.losses,
        "rest": [decoded.undecodable, decoded.other],
    }


def reason(error: Exception) -> str:
    """What an error says; it has to say something."""
    assert str(error)
    return str(error)


def told(error: ProblemsError) -> str:
    """A file was rejected: there are problems, and each has a sentence."""
    assert error.problems
    assert all(problem.message and problem.line >= 0 for problem in error.problems)
    return "problems"


@cache
def decoders() -> tuple[Any, FallbackDecoder, bytes]:
    """Both decoders, and a good message."""
    from flowwatch.decode.native import NativeDecoder  # noqa: PLC0415 - where it is missing only this target is

    return NativeDecoder(), FallbackDecoder(), samples.messages()[0]


def wire(data: bytes) -> str:
    """Both decoders agree on every message of Hubble's, and one that is none costs its neighbours nothing.

    The native one may take for a flow what is damaged and still looks like one, as its module says.
    """
    native, fallback, good = decoders()
    fast, slow = (lists(decoder.decode([good, data, good])) for decoder in (native, fallback))
    for out in (fast, slow):
        assert out["uuid"][0] == out["uuid"][-1] == samples.UUID
        assert sum(out["rest"]) + sum(len(out[name]) for name in ("uuid", "statuses", "losses")) == 3
    if is_message(projection_pb2.Response, data):
        assert fast == slow, {name: (fast[name], slow[name]) for name in fast if fast[name] != slow[name]}
    return "undecodable" if slow["rest"][0] else ""


def engine(data: bytes) -> str:
    """Whatever a message holds, the pipeline takes it through all stages, and accounts for it."""
    whole = Engine(cluster="c")
    counts = whole.ingest(Batch("fuzz", "fuzz", [decoders()[2], data]), NOW)
    whole.current(NOW)
    whole.drain(NOW, ())
    return "undecodable" if counts.undecodable else ""


@cache
def converters() -> tuple[LineConverter, LineConverter]:
    """One that remembers all that it read, and one that is only asked the careful way."""
    return LineConverter(), LineConverter()


def json(data: bytes) -> str:
    """A line is a message, or is said what is wrong with it; the fast way and the careful way read the same."""
    fast, careful = converters()
    try:
        message = fast.convert(data)
    except LineError as error:
        return reason(error).split(":")[0]
    read = observer_pb2.ExportEvent.FromString(message)
    assert read == observer_pb2.ExportEvent.FromString(careful._convert_carefully(data.decode().strip()))
    assert fast.convert(data) == message, "what is remembered is not what was read"
    return ""


def framing(data: bytes) -> str:
    """However the bytes of a capture come in, the same messages and the same reports come out."""

    def read(*parts: bytes) -> list[bytes | Broken] | str:
        content = Content(converters()[0])
        try:
            return [item for part in parts for item in content.feed(part)] + content.finish()
        except NotACaptureError as error:
            return reason(error)

    at = len(data) // 2
    whole, halves = read(data), read(data[:at], data[at:])
    assert whole == halves
    if isinstance(whole, str):
        return "not a capture"
    return "broken" if any(isinstance(item, Broken) for item in whole) else ""


def unpack(data: bytes) -> str:
    """Compressed or not, what can be read is read, in bounded pieces, and the damage is named."""
    size = 0
    try:
        for piece in pieces(io.BytesIO(data)):
            assert len(piece.data) <= 4 << 20
            size += len(piece.data)
            if size > 64 << 20:
                return "large"
    except DamagedError as error:
        return reason(error) and "damaged"
    return ""


def position(data: bytes) -> str:
    """A stored position is one, or is said to be none."""
    try:
        read = Position.parse(data.decode(errors="surrogateescape"))
    except PlaceError as error:
        return reason(error) and "no position"
    assert Position.parse(read.text()).places == read.places
    return ""


def positions() -> list[bytes]:
    """A position, as it is stored."""
    return [b'{"v":1,"at":1790000000.1,"files":[[1,2,3,"00ff",3,"00ff",99,7],[1,3,1024,"a",1024,"b",5000,8]]}']


def yaml(data: bytes) -> str:
    """Allowlists and policies are understood, or every problem has a file, a line and a sentence."""
    text = data.decode(errors="replace")
    try:
        allowlist.parse(text, "fuzz.yaml", NOW)
    except AllowlistError as error:
        return told(error)
    return ""


def configuration(data: bytes) -> str:
    """So is a configuration, whatever its encoding."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flowwatch.yaml"
        path.write_bytes(data)
        try:
            config.show(config.load(path, {}))
        except ConfigError as error:
            return told(error)
    return ""


def markdown(data: bytes) -> str:
    """Tables beside an allowlist are understood, or every problem has a line and a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        names, page = Path(folder) / "allowlist.yaml", Path(folder) / "page.md"
        names.write_bytes(samples.NAMES)
        page.write_bytes(data)
        try:
            allowlist.load([names, page], NOW)
        except AllowlistError as error:
            return told(error)
    return ""


def answers(data: bytes) -> str:
    """Answers about a server's state, events of nodes and losses are read, or counted."""
    status, lost = observer_pb2.GetFlowsResponse(node_name="n"), observer_pb2.GetFlowsResponse(node_name="n")
    head = b"\xc2\x3e"  # field 1000, the node
    wrapped = [bytes((number << 3 | 2,)) + varint(len(data)) + data for number in (2, 3)]
    whole = Engine(cluster="c")
    whole.ingest(
        Batch("fuzz", "fuzz", [status.SerializeToString() + wrapped[0], lost.SerializeToString() + wrapped[1], head]),
        NOW,
    )
    whole.drain(NOW, ())
    return ""


TARGETS = {
    target.name: target
    for target in (
        Target("wire", "messages of a stream, through both decoders", samples.messages, wire),
        Target("engine", "messages of a stream, through the whole pipeline", samples.messages, engine),
        Target("answers", "node statuses and losses", samples.answers, answers),
        Target("json", "one line of an export", samples.lines, json),
        Target("framing", "captures, in pieces", samples.framed, framing),
        Target("unpack", "compressed captures", samples.packed, unpack),
        Target("position", "the stored place in a log", positions, position),
        Target("yaml", "allowlists and network policies", samples.declarations, yaml),
        Target("config", "configuration files", samples.configurations, configuration),
        Target("markdown", "tables in Markdown", samples.tables, markdown),
        Target("http", "requests to the API", samples.requests, ask),
    )
}
