"""The life of a log: somebody writes to it, somebody rotates it, and a reader comes and goes.

`LogLife` does to the files what lumberjack, logrotate and people do, and keeps the books: every line written, and
which of them are in no file any more. `Reader` reads with the real receiver and remembers what it stored, as the
daemon does: messages and position together or not at all.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

from flowwatch.hubble import observer_pb2
from flowwatch.receive import Batch, Closed, Notice, Opened
from flowwatch.receive.tail import TailReceiver

NAME = "events.log"


class Reader:
    """Reads a log with a `TailReceiver` after the other."""

    def __init__(self, *files: str) -> None:
        self.files = files
        self.stored: list[int] = []
        self.positions: dict[str, str] = {}
        self.notices: list[Notice] = []
        self.broken: list[tuple[str, int, str]] = []
        self.now = 1_790_000_000.0
        self._receiver: TailReceiver | None = None
        self._batches: Iterator[Batch] | None = None

    def since(self, source: str) -> float | None:
        """Files have no use for it."""

    def position(self, source: str) -> str:
        """The position stored last."""
        return self.positions.get(source, "")

    def step(self, *, most: int | None = None, store: bool = True) -> None:
        """Read what there is, at most so many batches."""
        self.now += 1.0
        if self._batches is None:
            self._receiver = TailReceiver(
                self.files,
                cluster="c",
                resume=self,
                on_broken=lambda *what: self.broken.append(what),
                interval=0.0,
                clock=lambda: self.now,
            )
            self._batches = self._receiver.batches()
        for number, batch in enumerate(self._batches, start=1):
            if not batch.source:
                return
            self.notices += batch.notices
            if store:
                self.stored += [uuid_of(message) for message in batch.messages]
                if batch.position:
                    self.positions[batch.source] = batch.position
            if number == most:
                return

    def end(self) -> None:
        """Go away, with or without a word."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]
        self._batches = self._receiver = None

    @property
    def interruptions(self) -> list[str]:
        """What it said of lines it may have missed."""
        return [notice.reason for notice in self.notices if isinstance(notice, Closed)]

    @property
    def found_again(self) -> list[bool]:
        """Of every time it began: did it go on where it had ended?"""
        return [notice.seamless for notice in self.notices if isinstance(notice, Opened)]


def uuid_of(message: bytes) -> int:
    """The number of the line that a message was."""
    return int(observer_pb2.ExportEvent.FromString(message).flow.uuid)


