"""The files of one log, found and opened although they are renamed, compressed and deleted meanwhile.

A file is known by its inode while it is open, and by what it holds where that does not help: after a restart, after
compression, after a copy was made of it. What is opened here is read from its beginning unless a place says otherwise.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from flowwatch.receive.jsonl import LineConverter
from flowwatch.receive.place import Place
from flowwatch.receive.rotation import Entry, listing
from flowwatch.receive.segment import Segment, differs

TRIES = 5
"""How often a directory is listed anew because it changed between listing and opening."""

Choice = Callable[[list[Entry]], list[Entry]]


class Files:
    """The files of the log at `path`. Methods raise the OSError of a file that cannot be read."""

    def __init__(self, path: Path, converter: LineConverter) -> None:
        self._path = path
        self._converter = converter

    def listed(self) -> list[Entry]:
        """All of them, the oldest first."""
        return listing(self._path)

    def has(self, segment: Segment) -> bool:
        """Whether the log still has this file, be it compressed by now."""
        return self._index(self.listed(), segment) is not None

    def all(self) -> list[Segment]:
        """All of them, opened, except for a copy of the log that somebody is making right now."""
        opened = self._opened(lambda entries: entries)
        if opened and opened[-1].path == self._path:
            for segment in opened[:-1]:
                if segment.growing and is_beginning(segment, opened[-1]):
                    segment.close()
                    opened.remove(segment)
        return opened

    def after(self, segment: Segment, known: Sequence[Segment]) -> list[Segment]:
        """Those that came after this one, opened, without those that are known."""

        def choose(entries: list[Entry]) -> list[Entry]:
            index = self._index(entries, segment)
            # Nothing says where it was among the others but the time it was written last.
            later = [e for e in entries if e.modified >= segment.modified] if index is None else entries[index + 1 :]
            return without(later, known)

        return self._opened(choose)

    def between(self, copy: Segment, segment: Segment, known: Sequence[Segment]) -> list[Segment]:
        """Those that came after the copy that was made of a file, and before what that file holds now."""

        def choose(entries: list[Entry]) -> list[Entry]:
            first, last = (index_of(entries, each.identity) for each in (copy, segment))
            end = last if last is not None else index_at(entries, self._path)
            return without(entries[0 if first is None else first + 1 : end], known)

        return self._opened(choose)

    def find(self, place: Place) -> Segment | None:
        """The file that this place is in, opened there."""
        entries = self.listed()
        likely = [entry for entry in entries if entry.identity == (place.device, place.inode)]
        for entry in (*likely, *(entry for entry in reversed(entries) if entry not in likely)):
            if segment := Segment.at(entry.path, place, self._converter):
                return segment
        return None

    def copy_of(self, segment: Segment) -> Segment | None:
        """The copy that was made of a file before it was truncated, opened where reading ended. It ends earlier
        if something was written, and read, between the two."""
        others = [entry for entry in reversed(self.listed()) if entry.identity != segment.identity]
        if segment.read_any:
            place = segment.place
            for entry in others:
                if copy := Segment.at(entry.path, place, self._converter):
                    return copy
        for entry in others:
            copy = Segment(entry.path, self._converter)
            size, begins = copy.stat().st_size, copy.beginning()
            if not segment.read_any and segment.head and begins.startswith(segment.head):
                return copy
            copy.close()
            if begins and size <= segment.position and segment.head.startswith(begins):
                return Segment(entry.path, self._converter, offset=size, line=segment.line)
        return None

    def copies_since(self, segment: Segment, known: Sequence[Segment], left: Place | None) -> list[Segment]:
        """Plain files written since this one, of which nothing was read, was looked at: copies of what it held. Opened,
        without those that were read, and without one of what it holds still."""
        new = self._opened(
            lambda entries: [
                entry
                for entry in without(entries, known)
                if entry.modified >= segment.modified and entry.path != self._path
            ]
        )
        for copy in list(new):
            begins = copy.beginning()
            known_before = left is not None and not differs(begins, left.head)
            if not begins or known_before or is_beginning(copy, segment):
                copy.close()
                new.remove(copy)
        return new

    def _index(self, entries: list[Entry], segment: Segment) -> int | None:
        """Where a file is among the others."""
        index = index_of(entries, segment.identity)
        if index is not None or not segment.read_any:
            return index
        same = self.find(segment.place)
        if same is None:
            return None
        same.close()
        return index_of(entries, same.identity)

    def _opened(self, choose: Choice) -> list[Segment]:
        """The chosen files, opened as they were listed: renaming may go on meanwhile."""
        for _ in range(TRIES):
            entries = self.listed()
            opened: list[Segment] = []
            try:
                for entry in choose(entries):
                    opened.append(Segment(entry.path, self._converter))
            except FileNotFoundError:
                pass
            except BaseException:
                close(opened)
                raise
            else:
                if [entry.identity for entry in self.listed()] == [entry.identity for entry in entries]:
                    return opened
            close(opened)
        raise OSError(errno.EAGAIN, "its files are renamed all the time", str(self._path))


def index_of(entries: Sequence[Entry], identity: tuple[int, int]) -> int | None:
    """Where the file with this identity is; None if it is not there."""
    return next((at for at, entry in enumerate(entries) if entry.identity == identity), None)


def index_at(entries: Sequence[Entry], path: Path) -> int | None:
    """Where the file at this path is; None if there is none."""
    return next((at for at, entry in enumerate(entries) if entry.path == path), None)


def without(entries: Iterable[Entry], known: Sequence[Segment]) -> list[Entry]:
    """The entries that are not open already."""
    identities = {segment.identity for segment in known}
    return [entry for entry in entries if entry.identity not in identities]


def close(segments: Iterable[Segment]) -> None:
    """Let all of them go."""
    for segment in segments:
        segment.close()


def is_beginning(segment: Segment, whole: Segment) -> bool:
    """Whether a file holds the first bytes of another and nothing else."""
    size = segment.stat().st_size
    if not 0 < size <= whole.stat().st_size:
        return False
    return segment.content(size) == whole.content(size)
