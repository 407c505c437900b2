"""The plain bytes of a capture file, whatever it is compressed with, in bounded pieces.

gzip, xz and zstd are told apart by their first bytes, never by the file's name; members that
follow each other count as one. What can be read before a damaged place is handed out before
`DamagedError` says where it is. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import pyarrow as pa

PIECE = 1 << 20
"""Plain bytes handed out at once."""
RAW = 1 << 16
"""Compressed bytes fed at once."""
STEP, SMALL_STEP = 1 << 18, 1 << 10
"""Plain bytes unpacked at once. A step that fails yields nothing, but many small ones would keep asking for the
interpreter's lock, so the small ones are for damaged files."""

GZIP, XZ, ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
LONGEST_MAGIC = 6


class DamagedError(Exception):
    """Compressed data ends early or makes no sense from some place on."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some plain bytes, and how many bytes of the file had been read by then."""

    data: bytes
    read: int


class Counted:
    """The raw bytes of a file, counted. Hands out what there is rather than wait for more."""

    closed = False
    """Asked by Arrow."""

    def __init__(self, file: BinaryIO) -> None:
        self._read = getattr(file, "read1", file.read)
        self._ahead = b""
        self.count = 0

    def peek(self, size: int) -> bytes:
        """The next bytes, left in place; fewer than `size` only at the end."""
        while len(self._ahead) < size:
            more = self._read(RAW)
            if not more:
                break
            self._ahead += more
        return self._ahead

    def close(self) -> None:
        """Called by Arrow; whoever opened the file closes it."""

    def read(self, size: int = RAW) -> bytes:
        """At least one byte, except at the end."""
        data = self._ahead[:size] or self._read(size)
        self._ahead = self._ahead[size:]
        self.count += len(data)
        return data


class Decompressor(Protocol):
    """One member of a compressed file, as `lzma` and its relatives have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Gunzip:
    """`zlib` in the manner of `lzma`."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(out) < max_length
        return out


MEMBERS: dict[bytes, tuple[str, Callable[[], Decompressor]]] = {
    GZIP: ("gzip", Gunzip),
    XZ: ("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)),
}


def pieces(file: BinaryIO) -> Iterator[Piece]:
    """Yield the plain bytes of `file`. DamagedError once all that could be read was yielded."""
    begin = file.tell() if file.seekable() else None
    given = 0
    try:
        for piece in joined(file, STEP):
            yield piece
            given += len(piece.data)
        return
    except DamagedError:
        if begin is None:
            raise
    file.seek(begin)
    for piece in joined(file, SMALL_STEP):
        skipped = min(given, len(piece.data))
        given -= skipped
        if piece.data[skipped:]:
            yield Piece(piece.data[skipped:], piece.read)


def joined(file: BinaryIO, step_size: int) -> Iterator[Piece]:
    """Unpack in steps of at most `step_size` and yield them in larger pieces, but without delay."""
    raw = Counted(file)
    start = raw.peek(LONGEST_MAGIC)
    steps = as_it_is(raw)
    if start.startswith(ZSTD):
        steps = zstd(raw, step_size)
    for magic, (name, member) in MEMBERS.items():
        if start.startswith(magic):
            steps = unpacked(raw, name, magic, member, step_size)
    held: list[bytes] = []
    size = 0
    try:
        for step in steps:
            held.append(step)
            size += len(step)
            if size >= PIECE or (size and not step):
                yield Piece(b"".join(held), raw.count)
                held, size = [], 0
    except DamagedError:
        yield Piece(b"".join(held), raw.count)
        raise
    yield Piece(b"".join(held), raw.count)


# Each of the following yields steps, and an empty one before it may have to wait for more to read:
# what was unpacked must not lie about meanwhile.


def as_it_is(raw: Counted) -> Iterator[bytes]:
    """Bytes that are not compressed."""
    while data := raw.read(PIECE):
        yield data
        yield b""


def unpacked(
    raw: Counted, name: str, magic: bytes, member: Callable[[], Decompressor], step_size: int
) -> Iterator[bytes]:
    """All members of a gzip or xz file. Zeros between and after them are padding."""
    data = raw.read()
    while data:
        one = member()
        try:
            while not one.eof:
                if one.needs_input and not data:
                    yield b""
                    data = raw.read()
                    if not data:
                        raise DamagedError(f"the {name} data ends in the middle, after {raw.count:,} bytes")
                step = one.decompress(data, step_size)
                data = b""
                if step:
                    yield step
        except (zlib.error, lzma.LZMAError) as error:
            raise DamagedError(f"the {name} data is damaged before byte {raw.count:,}: {error}") from None
        data = one.unused_data.lstrip(b"\0")
        while not data:
            yield b""
            more = raw.read()
            if not more:
                return
            data = more.lstrip(b"\0")
        while len(data) < len(magic) and (more := raw.read()):
            data += more
        if not data.startswith(magic):
            place = raw.count - len(data)
            raise DamagedError(f"something else follows the {name} data, from byte {place:,} on")


def zstd(raw: Counted, step_size: int) -> Iterator[bytes]:
    """All frames of a zstd file. Reading goes on inside, so an empty step comes after it instead."""
    count = raw.count
    with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as stream:
        while True:
            try:
                step = stream.read(step_size)
            except OSError as error:
                raise DamagedError(f"the zstd data is damaged or cut off before byte {raw.count:,}: {error}") from None
            if not step:
                return
            yield step
            if raw.count != count:
                count = raw.count
                yield b""