class LogLife:
    """A log in a folder and those who write and rotate it."""

    def __init__(self, folder: Path, *, append: bool = True) -> None:
        self.folder = folder
        self.path = folder / NAME
        self.written: list[int] = []
        self.torn: set[int] = set()
        """Lines of which one half was destroyed."""
        self._lines_of: dict[tuple[int, int], list[int]] = {}
        self._append = append
        self._half: tuple[int, bytes] | None = None
        self._stamp = 0
        self._copied = False
        self._number = 0
        self._packing: tuple[Path, Path, bytes] | None = None
        self._writer = self._open()

    def _open(self) -> int:
        new = not self.path.exists()  # lumberjack appends to a log that is there, and not to one that it makes
        writer = os.open(self.path, os.O_WRONLY | os.O_CREAT | (0 if new and not self._append else os.O_APPEND))
        if new:
            self._lines_of[self._identity(writer)] = []
        return writer

    @staticmethod
    def _identity(file: int | Path) -> tuple[int, int]:
        status = os.fstat(file) if isinstance(file, int) else file.stat()
        return status.st_dev, status.st_ino

    def close(self) -> None:
        os.close(self._writer)

    # The writer.

    def write(self, count: int = 1) -> None:
        """Whole lines; a half one is completed first."""
        self.complete()
        for _ in range(count):
            self._number += 1
            os.write(self._writer, line(self._number))
            self._note(self._number)

    def write_half(self, share: float = 0.5) -> None:
        """A line whose end comes later."""
        self.complete()
        self._number += 1
        data = line(self._number)
        cut = max(1, min(len(data) - 1, int(len(data) * share)))
        os.write(self._writer, data[:cut])
        self._half = self._number, data[cut:]

    def complete(self) -> None:
        """The end of a half line."""
        if self._half is not None:
            number, rest = self._half
            self._half = None
            os.write(self._writer, rest)
            self._note(number)

    def reopen(self) -> None:
        """The writer notices that its file was rotated away."""
        self.complete()
        os.close(self._writer)
        self._writer = self._open()

    def _note(self, number: int) -> None:
        self.written.append(number)
        self._lines_of[self._identity(self._writer)].append(number)

    # Those who rotate.

    def rotate_stamped(self) -> None:
        """As lumberjack does it: between two lines, with a time in the name."""
        self.complete()
        if self.path.exists():
            self._stamp += 1
            self.path.rename(self.folder / f"events-2026-01-15T09-30-{self._stamp:02d}.000.log")
        self.reopen()

    def rotate_numbered(self, *, notice: bool = True) -> None:
        """As logrotate does it: `.1`, `.2`, …; the writer may take a while to notice."""
        if not self.path.exists():
            return
        self._shift()
        self.path.rename(self.folder / f"{NAME}.1")
        if notice:
            self.reopen()
        else:
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT))
            self._lines_of[self._identity(self.path)] = []

    def copy(self) -> None:
        """The first half of copytruncate."""
        if self.path.exists() and not self._copied:
            self._copied = True
            self._shift()
            copied = self.folder / f"{NAME}.1"
            copied.write_bytes(self.path.read_bytes())
            self._lines_of[self._identity(copied)] = list(self._lines_of[self._identity(self.path)])

    def truncate(self) -> None:
        """All that the log holds is gone, unless there is a copy of it."""
        if not self.path.exists():
            return
        if self._half is not None and self._identity(self._writer) == self._identity(self.path):
            self.torn.add(self._half[0])
        self._copied = False
        os.truncate(self.path, 0)
        self._lines_of[self._identity(self.path)] = []

    def delete_oldest(self) -> None:
        """Somebody cleans up."""
        for path in self._rotated()[:1]:
            if self._packing is None or path not in self._packing[:2]:
                path.unlink()

    def delete_log(self) -> None:
        """Somebody deletes the log itself; its writer notices at the next rotation."""
        self.path.unlink(missing_ok=True)

    def begin_packing(self) -> None:
        """The first half of a compressed file is there, and what it is made from as well."""
        plain = [path for path in self._rotated() if path.suffix != ".gz"]
        if self._packing is None and plain and self._identity(plain[0]) != self._identity(self._writer):
            packed = gzip.compress(plain[0].read_bytes())
            target = plain[0].with_name(plain[0].name + ".gz")
            target.write_bytes(packed[: len(packed) // 2])
            self._packing = plain[0], target, packed

    def end_packing(self) -> None:
        """The compressed file is whole and alone."""
        if self._packing is not None:
            plain, target, packed = self._packing
            target.write_bytes(packed)
            status = plain.stat()
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            self._lines_of[self._identity(target)] = list(self._lines_of.get(self._identity(plain), []))
            plain.unlink()
            self._packing = None

    def _rotated(self) -> list[Path]:
        """The rotated files, the oldest first."""
        stamped = sorted(self.folder.glob("events-*"))
        numbered = sorted(self.folder.glob(f"{NAME}.*"), key=lambda path: -int(path.name.split(".")[2]))
        return [*stamped, *numbered]

    def _shift(self) -> None:
        self.end_packing()
        if self._identity(self.path) != self._identity(self._writer):
            self.reopen()  # before the next rotation every writer has noticed the last one
        for path in sorted(self.folder.glob(f"{NAME}.*"), key=lambda path: -int(path.name.split(".")[2])):
            parts = path.name.split(".")
            parts[2] = str(int(parts[2]) + 1)
            path.rename(self.folder / ".".join(parts))

    def held(self) -> set[int]:
        """The lines in the file at the log's own name."""
        return set(self._lines_of[self._identity(self.path)]) if self.path.exists() else set()

    def destroyed(self) -> set[int]:
        """The lines that are in no file any more."""
        identities = {self._identity(path) for path in self.folder.iterdir()}
        return set(self.written) - {number for identity in identities for number in self._lines_of.get(identity, [])}


def line(number: int) -> bytes:
    """A line of its own length."""
    pad = "x" * (number * 7 % 60)
    return f'{{"flow":{{"uuid":"{number}","Summary":"{pad}"}},"node_name":"n1"}}\n'.encode()
