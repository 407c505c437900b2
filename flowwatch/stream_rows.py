"""Rows for the store about the streams themselves: cursors, keys to recognise repeats by, and the coverage ledger.

Pure. They are written in one transaction with the flows they cover, and read back after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from flowwatch.arrivals import Arrivals, RecentKeys
from flowwatch.coverage_node import StoredNode
from flowwatch.cursors import Cursor
from flowwatch.keys import KEY, no_keys
from flowwatch.model import Identity
from flowwatch.rows import table

_US = pa.timestamp("us")
_NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RestoredStreams:
    """What an earlier run left of the streams."""

    nodes: Sequence[StoredNode] = ()
    cursors: Sequence[Cursor] = ()
    recent: RecentKeys = field(default_factory=lambda: RecentKeys(_NO_ROWS, _NO_ROWS, no_keys()))
    windows: Sequence[Mapping[str, float]] = ()
    """Covered seconds, flows and losses by cluster, node and minute or hour."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What an earlier run left that the engine needs to go on with the same numbers."""

    nodes: list[tuple[int, str, str]]
    identities: list[tuple[int, Identity, str, str]]
    policies: list[tuple[int, tuple[str, ...]]]
    next_peer: int
    edges: pa.Table
    totals: pa.Table
    samples: pa.Table
    streams: RestoredStreams = field(default_factory=RestoredStreams)


def stream_rows(arrivals: Arrivals, now: float, everything: bool = False) -> dict[str, pa.Table]:
    """What the store does not have yet about the streams, by the statement that writes it."""
    tables: dict[str, pa.Table] = {}
    recent, forget = arrivals.drain(now)
    if forget:
        tables["forget_recent_keys"] = table(list(forget.items()), node=pa.int32(), before=pa.int64())
    if recent is not None and len(recent.key):
        tables["append_recent_keys"] = recent_rows(recent)
    cursors = arrivals.cursors.drain()
    if cursors:
        rows = [(each.source, each.cluster, each.node, round(each.time * 1e9), each.position) for each in cursors]
        text = pa.string()
        tables["replace_cursors"] = table(rows, source=text, cluster=text, node=text, time=pa.int64(), position=text)
    minutes, gaps, nodes = arrivals.coverage.drain(now, everything)
    if minutes:
        count = pa.int64()
        tables["append_coverage"] = table(
            [
                (minute * 60_000_000, cluster, node, each.connected_ms, each.recovered_ms, each.flows, *each.lost,
                 each.lost_false)
                for minute, (cluster, node), each in minutes
            ],
            minute=_US, cluster=pa.string(), node=pa.string(), connected_ms=count, recovered_ms=count, flows=count,
            lost_perf=count, lost_queue=count, lost_ring=count, lost_other=count, lost_own=count,
            lost_unreported=count, lost_false=count,
        )  # fmt: skip
    if gaps:
        tables["append_gaps"] = table(
            [(each.cluster, each.node, _us(each.since), _us(each.until), each.reason) for each in gaps],
            cluster=pa.string(), node=pa.string(), since=_US, until=_US, reason=pa.string(),
        )  # fmt: skip
    if nodes:
        second = pa.float64()
        tables["replace_node_states"] = table(
            [
                (each.cluster, each.node, each.since, each.gone, each.cursor, each.proved, each.skew, each.noted,
                 each.booked)
                for each in nodes
            ],
            cluster=pa.string(), node=pa.string(), since=second, gone=second, cursor=second, proved=second,
            skew=second, noted=second, booked=second,
        )  # fmt: skip
    return tables


def recent_rows(recent: RecentKeys) -> pa.Table:
    """Rows of `recent_keys`."""
    halves = np.ascontiguousarray(recent.key).view(">u8").reshape(-1, 2)
    return pa.table(
        {
            "node": pa.array(recent.node.astype(np.int32)),
            "time": pa.array(recent.time),
            "high": pa.array(halves[:, 0].astype(np.uint64)),
            "low": pa.array(halves[:, 1].astype(np.uint64)),
        }
    )


def recent_keys(rows: pa.Table) -> RecentKeys:
    """The inverse of `recent_rows`."""
    halves = np.stack([rows.column(name).to_numpy() for name in ("high", "low")], axis=1).astype(">u8")
    key = np.ascontiguousarray(halves).view(KEY).ravel()
    return RecentKeys(rows.column("node").to_numpy().astype(np.int64), rows.column("time").to_numpy(), key)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
