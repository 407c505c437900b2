"""How numbers, times, shares and foreign text are written for people.

Every surface (terminal, page, HTTP API, command line) writes them through these functions, so
that two of them never say different things. Nothing here knows what a flow is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

ACTING = re.compile("[\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")
"""What a terminal may act upon and JSON allows in a string: C1 control characters, direction and line marks."""


def printable(text: str) -> str:
    """Make text from outside safe to print: control, escape and direction-changing characters
    become visible escapes (`\\x1b`), everything else stays."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def number(count: int) -> str:
    """A count with thousands separators."""
    return f"{count:,}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """`1 edge`, `2 edges`; `nouns` is for the irregular."""
    return f"{number(count)} {noun if count == 1 else nouns or noun + 's'}"


def percent(share: float) -> str:
    """A share (0…1) in percent. Rounds down: `100 %` means all of it, never nearly all."""
    if not math.isfinite(share):
        return "unknown"
    if share >= 1:
        return "100 %"
    return f"{math.floor(max(share, 0.0) * 1000) / 10:.1f} %"


def per_second(rate: float) -> str:
    """A rate: `0.4/s`, `12/s`, `18,402/s`."""
    if not math.isfinite(rate):
        return "?/s"
    return f"{rate:.1f}/s" if 0 < rate < 9.95 else f"{rate:,.0f}/s"


def age(seconds: float) -> str:
    """A span of time in at most two units: `12 s`, `3 min`, `2 h 5 min`, `4 d 3 h`. Clocks that
    disagree make spans negative; those are `0 s`."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    large, small, names = (whole // 3600, whole % 3600 // 60, ("h", "min"))
    if large >= 48:
        large, small, names = (whole // 86400, whole % 86400 // 3600, ("d", "h"))
    return f"{large} {names[0]} {small} {names[1]}" if small else f"{large} {names[0]}"


def rfc3339(when: float) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC with milliseconds; None for 0 (never) and for
    what no calendar holds."""
    if not when:
        return None
    try:
        moment = datetime.fromtimestamp(when, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def clock(when: float) -> str:
    """Seconds since the epoch for a person: `2026-10-01 00:03:12`, in UTC; `never` for 0."""
    text = rfc3339(when)
    return text[:19].replace("T", " ") if text else "never"


def plain(value: object) -> Json:
    """Any cell of a query's result as a JSON value. Times become RFC 3339 (those without a zone
    are UTC), spans seconds, bytes hexadecimal; what is not a number (NaN, infinity) is null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, Decimal)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (Sequence, Set)):
        return [plain(item) for item in value]
    return _plain_time(value)


def _plain_time(value: object) -> Json:
    match value:
        case datetime():
            moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            return f"{moment.isoformat()}Z"
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _:
            return str(value)


def json_text(value: Json, *, indent: int | None = None) -> str:
    """JSON as text that any UTF-8 stream can carry and any terminal can show, whatever the strings in it hold."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    text = ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
