"""Where a log was read up to, written so that it can be found again after a restart.

A file is known by what it holds: a digest of its first bytes and one of the last bytes before the place. Its inode
only says where to look first, for inodes are given out again and compression makes new ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b

REACH = 1024
"""Bytes that a digest covers at most."""
VERSION = 1


class PlaceError(ValueError):
    """A stored position cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Some bytes, by their number and digest."""

    size: int
    digest: str

    @classmethod
    def of(cls, data: bytes) -> Mark:
        """The mark of these bytes."""
        return cls(len(data), blake2b(data, digest_size=16).hexdigest())


@dataclass(frozen=True, slots=True)
class Place:
    """The first line of a file that was not read: its byte and how many lines are before it."""

    device: int
    inode: int
    head: Mark
    """Of the first bytes of the file."""
    tail: Mark
    """Of the last bytes before `offset`."""
    offset: int
    line: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a log is to be read on: in its newest file, and in the one before, to which a line may still be added."""

    at: float
    """When the log was last looked at."""
    places: tuple[Place, ...]

    def text(self) -> str:
        """The position as it is stored."""
        places = [
            [p.device, p.inode, p.head.size, p.head.digest, p.tail.size, p.tail.digest, p.offset, p.line]
            for p in self.places
        ]
        return json.dumps({"v": VERSION, "at": round(self.at, 3), "files": places}, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that `text` is; PlaceError if it is none of ours."""
        try:
            read = json.loads(text)
            if read["v"] != VERSION:
                raise PlaceError(f"the stored position has version {read['v']!r}, not {VERSION}")
            return cls(float(read["at"]), tuple(_place(values) for values in read["files"]))
        except PlaceError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise PlaceError(f"the stored position cannot be read: {error!r}") from None


def _place(values: list[object]) -> Place:
    match values:
        case [
            int(device),
            int(inode),
            int(head),
            str(head_digest),
            int(tail),
            str(tail_digest),
            int(offset),
            int(line),
        ] if 0 < head <= REACH and 0 < tail <= REACH and max(head, tail) <= offset and line >= 0:
            return Place(device, inode, Mark(head, head_digest), Mark(tail, tail_digest), offset, line)
    raise PlaceError("the stored position cannot be read: a place is malformed")
