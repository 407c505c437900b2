"""Which files were one log: the names that rotation gives, and what they say of the order.

Lumberjack (Hubble's exporter) puts a time in front of the extension, logrotate a number or a date behind the
name; either may compress afterwards. Names are all that is looked at here; whether a file is what its name
says is found out by whoever reads it.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROTATED = re.compile(
    r"""(?P<stem>.+?)
        (?: [-.](?P<time>\d{4}-?\d\d-?\d\d (?:[-_.T]?\d[\d.:-]*)?) | \.(?P<number>\d{1,4}) )
        (?P<extension>(?!\.(?:gz|xz|zst)$)\.[A-Za-z]\w*)?
        (?:\.(?:gz|xz|zst))?""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a name says: the log it was, and how old it is beside its siblings; the oldest sorts first."""

    log: str
    order: tuple[int, str, int]
    numbered: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a listing found it."""

    path: Path
    device: int
    inode: int
    modified: int
    """Nanoseconds since the epoch."""

    @property
    def identity(self) -> tuple[int, int]:
        """What stays when a file is renamed."""
        return self.device, self.inode


def rotated(name: str) -> Rotated | None:
    """What the name of a rotated file says; None for any other."""
    match = _ROTATED.fullmatch(name)
    if match is None:
        return None
    log = match["stem"] + (match["extension"] or "")
    if match["number"]:
        return Rotated(log, (1, "", -int(match["number"])), True)
    return Rotated(log, (0, re.sub(r"\D", "", match["time"]), 0), False)


def listing(log: Path) -> list[Entry]:
    """The files of a log, oldest first, the one at its own name last. A compressed one is left out while the
    plain one it is made from is still there."""
    try:
        names = os.listdir(log.parent)  # noqa: PTH208 - names are what is wanted
    except FileNotFoundError:
        return []
    here = set(names)
    marked = [
        (mark.order, name)
        for name in names
        if (mark := rotated(name)) is not None and mark.log == log.name and plain_name(name) not in here - {name}
    ]
    entries = [entry_of(log.with_name(name)) for _, name in sorted(marked)]
    return [entry for entry in (*entries, entry_of(log)) if entry is not None]


def plain_name(name: str) -> str:
    """The name without what compression added."""
    return re.sub(r"\.(gz|xz|zst)$", "", name)


def entry_of(path: Path) -> Entry | None:
    """A regular file as it is now; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Entry(path, status.st_dev, status.st_ino, status.st_mtime_ns)


def logs(files: Iterable[str], known: Collection[Path] = ()) -> list[Path]:
    """The logs that paths and globs name, absolute, in their order. A rotated file that a glob matches stands
    for its log. A number behind a name says so only if there is such a log, or `known` has it."""
    found: dict[Path, None] = {}
    for file in files:
        absolute = os.path.abspath(file)  # noqa: PTH100 - resolve() would follow links, and a link may be moved
        if not glob.has_magic(file):
            found[Path(absolute)] = None
            continue
        matches = [Path(name) for name in sorted(glob.glob(absolute))]  # noqa: PTH207 - Path.glob wants a root
        for path in matches:
            if log := log_of(path, matches, known):
                found[log] = None
    return list(found)


def log_of(path: Path, matches: Sequence[Path], known: Collection[Path]) -> Path | None:
    """The log that a file is, or was; None if it is no file."""
    if not path.is_file():
        return None
    mark = rotated(path.name)
    if mark is None:
        return path
    log = path.with_name(mark.log)
    return log if not mark.numbered or log in known or log in matches or log.exists() else path
