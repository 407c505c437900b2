"""When a query is about: the time parameters of Loki's API, as its clients write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from flowwatch.errors import QueryError
from flowwatch.logql.evaluate import Steps
from flowwatch.logql.parse import duration

SECOND = 10**9
HOUR = 3600 * SECOND
MOST_STEPS = 11_000
POINTS = 250
"""Moments in a range whose step was not given."""
LATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` up to and without `end`, in nanoseconds since the epoch."""

    start: int
    end: int


def window(given: Mapping[str, str], now: int, since: int = HOUR) -> Window:
    """The time a query is about: `start` and `end` (or `from` and `to`), else `since` back from the end."""
    end = _moment(given, ("end", "to"), now)
    back = since
    if text := given.get("since"):
        written = duration(text)
        if not written:
            raise QueryError(f"since: {text!r} is no duration such as 1h")
        back = written
    start = _moment(given, ("start", "from"), max(end - back, 0))
    if end < start:
        raise QueryError("end timestamp must not be before start time")
    return Window(start, end)


def steps(given: Mapping[str, str], window: Window) -> Steps:
    """The moments a range is evaluated at; a 250th of it apart, at least a second, where `step` is not given."""
    text = given.get("step", "")
    step = _step(text) if text else max((window.end - window.start) // POINTS // SECOND, 1) * SECOND
    found = Steps(window.start, window.end, step)
    if found.count > MOST_STEPS:
        raise QueryError(
            f"exceeded maximum resolution of {MOST_STEPS:,} points per time series; "
            f"try decreasing the query resolution (step={text})"
        )
    return found


def moment(given: Mapping[str, str], now: int) -> int:
    """The moment an instant query is about."""
    return _moment(given, ("time",), now)


def _step(text: str) -> int:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        step = round(float(text) * SECOND) if len(text) < 20 else 0
    else:
        step = duration(text) or 0
    if not 0 < step <= LATEST:
        raise QueryError(f"step: {text[:40]!r} is no duration greater than nothing; write 15s, or seconds")
    return step


def _moment(given: Mapping[str, str], names: tuple[str, ...], otherwise: int) -> int:
    for name in names:
        if text := given.get(name):
            return _read(text, name)
    return otherwise


def _read(text: str, name: str) -> int:
    found = -1
    if re.fullmatch(r"\d{1,19}", text):
        # As Loki has it: ten digits and fewer are seconds, anything longer nanoseconds.
        found = int(text) * (SECOND if len(text) <= 10 else 1)
    elif re.fullmatch(r"\d{1,12}\.\d{1,20}", text):
        whole, _, part = text.partition(".")
        found = int(whole) * SECOND + int(part[:9].ljust(9, "0"))
    else:
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            parsed = None
        if parsed is not None and parsed.year < 2262:
            parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
            found = int((parsed - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * SECOND
            found += parsed.microsecond * 1000
    if not 0 <= found <= LATEST:
        raise QueryError(f"{name}: {text[:60]!r} is no time; write nanoseconds, seconds, or 2026-01-31T12:00:00Z")
    return found
