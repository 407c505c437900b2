"""Export: what is stored, as Parquet files that DuckDB, Spark or pandas read without us.

    DIR/flows/cluster=…/date=YYYY-MM-DD/hour=HH/flows-HHMMSS.mmm.parquet
    DIR/edges/edges.parquet    DIR/findings/findings.parquet    DIR/coverage/coverage.parquet

Flows are named as in `flow_log`. They are asked for in slices, from the daemon where one owns the file, so
memory is bounded on both sides. A file appears under its name when it is complete. What was exported of
each hour is noted in DIR/flows/_exported, so that the next run goes on where the last one ended or died.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowwatch.database import Database
from flowwatch.errors import StoreError

SLICE_ROWS = 50_000
"""Flows asked for at once, at most."""
SETTLED = 120.0
"""Seconds; what is younger may not be stored yet, and is left to the next export."""
_HOUR = timedelta(hours=1)
_MILLISECOND = timedelta(milliseconds=1)
_TEMPORARY = ".tmp"

Window = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did."""

    flows: int
    """Flows written."""
    hours: int
    """Hours they are of."""
    skipped: int
    """Hours that were exported before."""


def export(database: Database, window: Window, folder: Path, cluster: str, say: Callable[[str], None]) -> Exported:
    """Write what is stored of the window (naive UTC) below a folder; `cluster` names the cluster of flows that
    do not. `say` hears of every hour. Raises `StoreError` when the folder cannot be written."""
    try:
        flows = hours = skipped = 0
        for hour, wanted in _hours(database, window):
            pieces = _Hour(folder / "flows", hour)
            missing = pieces.missing(wanted)
            if not missing:
                skipped += 1
                continue
            rows = sum(pieces.write(database, piece, cluster) for piece in missing)
            flows, hours = flows + rows, hours + 1
            say(f"{hour:%Y-%m-%d %H:00} {rows} flows")
        for name, query in (("edges", "edges"), ("findings", "export_findings"), ("coverage", "export_coverage")):
            table = database.table(query, **_asked(window))
            (folder / name).mkdir(parents=True, exist_ok=True)
            _write_whole(folder / name / f"{name}.parquet", table)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error}") from error
    return Exported(flows, hours, skipped)


def settled(until: datetime, now: float) -> datetime:
    """The end of a window, as far as everything before it is stored."""
    return min(until, datetime.fromtimestamp(now - SETTLED, UTC).replace(tzinfo=None))


def without(wanted: Window, done: list[Window]) -> list[Window]:
    """What is left of a window when others are taken out of it, in order."""
    left, (since, until) = [], wanted
    for start, end in sorted(done):
        if end <= since or start >= until:
            continue
        if start > since:
            left.append((since, start))
        since = max(since, end)
    return [*left, (since, until)] if since < until else left


class _Hour:
    """The files of one hour, in every cluster's partition, and the note of what they hold."""

    def __init__(self, folder: Path, hour: datetime) -> None:
        self._folder = folder
        self._hour = hour
        self._note = folder / "_exported" / f"{hour:%Y-%m-%dT%H}.json"
        try:
            entries = json.loads(self._note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            entries = []
        except ValueError as error:
            raise StoreError(f"{self._note}: not a note of an export: {error}") from error
        self._entries: list[dict[str, str]] = entries

    def missing(self, wanted: Window) -> list[Window]:
        """What of the window was not exported before."""
        done = [(datetime.fromisoformat(e["since"]), datetime.fromisoformat(e["until"])) for e in self._entries]
        return without(wanted, done)

    def write(self, database: Database, window: Window, cluster: str) -> int:
        """Export a window of the hour; gives the number of flows. Nothing of it counts until it is noted."""
        name = f"flows-{window[0]:%H%M%S}.{window[0].microsecond // 1000:03}.parquet"
        self._sweep()
        rows, written = 0, dict[Path, Path]()
        with ExitStack() as stack:
            writers: dict[str, pq.ParquetWriter] = {}
            for table in _slices(database, window):
                rows += len(table)
                names = table.column("cluster")
                for told in pc.unique(names).to_pylist():
                    part = table.filter(pc.equal(names, told)).drop_columns(["cluster"])
                    path = self._partition(told or cluster) / name
                    if (told or cluster) not in writers:
                        path.parent.mkdir(parents=True, exist_ok=True)
                        written[path] = path.with_name(f".{name}{_TEMPORARY}")
                        writers[told or cluster] = stack.enter_context(
                            pq.ParquetWriter(written[path], part.schema, compression="zstd")
                        )
                    writers[told or cluster].write_table(part)
        for path, temporary in written.items():
            _publish(temporary, path)
        self._entries.append({"since": window[0].isoformat(), "until": window[1].isoformat(), "file": name})
        self._note.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._note.with_name(f".{self._note.name}{_TEMPORARY}")
        temporary.write_text(json.dumps(self._entries, indent=1), encoding="utf-8")
        _publish(temporary, self._note)
        return rows

    def _partition(self, cluster: str) -> Path:
        return (
            self._folder
            / f"cluster={quote(cluster, safe='')}"
            / f"date={self._hour:%Y-%m-%d}"
            / f"hour={self._hour:%H}"
        )

    def _sweep(self) -> None:
        """Remove what an export that died left of this hour: what was never noted is written again."""
        noted = {entry["file"] for entry in self._entries}
        for path in self._folder.glob(f"cluster=*/date={self._hour:%Y-%m-%d}/hour={self._hour:%H}/*"):
            ours = path.name.startswith("flows-") or path.name.endswith(_TEMPORARY)
            if ours and path.name not in noted:
                path.unlink()


def _hours(database: Database, window: Window) -> Iterator[tuple[datetime, Window]]:
    """Each hour of which there are flows in the window, with the part of it that is in the window."""
    (found,) = database.table("flow_count", **_asked(window)).to_pylist()
    if not found["flows"]:
        return
    hour = found["first"].replace(minute=0, second=0, microsecond=0)
    while hour <= found["last"]:
        yield hour, (max(hour, window[0]), min(hour + _HOUR, window[1]))
        hour += _HOUR


def _slices(database: Database, window: Window) -> Iterator[pa.Table]:
    """The flows of a window in order, never more at once than `SLICE_ROWS`, but for those of one millisecond."""
    since, until = window
    (found,) = database.table("flow_count", **_asked(window)).to_pylist()
    if not found["flows"]:
        return
    if found["flows"] <= SLICE_ROWS or until - since <= _MILLISECOND:
        yield database.table("export_flows", **_asked(window))
        return
    middle = since + max((until - since) / 2 // _MILLISECOND * _MILLISECOND, _MILLISECOND)
    yield from _slices(database, (since, middle))
    yield from _slices(database, (middle, until))


def _asked(window: Window) -> dict[str, str]:
    return {"since": window[0].isoformat(), "until": window[1].isoformat()}


def _write_whole(path: Path, table: pa.Table) -> None:
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    pq.write_table(table, temporary, compression="zstd")
    _publish(temporary, path)


def _publish(temporary: Path, path: Path) -> None:
    """Let a complete file appear under its name, so that it is there after a power failure too."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
