"""What goes wrong with a database file, told apart: damaged, refused by the disk, not ours, in use.

DuckDB names a few of these by type and the rest in words, so the words are read here and nowhere else.
A damaged file is never deleted or written again; it is renamed, its log along with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb

from flowwatch.errors import DamagedError, StoreError, UnwritableError

_DAMAGE = (
    "corrupt",
    "checksum",
    "could not read enough bytes",
    "failure while replaying wal",
    "failed to deserialize",
    "serialization error",
)
_LOG_DAMAGE = "failure while replaying wal"
_REFUSALS = (
    "no space left",
    "read-only file system",
    "file too large",
    "disk quota",
    "permission denied",
    "operation not permitted",
    "input/output error",
    "too many open files",
    "could not write",
    "could not fsync",
)
_HEADERS, _BLOCK = 3 * 4096, 262_144
"""A DuckDB file is three headers and whole blocks."""
_MAGIC = slice(8, 12)


def fault(path: Path, error: Exception, *, opening: bool = False) -> StoreError:
    """The error to raise for one of DuckDB's or the system's about this file. What DuckDB did not expect
    while `opening` it is damage; later it may be a mistake of DuckDB's own."""
    text = first_line(error)
    lowered = text.lower()
    if "could not set lock" in lowered or "conflicting lock" in lowered:
        return StoreError(f"{path}: in use by another process (a DuckDB file has one owner at a time)")
    if path.is_dir():
        return StoreError(f"{path}: a directory, not a database file")
    # Of a disk that fails while it is read nobody knows what is on it.
    if any(words in lowered for words in _REFUSALS):
        return UnwritableError(f"{path}: {text}")
    if "not a valid duckdb database" in lowered:
        return (
            DamagedError(f"{path}: damaged: its beginning is no longer a database's")
            if was_ours(path)
            else StoreError(f"{path}: cannot be opened: {text}")
        )
    if (opening and isinstance(error, duckdb.InternalException)) or any(words in lowered for words in _DAMAGE):
        return DamagedError(f"{path}: damaged: {text}")
    return StoreError(f"{path}: cannot be opened: {text}" if isinstance(error, OSError) else f"{path}: {text}")


def ends_the_connection(error: Exception) -> bool:
    """Whether DuckDB will answer nothing more on this database until it is opened anew."""
    fatal = isinstance(error, duckdb.FatalException | duckdb.InternalException)
    return fatal or "invalidated" in str(error).lower() or "connection already closed" in str(error).lower()


def was_ours(path: Path) -> bool:
    """Whether a file that does not begin like a database nevertheless was one, by its size or what is
    left of its beginning. Another kind of file at this path is a mistake in the configuration."""
    try:
        with path.open("rb") as file:
            magic = file.read(_HEADERS)[_MAGIC]
        size = path.stat().st_size
    except OSError:
        return False
    return magic == b"DUCK" or size == 0 or (size >= _HEADERS and (size - _HEADERS) % _BLOCK == 0)


def log_of(path: Path) -> Path:
    """Where DuckDB keeps what it has not yet written into the file."""
    return path.with_name(path.name + ".wal")


def is_of_the_log(error: StoreError) -> bool:
    """Whether it is the log beside the file that is damaged, and not the file."""
    return _LOG_DAMAGE in str(error).lower()


def set_aside(path: Path, now: float) -> Path:
    """Rename a damaged file and its log to `NAME.damaged-<UTC time>`; gives the new name.
    Raises `UnwritableError` when the directory does not let it."""
    aside = _free_name(path, now)
    # The log first: a log without its file is never replayed into the one that is begun.
    _rename(log_of(path), log_of(aside))
    _rename(path, aside)
    return aside


def set_log_aside(path: Path, now: float) -> Path:
    """Rename a damaged log, so that the file is opened as of its last checkpoint; gives the new name."""
    aside = log_of(_free_name(path, now))
    _rename(log_of(path), aside)
    return aside


def _free_name(path: Path, now: float) -> Path:
    stem = f"{path.name}.damaged-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    aside, count = path.with_name(stem), 1
    while aside.exists() or log_of(aside).exists():
        count += 1
        aside = path.with_name(f"{stem}-{count}")
    return aside


def _rename(here: Path, there: Path) -> None:
    try:
        here.rename(there)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnwritableError(f"{here}: damaged, and cannot be set aside: {error}") from error


def first_line(error: Exception) -> str:
    """What an error says, without the advice that follows."""
    return str(error).strip().partition("\n")[0]
