"""Forgetting: what is old is added up or deleted, a bounded slice at a time, between two commits.

    flows ──────────────────────────────────► gone after `store.retention`, or sooner at `store.max_size`
    edge_activity ─► edge_minutes ─► edge_hours ─► gone after `store.retention_hours`
    flow_activity ─► flow_minutes ─► flow_hours ─► gone after `store.retention_hours`

What is added up keeps its exact sums; only the moment within the minute (the hour) is given up. Rows are
deleted by time and nothing else: DuckDB gives whole row groups back at once, and scattered ones slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from flowwatch import sql
from flowwatch.store_open import run

SLICE_ROWS = 4 * 122_880
"""Rows that are touched at once at most, in row groups of DuckDB: about as long as a commit of one of them."""
ROLL_AFTER = 600.0
"""Seconds after which what a commit said is added up by the minute; flows rarely come later than this."""
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept, in seconds, and how much of it, in bytes (0: whatever it takes)."""

    flows: float
    minutes: float
    hours: float
    max_size: int = 0


AGES: dict[str, Callable[[Keep], float]] = {
    "coverage": lambda keep: keep.minutes,
    "evidence": lambda keep: keep.flows,
    "findings": lambda keep: keep.hours,
    "gaps": lambda keep: keep.hours,
    "node_states": lambda keep: keep.hours,
}
"""What is deleted as it is, and when."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What was done at once: rows of a table that are no longer there, and whether there is more to do now."""

    table: str
    rows: int
    more: bool = True


@dataclass(frozen=True, slots=True)
class _Tier:
    table: str
    before: datetime
    rolls: str = ""
    """The statement that adds its rows up before they go."""


def next_slice(connection: duckdb.DuckDBPyConnection, keep: Keep, now: float) -> Slice | None:
    """Do the next thing that is due by age; None when nothing is."""
    for tier in _tiers(keep, now):
        rows, oldest = _measure(connection, tier.table, tier.before)
        if rows:
            return _forget(connection, tier, oldest)
    for name, age in AGES.items():
        rows = run(connection, f"forget_{name}", {"before": _moment(now - age(keep))})
        if rows:
            return Slice(name, rows)
    return None


def next_by_size(connection: duckdb.DuckDBPyConnection, excess: Callable[[], int], now: float) -> Slice | None:
    """Forget the oldest flows, and when there are none left the oldest of what was added up, if there are bytes
    in `excess` of what may be used; None when there are none. What is freed counts after a checkpoint."""
    before = excess()
    if before <= 0:
        return None
    if _checkpoint(connection) and excess() <= 0:
        return Slice("flows", 0)
    ahead = _moment(now + 366 * 86_400.0)
    for table in ("flows", "flow_minutes", "edge_minutes", "flow_hours", "edge_hours"):
        rows, oldest = _measure(connection, table, ahead)
        if rows:
            done = _forget(
                connection, _Tier(table, ahead, f"roll_{table}" if table.endswith("minutes") else ""), oldest
            )
            # Somebody who reads may keep what was deleted alive for a while: deleting on would not help.
            freed = _checkpoint(connection) and (excess() < before or done.rows < SLICE_ROWS // 2)
            return Slice(table, done.rows, more=freed)
    return None


def latest(count: Callable[[datetime], int], oldest: datetime, before: datetime, most: int) -> datetime:
    """The latest moment up to `before` with at most `most` rows earlier than it; but later than `oldest`, so
    that something is done even where more rows are of one millisecond. `count` gives the rows before a moment."""
    if count(before) <= most:
        return before
    low, high = oldest, before
    while high - low > _MILLISECOND:
        middle = low + (high - low) / 2
        rows = count(middle)
        if rows > most:
            high = middle
        elif rows > most // 2:
            return middle
        else:
            low = middle
    return low if low > oldest else high


def _tiers(keep: Keep, now: float) -> Iterator[_Tier]:
    flows, minutes, hours = (_moment(now - age) for age in (keep.flows, keep.minutes, keep.hours))
    settled = _moment(now - ROLL_AFTER)
    yield _Tier("flows", flows)
    for what in ("edge", "flow"):
        yield _Tier(f"{what}_activity", settled.replace(second=0, microsecond=0), f"roll_{what}_activity")
        yield _Tier(f"{what}_minutes", minutes.replace(minute=0, second=0, microsecond=0), f"roll_{what}_minutes")
        yield _Tier(f"{what}_hours", hours)


def _forget(connection: duckdb.DuckDBPyConnection, tier: _Tier, oldest: datetime) -> Slice:
    def count(moment: datetime) -> int:
        return _measure(connection, tier.table, moment)[0]

    before = {"before": latest(count, oldest, tier.before, SLICE_ROWS)}
    run(connection, "begin")
    if tier.rolls:
        run(connection, tier.rolls, dict(before))
    rows = run(connection, f"forget_{tier.table}", dict(before))
    run(connection, "commit")
    return Slice(tier.table, rows)


def _measure(connection: duckdb.DuckDBPyConnection, table: str, before: datetime) -> tuple[int, datetime]:
    statement = sql.statement("store", f"measure_{table}")
    rows, oldest = connection.execute(statement, {"before": before}).fetchall()[0]
    return int(rows), oldest


def _checkpoint(connection: duckdb.DuckDBPyConnection) -> bool:
    """Write the log into the file; False when somebody who reads does not let it."""
    try:
        run(connection, "checkpoint")
    except duckdb.TransactionException:
        return False
    return True


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(max(seconds, 0.0), UTC).replace(tzinfo=None)
