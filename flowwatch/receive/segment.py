"""One file of a log, read line by line while it grows, and noticed when it is no longer the same.

The file is held open, so that renaming and deleting it change nothing. What was read is compared with what is there
now before anything new is believed: a file that was truncated and written again looks like one that grew.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from flowwatch.receive.framing import Broken, Lines
from flowwatch.receive.jsonl import LineConverter
from flowwatch.receive.place import REACH, Mark, Place
from flowwatch.receive.unpack import GZIP, XZ, ZSTD, DamagedError, pieces

CHUNK = 2 << 20
"""Bytes read at once: some thousand flows, converted in well under a tenth of a second."""


class RewrittenError(Exception):
    """A file does not hold any more what was read from it."""


class Segment:
    """An open file of a log, to be read from `offset` on, before which there are `line` lines. OSError if it
    cannot be opened. RewrittenError if it is shorter than that, or begins otherwise than `head` says."""

    def __init__(
        self, path: Path, converter: LineConverter, *, offset: int = 0, line: int = 0, head: Mark | None = None
    ) -> None:
        self.path = path
        self._file = os.fdopen(_open_regular(path), "rb", buffering=0)
        self._converter = converter
        self._lines = Lines(converter, line)
        self._offset = self._at = offset
        self._damage = ""
        status = self.stat()
        self._checked = (-1, status.st_mtime_ns)
        self.identity = status.st_dev, status.st_ino
        try:
            self._plain = self._plain_bytes()
            self._head, self._recent = self._up_to(offset, head)
        except BaseException:
            self.close()
            raise
        self._before = self._recent

    @classmethod
    def at(cls, path: Path, place: Place, converter: LineConverter) -> Segment | None:
        """The file at `path`, if it is the one that `place` is in."""
        try:
            segment = cls(path, converter, offset=place.offset, line=place.line, head=place.head)
        except (RewrittenError, FileNotFoundError):
            return None
        if Mark.of(segment._before[-place.tail.size :]) == place.tail:
            return segment
        segment.close()
        return None

    @property
    def place(self) -> Place:
        """The first line that was not read."""
        head = Mark.of(self._head[: min(REACH, self._offset)])
        return Place(*self.identity, head, Mark.of(self._before), self._offset, self._lines.line)

    @property
    def read_any(self) -> bool:
        """Whether a whole line was read, so that `place` can be found again."""
        return self._offset > 0

    @property
    def pending(self) -> int:
        """Bytes of a last line that has no end yet."""
        return self._at - self._offset

    @property
    def position(self) -> int:
        """Bytes read, including the beginning of a last line."""
        return self._at

    @property
    def line(self) -> int:
        """Lines read."""
        return self._lines.line

    @property
    def modified(self) -> int:
        """When the file was written last, as far as it was read; nanoseconds since the epoch."""
        return self._checked[1]

    @property
    def growing(self) -> bool:
        """Whether somebody who still has the file open could add a line to it that others would find, too."""
        return self._plain is None and self.stat().st_nlink > 0

    @property
    def head(self) -> bytes:
        """The first bytes that were read."""
        return self._head

    def stat(self) -> os.stat_result:
        """The file as it is now, wherever it is."""
        return os.fstat(self._file.fileno())

    def read(self) -> list[bytes | Broken] | None:
        """The messages of the next piece that is there, None at the end. RewrittenError if what was read is gone."""
        if self._plain is not None:
            return self._read_packed(self._plain)
        chunk = os.pread(self._file.fileno(), CHUNK, self._at)
        self._check(chunk)
        return self._taken(chunk) if chunk else None

    def finish(self) -> list[bytes | Broken]:
        """The message of a last line without an end: nothing will be added to it any more."""
        self._offset, self._before = self._at, self._recent
        return self._lines.finish()

    def beginning(self) -> bytes:
        """The first bytes of the file as it is now, read or not; nothing of a compressed one."""
        return os.pread(self._file.fileno(), REACH, 0) if self._plain is None else b""

    def content(self, size: int) -> str:
        """A digest of so many first bytes as they are now; of a compressed file, as it is."""
        digest, number, at = blake2b(digest_size=16), self._file.fileno(), 0
        while at < size and (piece := os.pread(number, min(CHUNK, size - at), at)):
            digest.update(piece)
            at += len(piece)
        return digest.hexdigest()

    def restart(self) -> None:
        """Begin again with the first line: the file was written over."""
        self._lines = Lines(self._converter)
        self._offset = self._at = 0
        self._head = self._recent = self._before = b""
        status = self.stat()
        self._checked = status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _taken(self, chunk: bytes) -> list[bytes | Broken]:
        end = chunk.rfind(b"\n") + 1
        if end:
            self._before = (self._recent + chunk[:end])[-REACH:]
            offset = self._at + end
        else:
            offset = self._offset
        # Whoever goes on writing at its old place after a truncation leaves a hole in front, which reads as zeros.
        data = chunk if self.pending else chunk.lstrip(b"\0")
        self._at += len(chunk)
        self._offset = offset if data else self._at
        self._head += chunk[: REACH - len(self._head)]
        self._recent = (self._recent + chunk)[-REACH:]
        if not data:
            self._before = self._recent
        return self._lines.feed(data)

    def _check(self, chunk: bytes) -> None:
        status = self.stat()
        if status.st_size < self._at + len(chunk):
            raise RewrittenError
        now = status.st_size, status.st_mtime_ns
        if now == self._checked:
            return
        if not self._at and self._checked[0] >= 0:
            # Nothing of it was read, so nothing can be missed in it; but maybe it held something else in between.
            raise RewrittenError
        number, recent = self._file.fileno(), self._recent
        if os.pread(number, len(self._head), 0) != self._head:
            raise RewrittenError
        if os.pread(number, len(recent), self._at - len(recent)) != recent:
            raise RewrittenError
        self._checked = now

    def _read_packed(self, plain: Iterator[bytes]) -> list[bytes | Broken] | None:
        if self._damage:
            return None
        try:
            chunk = next(plain, None)
        except (DamagedError, OSError) as error:
            self._damage = str(error)
            # What the damage cut off is reported once, as damage.
            whole = [item for item in self.finish() if not isinstance(item, Broken)]
            return [*whole, Broken(self._lines.line, self._damage)]
        return None if chunk is None else self._taken(chunk)

    def _plain_bytes(self) -> Iterator[bytes] | None:
        """The bytes of a compressed file; None of any other, which is read where it is."""
        if not os.pread(self._file.fileno(), 6, 0).startswith((GZIP, XZ, ZSTD)):
            return None
        return (piece.data for piece in pieces(self._file) if piece.data)

    def _up_to(self, offset: int, expected: Mark | None) -> tuple[bytes, bytes]:
        """The first bytes of the file, and the last ones before `offset`."""
        if self._plain is None:
            number, reach = self._file.fileno(), min(REACH, offset)
            head, recent = os.pread(number, reach, 0), os.pread(number, reach, offset - reach)
            if len(recent) < reach or differs(head, expected):
                raise RewrittenError
            return head, recent
        head = recent = b""
        passed = 0
        while passed < offset:
            try:
                data = next(self._plain, b"")
            except (DamagedError, OSError):
                data = b""
            data, rest = data[: offset - passed], data[offset - passed :]
            passed += len(data)
            head += data[: REACH - len(head)]
            recent = (recent + data)[-REACH:]
            if not data or (len(head) == min(REACH, offset) and differs(head, expected)):
                raise RewrittenError
            if rest:
                self._plain = _put_back(rest, self._plain)
        return head, recent


def differs(head: bytes, expected: Mark | None) -> bool:
    """Whether these first bytes are others than expected."""
    return expected is not None and Mark.of(head[: expected.size]) != expected


def _put_back(data: bytes, plain: Iterator[bytes]) -> Iterator[bytes]:
    yield data
    yield from plain


def _open_regular(path: Path) -> int:
    """Opens a file on a disk; a pipe would wait for its writer, and has no place to come back to."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return number
    os.close(number)
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))
