"""LogQL as far as it is answered: read as written, refused by name and place, and evaluated as Loki means it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from flowwatch.engine import Engine
from flowwatch.errors import QueryError, QueryTimeoutError
from flowwatch.logql.evaluate import Steps, slices
from flowwatch.logql.expressions import wrong
from flowwatch.logql.fields import LABELS
from flowwatch.logql.parse import DEEPEST, parse, selection
from flowwatch.logql.syntax import Constant, Function, LineFilter, LineOp, Match, Metric, Op, Selection
from flowwatch.logql.times import Window, moment, steps, window
from flowwatch.receive import Batch
from flowwatch.store import Store
from flowwatch.store_search import Search
from flowwatch.web_loki import _sampled
from tests.support.logql_oracle import Line, sampled, selected
from tests.support.logql_text import metrics, selections, written
from tests.support.simulated import START, played

EPOCH = datetime(1970, 1, 1)
SECOND = 10**9
MINUTE = 60 * SECOND
CALM = hypothesis_settings(deadline=None)
SOMETIMES = hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    """A store with a minute of the simulated cluster."""
    store = Store(tmp_path_factory.mktemp("logs") / "a.duckdb")
    engine = Engine(cluster="test")
    engine.ingest(Batch("test", "test", [event.message for event in played(20.0, 30.0).events]), START / 1e9)
    store.commit(engine.drain(START / 1e9))
    yield Search(store, "test")
    store.close()


ALWAYS = Window(0, 2**63 - 1)


@pytest.fixture(scope="module")
def lines(search: Search) -> list[Line]:
    """Every line there is, oldest first."""
    table = search.lines(selection('{verdict=~".+"}'), ALWAYS, 5000, True)
    times = table.column("time").cast("int64").to_pylist()
    found = [
        Line(time * 10**6, text, "test") for time, text in zip(times, table.column("line").to_pylist(), strict=True)
    ]
    assert 300 < len(found) < 5000
    return found


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@CALM
@given(selections() | metrics(), st.booleans())
def test_what_is_written_is_read(query: Selection | Metric, raw: bool) -> None:
    """Any query, with either sort of quotes, is read as the value it was written from."""
    assert parse(written(query, raw)) == query


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("vector(1)+vector(1)", Constant(2.0)),
        ("vector(2) * vector(3) - vector(-1)", Constant(7.0)),
        (
            '# all of it\n{namespace = "shop",}\n  |= "a" or `b`',
            Selection((Match("namespace", Op.EQUAL, "shop"),), (LineFilter(LineOp.HOLDS, ("a", "b")),)),
        ),
        (
            'sum by (level, detected_level) (count_over_time({verdict="DROPPED"} | drop __error__ [1h30m]))',
            Metric(
                Selection((Match("verdict", Op.EQUAL, "DROPPED"),)),
                Function.COUNT,
                90 * MINUTE,
                ("level", "detected_level"),
            ),
        ),
        (
            'topk(3, sum(rate({verdict="DROPPED"}[1m])) by (class))',
            Metric(Selection((Match("verdict", Op.EQUAL, "DROPPED"),)), Function.RATE, MINUTE, ("class",), top=3),
        ),
    ],
)
def test_forms_that_clients_send(text: str, meant: object) -> None:
    """Health checks, comments, trailing commas, the log volume of Explore, grouping before and after."""
    assert parse(text) == meant


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1, col 1: syntax error: unexpected the end"),
        ("{", "line 1, col 2: syntax error: unexpected the end, expecting the name of a label"),
        ("{}", "queries require at least one regexp or equality matcher"),
        ('{namespace=~".*"}', "queries require at least one regexp or equality matcher"),
        ('{namespace!="shop"}', "queries require at least one regexp or equality matcher"),
        ('{namespace="shop" verdict="x"}', "line 1, col 19: syntax error: unexpected `verdict`, expecting `,`"),
        ('{namespace="shop}', "line 1, col 12: literal not terminated"),
        ('{namespace="\\q"}', "line 1, col 12: invalid escape sequence `\\q`"),
        ('{namespace=~"("}', "line 1, col 13: error parsing regexp"),
        ('{namespace="shop"} |~ "(?=a)"', "line 1, col 23: error parsing regexp"),
        ('{namespace="shop"}\n| line_format "{{.x}}"', "line 2, col 3: unsupported: the stage `line_format`"),
        ('{namespace="shop"} | logfmt', "line 1, col 22: unsupported: the stage `logfmt`"),
        ('{namespace="shop"} | json a="b"', "line 1, col 27: unsupported: `json` with expressions"),
        (
            '{namespace="shop"} | source="a"',
            "line 1, col 22: `source` is a field of the line, not a label; write `| json`",
        ),
        ('{namespace="shop"} | json | sorce="a"', "line 1, col 29: there is no label or field `sorce`; there are"),
        ('{namespace="shop"} | json | source>3', "line 1, col 29: `source` is text; numbers are"),
        (
            '{namespace="shop"} | json | latency_us > 10ms',
            "line 1, col 42: unsupported: `10ms` as a number",
        ),
        ('{namespace="shop"} | json | client_ip=ip("10.0.0.0/8")', "line 1, col 39: unsupported: `ip()`"),
        ('{namespace="shop"} | drop source', "line 1, col 27: unsupported: `drop source`"),
        ('rate({namespace="shop"}[0s])', "line 1, col 25: `0s` is no duration"),
        ('rate({namespace="shop"}[9000d])', "a range is no longer than 366 days"),
        ('rate({namespace="shop"}[5m] offset 1h)', "line 1, col 29: unsupported: `offset`"),
        ('avg_over_time({namespace="shop"} | unwrap x [5m])', "line 1, col 1: unsupported: `avg_over_time`"),
        ('avg(rate({namespace="shop"}[5m]))', "line 1, col 1: unsupported: `avg`"),
        ('sum without (verdict) (rate({namespace="shop"}[5m]))', "line 1, col 5: unsupported: `without`"),
        ('sum(rate({namespace="shop"}[5m])) / 2', "line 1, col 35: unsupported: the operator `/`"),
        ('sum by (source) (rate({namespace="shop"}[5m]))', "`source` is a field of the line, not a label"),
        ('sum by (pod) (rate({namespace="shop"}[5m]))', "there is no label or field `pod`"),
        ('topk(0, rate({namespace="shop"}[5m]))', "line 1, col 6: `topk` takes a whole number from 1"),
        ('{namespace="shop"} | json | ' + "(" * 60 + 'source="a"' + ")" * 60, f"nested more than {DEEPEST} levels"),
        ("{" + "a" * 5000, "longer than 4096 characters"),
    ],
)
def test_what_is_not_answered_is_named(text: str, told: str) -> None:
    """The construct and its place, as Loki begins its own errors; nothing is silently left out."""
    with pytest.raises(QueryError, match="parse error at line") as caught:
        parse(text)
    assert told in str(caught.value)


@CALM
@given(st.text(alphabet='{}()[]|=!~"`\\ab 1_,.<>+-\n5m', max_size=60) | st.text(max_size=60))
def test_anything_else_is_an_error_of_the_query(text: str) -> None:
    """Whatever is sent is read or refused; nothing else happens."""
    told = "parse error at line "
    try:
        parse(text)
    except QueryError as error:
        told = str(error)
    assert told.startswith("parse error at line ")


def test_expressions_are_bounded() -> None:
    """What RE2 does not take, takes too much memory for, or is too long, is refused before any search."""
    assert wrong("a" * 2000)
    assert wrong("((a{1000}){1000}){1000}")
    assert wrong(r"(a)\1")
    assert not wrong("(a+)+$")


# ── searching ────────────────────────────────────────────────────────────────────────────────────


@SOMETIMES
@given(selections(), st.integers(1, 40), st.booleans(), st.data())
def test_lines_against_the_oracle(
    search: Search, lines: list[Line], wanted: Selection, limit: int, forward: bool, data: st.DataObject
) -> None:
    """The same lines as one by one, in the time asked for: `start` included, `end` not, newest or oldest first."""
    times = st.sampled_from([line.time for line in lines])
    start, end = sorted((data.draw(times), data.draw(times)))
    table = search.lines(wanted, Window(start, end), limit, forward)
    expected = sorted(line.time for line in selected(wanted, lines) if start <= line.time < end)
    expected = expected[:limit] if forward else expected[::-1][:limit]
    assert [time * 10**6 for time in table.column("time").cast("int64").to_pylist()] == expected
    known = {(line.time, line.text): line for line in selected(wanted, lines)}
    for time, text, labels in zip(
        *(table.column(name).to_pylist() for name in ("time", "line", "labels")), strict=True
    ):
        line = known[round((time - EPOCH).total_seconds() * 1000) * 10**6, text]
        assert labels[:-1] == [line.text_of(name) for name in LABELS]


@SOMETIMES
@given(metrics(), st.sampled_from((1, 5, 7, 60)), st.integers(0, 1999), st.integers(0, 12))
def test_samples_against_the_oracle(
    search: Search, lines: list[Line], wanted: Metric, step: int, shift: int, count: int
) -> None:
    """The same samples as counted one by one at every moment, whatever range and step."""
    start = START + shift * 10**7
    at = Steps(start, start + count * step * SECOND, step * SECOND)
    names = LABELS if wanted.by is None else wanted.by
    sized = wanted.function in (Function.BYTES, Function.BYTES_RATE)
    table = search.counts(wanted.selection, slices(wanted, at), names, sized)
    found = _sampled(wanted, at, table, "bytes" if sized else "lines")
    expected = sampled(wanted, lines, [start + number * step * SECOND for number in range(count + 1)], names)
    told = {
        tuple((name, value) for name, value in zip(names, group, strict=True) if value): dict(points)
        for group, points in found.items()
    }
    assert told == expected


def test_the_greatest_of_many(search: Search, lines: list[Line]) -> None:
    """`topk` keeps at each moment the greatest, `bottomk` the least."""
    whole = parse('sum by (class) (count_over_time({verdict=~".+"}[60s]))')
    top = parse('topk(2, sum by (class) (count_over_time({verdict=~".+"}[60s])))')
    bottom = parse('bottomk(1, sum by (class) (count_over_time({verdict=~".+"}[60s])))')
    assert isinstance(whole, Metric)
    assert isinstance(top, Metric)
    assert isinstance(bottom, Metric)
    at = Steps.once(START + 60 * SECOND)
    table = search.counts(whole.selection, slices(whole, at), ("class",), False)
    counts = sorted(points[0][1] for points in _sampled(whole, at, table, "lines").values())
    assert sum(counts) == len([line for line in lines if line.time > START])
    assert sorted(points[0][1] for points in _sampled(top, at, table, "lines").values()) == counts[-2:]
    assert [points[0][1] for points in _sampled(bottom, at, table, "lines").values()] == counts[:1]


def test_a_search_is_stopped(search: Search) -> None:
    """What takes longer than it may ends with an error that says so; the next search works."""

    def endless(view: Any) -> Any:
        # Every line beside every other, four times over, would take for years.
        one, two, three, four = (view.set_alias(name) for name in ("one", "two", "three", "four"))
        return one.cross(two).cross(three.cross(four)).count("*")

    with pytest.raises(QueryTimeoutError, match=r"stopped after 0\.5 s"):
        search.store.search("log_fields", endless, 0.5)
    assert search.lines(selection('{verdict=~".+"}'), ALWAYS, 1, True).num_rows == 1


# ── times ────────────────────────────────────────────────────────────────────────────────────────

NOW = 1_780_000_000 * SECOND


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({}, Window(NOW - 3600 * SECOND, NOW)),
        ({"start": "1780000000", "end": "1780000001"}, Window(NOW, NOW + SECOND)),
        ({"start": "1779999999000000001", "end": "1780000000000000000"}, Window(NOW - SECOND + 1, NOW)),
        ({"start": "1779999999.5"}, Window(NOW - SECOND // 2, NOW)),
        ({"start": "2026-05-28T20:26:40Z"}, Window(NOW, NOW)),
        ({"from": "1779999990", "to": "1780000000"}, Window(NOW - 10 * SECOND, NOW)),
        ({"since": "5m"}, Window(NOW - 5 * MINUTE, NOW)),
        ({"since": "10s", "end": "1779999990"}, Window(NOW - 20 * SECOND, NOW - 10 * SECOND)),
    ],
)
def test_times_as_clients_write_them(given: dict[str, str], meant: Window) -> None:
    """Seconds, nanoseconds, fractions, RFC 3339; both pairs of names."""
    assert window(given, NOW) == meant


@pytest.mark.parametrize(
    "given",
    [{"start": "yesterday"}, {"end": "-1"}, {"end": "9" * 19}, {"start": "9" * 30}, {"since": "soon"}, {"end": "5"}],
)
def test_times_that_are_none(given: dict[str, str]) -> None:
    """A time that cannot be read, or ends before it begins, is an error of the query."""
    with pytest.raises(QueryError):
        window({"start": "1000", **given} if "end" in given else given, NOW)


@pytest.mark.parametrize(("text", "step"), [("15000ms", 15), ("0.5", 0.5), ("60", 60), ("1h", 3600), ("", 14)])
def test_steps(text: str, step: float) -> None:
    """As Grafana and logcli write them; a 250th of the time where there is none."""
    assert steps({"step": text} if text else {}, Window(NOW, NOW + 3600 * SECOND)).step == step * SECOND


@pytest.mark.parametrize("text", ["0", "-1", "x", "0s", "1e3", "100ms", "9" * 40])
def test_steps_that_are_none(text: str) -> None:
    """Nothing, no duration, or so small that there are more than 11,000 of them."""
    with pytest.raises(QueryError, match=r"step|resolution"):
        steps({"step": text}, Window(NOW, NOW + 3600 * SECOND))


def test_the_moment_of_the_health_check() -> None:
    """Grafana asks at a number of ten digits, which Loki reads as seconds."""
    assert moment({"time": "4000000000"}, NOW) == 4_000_000_000 * SECOND
    assert moment({}, NOW) == NOW
