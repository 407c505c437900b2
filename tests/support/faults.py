"""Real faults for database files: a small disk, a disk that turns read-only, bytes that change."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


class SmallDisk:
    """A file system of a few megabytes that can be grown, and made read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, megabytes: int) -> None:
        """Change its size."""
        _mount("-o", f"remount,size={megabytes}m", str(self.path))

    def writable(self, whether: bool) -> None:
        """Let it be written, or not; nothing may be open for writing."""
        _mount("-o", f"remount,{'rw' if whether else 'ro'}", str(self.path))


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk | None]:
    """A small disk at the path while the context lasts; None where this process may not mount one."""
    path.mkdir()
    mounted = shutil.which("mount") is not None and os.geteuid() == 0
    if mounted:
        try:
            _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(path))
        except subprocess.CalledProcessError:
            mounted = False
    try:
        yield SmallDisk(path) if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def flip(data: bytes, dice: random.Random, flips: int = 1, until: int | None = None) -> bytes:
    """The bytes with a few bits changed, all of them before `until`."""
    changed = bytearray(data)
    for _ in range(flips):
        changed[dice.randrange(until or len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)
