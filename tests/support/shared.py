"""The data beside the checkout, where it is there."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"


def folder(name: str) -> Path:
    """A folder of the shared data; skips the test, naming it, where it is absent."""
    path = FOLDER / name
    if not path.is_dir():
        pytest.skip(f"there is no folder shared/data/{name} beside the checkout")
    return path


def frames(path: Path) -> Iterator[bytes]:
    """The length-delimited messages of an .xz file."""
    with lzma.open(path) as packed:
        data = packed.read()
    at = 0
    while at < len(data):
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        yield data[at : at + size]
        at += size
