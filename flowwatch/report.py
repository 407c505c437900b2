"""Named queries as people run them: `--since 1h`, or from one moment to another.

Shared by the command line, the HTTP API and `flowwatch.open`, so that all three read times alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from flowwatch import sql
from flowwatch.errors import QueryError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
FOREVER = "all"
_BEGINNING = datetime(1970, 1, 1)
DEFAULT_SINCE = "1h"


def moment(text: str, now: float, field: str) -> datetime:
    """A time people write, as naive UTC: a span back from `now` (`90s`, `1h30m`, `7d`), `now`, `all`
    (as far back as there is), a date, or an RFC 3339 time (UTC when it names no zone)."""
    written = text.strip()
    present = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    if written == "now":
        return present
    if written == FOREVER:
        return _BEGINNING
    parts = _SPAN.findall(written)
    if parts and "".join(f"{amount}{unit}" for amount, unit in parts) == re.sub(r"\s+", "", written):
        try:
            return max(present - timedelta(seconds=sum(float(a) * _UNITS[u] for a, u in parts)), _BEGINNING)
        except OverflowError:
            return _BEGINNING
    try:
        parsed = datetime.fromisoformat(written)
        return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed
    except (ValueError, OverflowError):
        raise QueryError(
            f"{field}: {text!r} is not a time; write a span such as 1h or 7d, a time such as 2026-01-31T12:00:00Z, "
            f"`now`, or `{FOREVER}`"
        ) from None


def milliseconds(when: datetime) -> int:
    """Naive UTC as milliseconds since the epoch."""
    return round((when - _BEGINNING) / timedelta(milliseconds=1))


def of_milliseconds(count: int) -> datetime:
    """Milliseconds since the epoch as naive UTC; at the latest the last that a calendar holds."""
    try:
        return _BEGINNING + timedelta(milliseconds=count)
    except OverflowError:
        return datetime.max


def parameters(query: sql.Query, given: Mapping[str, str], now: float) -> dict[str, object]:
    """The values a query takes, from what somebody wrote. Windows default to the last hour until now."""
    unknown = sorted(set(given) - set(query.params))
    if unknown:
        raise QueryError(f"query {query.name} takes no {', '.join(unknown)}; it takes: {', '.join(query.params)}")
    values: dict[str, object] = {}
    for name in query.params:
        if name == "since":
            values[name] = moment(given.get("since", DEFAULT_SINCE), now, "since")
        elif name == "until":
            # A little ahead: nodes' clocks are not ours.
            values[name] = (
                moment(given["until"], now, "until") if "until" in given else moment("now", now + 3600, "until")
            )
        elif name in given:
            values[name] = given[name]
        else:
            raise QueryError(f"query {query.name} needs {name}")
    return values


def described() -> list[dict[str, object]]:
    """Every named query: name, doc, params, columns."""
    return [
        {"name": query.name, "doc": query.doc, "params": list(query.params), "columns": query.columns}
        for query in sql.queries("report").values()
    ]


def reference() -> str:
    """A Markdown table of every named query."""
    lines = ["| query | answers | parameters | columns |", "|---|---|---|---|"]
    for query in sql.queries("report").values():
        cells = (f"`{query.name}`", query.doc, ", ".join(query.params), query.columns)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
