"""Flows from files and from standard input: what `hubble observe` or an agent's export wrote.

It promises every message that can be read, in the order of the files, and says of the rest
where it is. JSON lines, messages with their length in front, gzip, xz and zstd are told apart
by content alone. One thread reads and unpacks, ahead of the one that iterates.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flowwatch.errors import SourceError
from flowwatch.receive import Batch, ReceiverStatus
from flowwatch.receive.framing import Broken, Content, NotACaptureError
from flowwatch.receive.jsonl import LineConverter
from flowwatch.receive.readahead import ReadAhead
from flowwatch.receive.unpack import DamagedError, Piece, pieces

STDIN = "-"
TICK = 0.1
"""Seconds after which whoever iterates hears of a quiet source."""

OnBroken = Callable[[str, int, str], None]
"""Called with the file, the line (0 where there are none) and what is wrong."""
OnProgress = Callable[[str, int, int], None]
"""Called with the file, the bytes of it that were read, and its size (0 if nobody knows)."""


class CaptureReceiver:
    """Reads captures one after the other; `-` is standard input, which may go on for ever.

    A line or frame that cannot be read is counted in `status.broken` and reported; with
    `strict` it ends everything with a SourceError instead. Files that cannot be opened, or are
    no captures, raise a SourceError either way, after the messages before them.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        cluster: str = "default",
        batch_size: int = 10_000,
        strict: bool = False,
        on_broken: OnBroken | None = None,
        on_progress: OnProgress | None = None,
        stdin: BinaryIO | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._paths = [str(path) for path in paths]
        self._cluster = cluster
        self._batch_size = batch_size
        self._strict = strict
        self._on_broken = on_broken
        self._on_progress = on_progress
        self._stdin = stdin
        self._now = now
        self._stopped = threading.Event()
        self._status = ReceiverStatus()
        self._converter = LineConverter()

    @property
    def name(self) -> str:
        """The files as the user wrote them, separated by spaces."""
        return " ".join(self._paths)

    @property
    def status(self) -> ReceiverStatus:
        """How it is doing."""
        return self._status

    @property
    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """One for all files: they are read one after the other."""
        return {self.name: self._status}

    @property
    def unknown_enums(self) -> Counter[str]:
        """Names of verdicts, reasons and the like that this version does not know, and how often they came."""
        return self._converter.unknown_enums

    def stop(self) -> None:
        """End `batches` soon, from any thread."""
        self._stopped.set()

    def batches(self) -> Iterator[Batch]:
        """Yield up to `batch_size` messages of one file at a time; see `Receiver` for the times in between."""
        batch = self._begun("")
        try:
            for path in self._paths:
                check(path)
            for path in self._paths:
                if self._stopped.is_set():
                    break
                batch = self._begun(path)
                for item in self._file(path):
                    if item is not None:
                        batch.messages.append(item)
                    if len(batch.messages) >= self._batch_size or item is None:
                        yield self._counted(batch)
                        batch = self._begun(path)
                if batch.messages:
                    yield self._counted(batch)
                    batch = self._begun(path)
        except SourceError as error:
            self._status.error = str(error)
            self._status.failures += 1
            if batch.messages:
                yield self._counted(batch)
            raise
        finally:
            self._status.state = "ended"

    def _begun(self, path: str) -> Batch:
        return Batch(path, self._cluster)

    def _counted(self, batch: Batch) -> Batch:
        if batch.messages:
            self._status.messages += len(batch.messages)
            self._status.bytes += sum(map(len, batch.messages))
            self._status.last_message = self._now()
        return batch

    def _file(self, path: str) -> Iterator[bytes | None]:
        """The messages of one file; None when whoever iterates should have what there is."""

        def read() -> Iterator[Piece]:
            with opened(path, self._stdin) as file:
                yield from pieces(file)

        ahead = ReadAhead(read, tick=TICK)
        try:
            yield from self._messages(path, ahead, regular_size(path, self._stdin))
        finally:
            ahead.close()

    def _messages(self, path: str, ahead: ReadAhead[Piece], size: int | None) -> Iterator[bytes | None]:
        content = Content(self._converter)
        damage = ""
        told = self._now()
        opened_now = False
        try:
            for piece in up_to_damage(ahead):
                if self._stopped.is_set():
                    return
                if isinstance(piece, str):
                    damage = piece
                elif piece is not None:
                    self._status.state = "streaming"
                    self._status.connects += not opened_now
                    opened_now = True
                    yield from self._readable(path, content.feed(piece.data))
                    if self._on_progress is not None:
                        self._on_progress(path, piece.read, size or 0)
                # A growing source is handed on in time, even if it never pauses for a whole tick.
                if piece is None or (size is None and abs(self._now() - told) >= TICK):
                    told = self._now()
                    yield None
            yield from self._readable(path, content.finish(damage))
        except NotACaptureError as error:
            raise SourceError(f"{shown(path)}: neither JSON lines nor Hubble messages: {error}") from None

    def _readable(self, path: str, items: list[bytes | Broken]) -> Iterator[bytes]:
        for item in items:
            if isinstance(item, bytes):
                yield item
                continue
            self._status.broken += 1
            place = f"{shown(path)}:{item.line}" if item.line else shown(path)
            self._status.error = f"{place}: {item.message}"
            if self._on_broken is not None:
                self._on_broken(path, item.line, item.message)
            if self._strict:
                raise SourceError(self._status.error)


def shown(path: str) -> str:
    """A path as messages name it."""
    return "standard input" if path == STDIN else path


def check(path: str) -> None:
    """SourceError if `path` cannot be opened now: better before the first message than after hours."""
    if path == STDIN:
        return
    try:
        if stat.S_ISDIR(Path(path).stat().st_mode):
            raise SourceError(f"{path}: is a directory; name the files in it")
        if not os.access(path, os.R_OK):
            raise SourceError(f"{path}: cannot be read: permission denied")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def up_to_damage(ahead: ReadAhead[Piece]) -> Iterator[Piece | str | None]:
    """What was read, and at last in words why no more could be."""
    try:
        yield from ahead
    except DamagedError as error:
        yield str(error)
    except OSError as error:
        yield f"it cannot be read any further: {error.strerror or error}"


@contextmanager
def opened(path: str, stdin: BinaryIO | None) -> Iterator[BinaryIO]:
    """The file, unbuffered, closed afterwards. May wait: for whoever writes to a named pipe."""
    if path == STDIN and stdin is not None:
        yield stdin
        return
    try:
        number = os.dup(sys.stdin.fileno()) if path == STDIN else os.open(path, os.O_RDONLY)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    with os.fdopen(number, "rb", buffering=0) as file:
        yield file


def unreadable(path: str, error: Exception) -> SourceError:
    """Why a file cannot be read, in the system's words."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return SourceError(f"{shown(path)}: cannot be read: {reason[:1].lower()}{reason[1:]}")


def regular_size(path: str, stdin: BinaryIO | None) -> int | None:
    """The size of a file on a disk; None of anything else, which may grow."""
    try:
        status = os.fstat((stdin or sys.stdin).fileno()) if path == STDIN else Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
