"""One log, followed through everything that happens to its files.

It promises every line once and in order through renaming, compression, copying with truncation, deletion and
restarts, as long as the bytes are somewhere among the files of the log; where they are not, it says so. A file is left
only for files that came after it, and is watched for a while longer, because a writer may not have noticed yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from flowwatch.receive import Batch, Closed, Notice, Opened, ReceiverStatus
from flowwatch.receive.files import Files
from flowwatch.receive.framing import Broken
from flowwatch.receive.jsonl import LineConverter
from flowwatch.receive.place import Place, PlaceError, Position
from flowwatch.receive.rotation import Entry, entry_of
from flowwatch.receive.segment import RewrittenError, Segment

LATE = 5.0
"""Seconds without a look at the log after which more than one file may have come and gone."""
REWRITES = 4
"""How often a file may be written over while it is looked at once."""

log = logging.getLogger("flowwatch.receive")

OnBroken = Callable[[str, int, str], None]


class FollowedLog:
    """The log at `path`, read on from `position()`, which is asked once, when there is a file. `patience` is how many
    seconds the log may be away before its stream counts as closed, and how long a file that was rotated away may
    still get a line. Not for use from two threads at once."""

    def __init__(
        self,
        path: Path,
        *,
        cluster: str,
        position: Callable[[], str],
        on_broken: OnBroken | None = None,
        patience: float = 60.0,
    ) -> None:
        self.path = path
        self.status = ReceiverStatus()
        self._cluster = cluster
        self._position = position
        self._on_broken = on_broken
        self._patience = patience
        self._converter = LineConverter()
        self._files = Files(path, self._converter)
        self._segments: list[Segment] = []
        """Open files, oldest first: those to be read, and before them one that may still grow."""
        self._left: Place | None = None
        """Where the file closed last was left, for as long as no later one can stand for it."""
        self._notices: list[Notice] = []
        self._left_since: dict[Segment, float] = {}
        """When an open file was last read although later ones are there."""
        self._seen: list[Entry] | None = None
        """A listing in which nothing came after the newest open file."""
        self._open = False
        self._looked = 0.0
        self._alive = 0.0
        """When the log was there, or grew, last."""

    @property
    def gone(self) -> bool:
        """Whether the log went away, and long ago."""
        return bool(self._segments) and not self._open

    def poll(self, now: float) -> Iterator[Batch]:
        """Yield what is new. Trouble with the files is in `status`; the next call tries again."""
        try:
            late = bool(self._segments) and now - self._looked > LATE
            if self._segments or self._begin(now):
                yield from self._read(now)
                while self._go_on(now, late):
                    yield from self._read(now)
                self._look_after(now)
            self._looked = now
        except OSError as error:
            self._trouble(f"{error.filename or self.path}: cannot be read: {(error.strerror or str(error)).lower()}")
        if self._notices:
            yield self._batch([])

    def close(self) -> None:
        """Let the files go."""
        for segment in self._segments:
            segment.close()
        self._segments = []

    # Where to begin.

    def _begin(self, now: float) -> bool:
        if not self._files.listed():
            there = self.path.exists()
            self._trouble(f"{self.path}: {'is not a regular file' if there else 'there is no such file yet'}")
            return False
        text = self._position()
        since, reason = None, ""
        if text:
            try:
                stored = Position.parse(text)
                if self._find(stored.places):
                    since = stored.at
                else:
                    reason = "the place in it where reading ended is in none of its files any more"
            except PlaceError as error:
                reason = str(error)
        if not self._segments:
            self._segments = self._files.all()
        self._alive = self._looked = now
        self._notices.append(Opened(now, since, seamless=since is not None))
        self._up()
        self.status.connects += 1
        if reason:
            what = f"{self.path}: {reason}; reading from the oldest file there is, {self._segments[0].path}"
            self.status.failures += 1
            self.status.error = what
            log.warning("%s", what)
        else:
            log.info("reading %s%s", self.path, " on" if since is not None else "")
        return True

    def _find(self, places: tuple[Place, ...]) -> bool:
        """Open the files of these places, and those after them; whether the last place was found."""
        found = [(place, segment) for place in places if (segment := self._files.find(place)) is not None]
        if not found:
            return False
        self._segments = [segment for _, segment in found]
        self._segments += self._files.after(self._segments[-1], self._segments)
        return found[-1][0] is places[-1]

    # What is new.

    def _read(self, now: float) -> Iterator[Batch]:
        """Everything that is in the open files, the oldest first."""
        for _ in range(REWRITES):
            try:
                for segment in list(self._segments):
                    reading = segment
                    while (items := segment.read()) is not None:
                        self._alive = now
                        self._left_since.pop(segment, None)
                        if messages := self._readable(segment, items):
                            yield self._batch(messages)
                    yield from self._leave(segment, now)
                return
            except RewrittenError:
                self._rewritten(reading, now)

    def _leave(self, segment: Segment, now: float) -> Iterator[Batch]:
        """Close a file that was read to its end, unless it can still grow."""
        at = self._segments.index(segment)
        last = len(self._segments) - 1
        if at == last:
            return
        if at == last - 1 and segment.growing and now - self._left_since.setdefault(segment, now) < self._patience:
            return
        messages = self._readable(segment, segment.finish())
        self._close(segment)
        if messages:
            yield self._batch(messages)

    def _close(self, segment: Segment) -> None:
        if segment.read_any:
            self._left = segment.place
        self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        self._left_since.pop(segment, None)
        self._segments.remove(segment)
        segment.close()

    # What happened to the files.

    def _go_on(self, now: float, late: bool) -> bool:
        """Open what came after the newest open file; whether there is anything."""
        newest = self._segments[-1]
        here = entry_of(self.path)
        if here is not None and here.identity == newest.identity:
            return False
        listed = self._files.listed()
        if listed == self._seen:
            return False
        later = self._files.after(newest, self._segments)
        if not later:
            self._seen = listed
            return False
        if late and not self._files.has(newest):
            self._interrupt(
                now, f"{newest.path} was deleted before it was read to its end; files after it may be gone as well"
            )
        self._segments += later
        return True

    def _rewritten(self, segment: Segment, now: float) -> None:
        """A file was truncated, and maybe written again. What it held may have been copied before."""
        index = self._segments.index(segment)
        copy = self._files.copy_of(segment)
        if copy is not None:
            log.info("%s was copied and truncated; reading on in %s", segment.path, copy.path)
            copies = [copy, *self._files.between(copy, segment, [*self._segments, copy])]
        elif segment.position:
            copies = []
            middle = f" in the middle of line {segment.line + 1}" if segment.pending else ""
            what = f"truncated{middle} after {segment.position:,} bytes were read; what else it held is lost"
            if middle:
                self._note_broken(segment, segment.line + 1, what)
            self._interrupt(now, f"{segment.path} was {what}")
            if segment.read_any:
                self._left = segment.place
        else:
            # It was empty when it was looked at, and is empty again: maybe something was written and copied meanwhile.
            copies = self._files.copies_since(segment, self._segments, self._left)
        segment.restart()
        self._left_since.clear()
        self._segments[index : index + 1] = [*copies, segment]

    def _interrupt(self, now: float, reason: str) -> None:
        """Say that something may be missing between what was read and what comes."""
        self.status.failures += 1
        self.status.error = reason
        log.warning("%s", reason)
        self._notices += [Closed(now, min(self._alive, now), reason), Opened(now, None)]

    def _look_after(self, now: float) -> None:
        """Is the log still there?"""
        if not self._segments:
            return
        if entry_of(self.path) is not None:
            self._alive = now
        if now - self._alive <= self._patience:
            if not self._open:
                self._notices.append(Opened(now, None))
                self.status.connects += 1
                log.info("%s is there again", self.path)
            if self.status.state != "streaming":
                self._up()
        elif self._open:
            self._open = False
            reason = f"{self.path} has been gone for {now - self._alive:.0f} s"
            self._notices.append(Closed(now, self._alive, reason))
            self._trouble(reason)

    # What is told.

    def _readable(self, segment: Segment, items: list[bytes | Broken]) -> list[bytes]:
        for item in items:
            if isinstance(item, Broken):
                self._note_broken(segment, item.line, item.message)
        return [item for item in items if isinstance(item, bytes)]

    def _note_broken(self, segment: Segment, line: int, message: str) -> None:
        self.status.broken += 1
        self.status.error = f"{segment.path}:{line}: {message}"
        if self._on_broken is not None:
            self._on_broken(str(segment.path), line, message)

    def _batch(self, messages: list[bytes]) -> Batch:
        self.status.messages += len(messages)
        self.status.bytes += sum(map(len, messages))
        if messages:
            self.status.last_message = self._alive
        notices, self._notices = tuple(self._notices), []
        return Batch(str(self.path), self._cluster, messages, notices, self._position_text())

    def _position_text(self) -> str:
        read = [segment.place for segment in self._segments if segment.read_any]
        if self._left is not None and len(read) < 2:
            read.insert(0, self._left)
        return Position(self._alive, tuple(read[-2:])).text() if read else ""

    def _up(self) -> None:
        self._open = True
        self.status.state = "streaming"
        self.status.error = ""

    def _trouble(self, error: str) -> None:
        if self.status.error != error:
            log.warning("%s", error)
            self.status.failures += 1
        self.status.error = error
        self.status.state = "waiting"
