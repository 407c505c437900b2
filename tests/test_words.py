"""How numbers, shares, times and foreign text are written for people and for programs."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch.words import age, clock, json_text, number, per_second, percent, plain, plural, printable, rfc3339


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1_000, "1,000"), (33_560_112, "33,560,112"), (-4_200, "-4,200")]
)
def test_number_has_thousands_separators(count: int, text: str) -> None:
    """A count is grouped by thousands."""
    assert number(count) == text


def test_plural_agrees_with_its_count() -> None:
    """One thing is singular; none and many are plural, irregular ones as given."""
    assert [plural(count, "edge") for count in (0, 1, 2, 1_234)] == ["0 edges", "1 edge", "2 edges", "1,234 edges"]
    assert [plural(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0 %"),
        (0.5, "50.0 %"),
        (0.9924, "99.2 %"),
        (0.9995, "99.9 %"),
        (0.9999999, "99.9 %"),
        (1.0, "100 %"),
        (1.5, "100 %"),
        (-0.2, "0.0 %"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
    ],
)
def test_percent_rounds_down(share: float, text: str) -> None:
    """A share is rounded down to a tenth of a percent; what is no number is unknown."""
    assert percent(share) == text


@given(st.floats(min_value=0.0, max_value=1.0, exclude_max=True))
def test_percent_never_claims_all_when_something_is_missing(share: float) -> None:
    """Less than everything is never written as 100 %, however little is missing."""
    assert float(percent(share).removesuffix(" %")) <= 99.9


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, "0/s"), (0.44, "0.4/s"), (9.94, "9.9/s"), (9.96, "10/s"), (18_402.4, "18,402/s"), (math.nan, "?/s")],
)
def test_rates(rate: float, text: str) -> None:
    """Slow rates have a decimal, fast ones do not."""
    assert per_second(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5.0, "0 s"),
        (0.0, "0 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3_599.0, "59 min"),
        (3_600.0, "1 h"),
        (7_500.0, "2 h 5 min"),
        (47 * 3_600.0, "47 h"),
        (48 * 3_600.0, "2 d"),
        (99 * 3_600.0, "4 d 3 h"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_age_has_at_most_two_units(seconds: float, text: str) -> None:
    """A span is told in at most two units; a negative one is none."""
    assert age(seconds) == text


def test_rfc3339_is_utc_with_milliseconds() -> None:
    """A moment is written in UTC with milliseconds, which are cut and not rounded up."""
    moment = datetime(2026, 10, 1, 3, 12, 0, 999_900, tzinfo=UTC).timestamp()
    assert rfc3339(moment) == "2026-10-01T03:12:00.999Z"
    assert clock(moment) == "2026-10-01 03:12:00"


@pytest.mark.parametrize("when", [0.0, math.nan, math.inf, 1e30, -1e30])
def test_a_moment_that_never_was_is_never(when: float) -> None:
    """Zero means never, and so does what no calendar holds."""
    assert rfc3339(when) is None
    assert clock(when) == "never"


def test_printable_shows_control_and_direction_characters() -> None:
    """Control, escape and direction-changing characters become visible; everything else stays."""
    assert printable("plain → ünïcödé 名前") == "plain → ünïcödé 名前"
    assert printable("a\x1b[2Jb\r\n\t\x00\x9b\u202e\u2028\ud800") == (
        "a\\x1b[2Jb\\r\\n\\t\\x00\\x9b\\u202e\\u2028\\ud800"
    )


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_printable_text_is_printable(text: str) -> None:
    """Nothing that cannot be printed survives, and it is encodable anywhere."""
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (math.nan, None),
        (math.inf, None),
        (Decimal("1.5"), 1.5),
        (b"\x00\xff", "00ff"),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        (datetime(2026, 10, 1, 3, 12), "2026-10-01T03:12:00Z"),
        (datetime(2026, 10, 1, 5, 12, tzinfo=timezone(timedelta(hours=2))), "2026-10-01T03:12:00Z"),
        (date(2026, 10, 1), "2026-10-01"),
        (time(3, 12), "03:12:00"),
        (timedelta(minutes=2), 120.0),
    ],
)
def test_plain_makes_any_cell_json(cell: object, value: object) -> None:
    """Whatever a query gives has one JSON form: times in UTC, spans in seconds, no NaN."""
    assert plain(cell) == value


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_json_text_keeps_what_it_was_given(text: str) -> None:
    """JSON can be read back unchanged, encodes as UTF-8 and holds nothing that moves a cursor or turns a line."""
    written = json_text(text)
    assert written.encode().decode() == written
    assert json.loads(written) == text
    assert not set(written) & {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u2066", "\u2028"}
