"""Alerts as rows of the store, and back again: what a restart must know of them.

Pure. Rows hold the whole state of an alert, so that the next run goes on where this one ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from flowwatch.alerts import Alert, State
from flowwatch.alerts_claims import RememberedClaim

_TEXTS = pa.map_(pa.string(), pa.string())
_SCHEMA = pa.schema(
    [
        ("fingerprint", pa.string()),
        ("name", pa.string()),
        ("state", pa.string()),
        ("labels", _TEXTS),
        ("annotations", _TEXTS),
        ("watched", pa.bool_()),
        ("active_since", pa.float64()),
        ("fired_at", pa.float64()),
        ("resolved_at", pa.float64()),
        ("last_seen", pa.float64()),
        ("last_sent", pa.float64()),
        ("seen_at", pa.float64()),
    ]
)


def alert_tables(alerts: Iterable[Alert]) -> dict[str, pa.Table]:
    """The statements that make the store hold exactly these alerts, each with its table. Of what an alert says
    the rows hold what it was last told with."""
    rows = [
        {
            "fingerprint": alert.fingerprint,
            "name": alert.name,
            "state": str(alert.state),
            "labels": list(alert.labels.items()),
            "annotations": list(alert.told.items()),
            "watched": alert.claim.watched,
            "active_since": alert.active_since,
            "fired_at": alert.fired_at,
            "resolved_at": alert.resolved_at,
            "last_seen": alert.last_seen,
            "last_sent": alert.last_sent,
            "seen_at": alert.claim.seen_at,
        }
        for alert in alerts
    ]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    return {"clear_alerts": table.slice(0, 0), "append_alerts": table}


def restored_alerts(table: pa.Table) -> dict[str, Alert]:
    """The alerts that rows hold, by fingerprint. They say what they said until their claim is made again."""
    return {row["fingerprint"]: _restored(row) for row in table.to_pylist()}


def _restored(row: Mapping[str, object]) -> Alert:
    labels, annotations = dict(row["labels"]), dict(row["annotations"])  # type: ignore[call-overload]  # of the schema
    fingerprint, name = str(row["fingerprint"]), str(row["name"])
    claim = RememberedClaim(name, fingerprint, labels, annotations, bool(row["watched"]), _time(row, "seen_at"))
    return Alert(
        fingerprint,
        name,
        labels,
        claim,
        State(str(row["state"])),
        active_since=_time(row, "active_since"),
        fired_at=_time(row, "fired_at"),
        resolved_at=_time(row, "resolved_at"),
        last_seen=_time(row, "last_seen"),
        last_sent=_time(row, "last_sent"),
        told=annotations,
    )


def _time(row: Mapping[str, object], name: str) -> float:
    return float(str(row[name]))
