"""Search the stored flows as log lines: a `Selection` of LogQL becomes conditions on the view `log_fields`.

Conditions are built as values, never as text, so that nothing a query says can become SQL. A search
only reads, and is stopped when it takes too long.
"""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import duckdb
import pyarrow as pa
from duckdb import CoalesceOperator, ColumnExpression, ConstantExpression, Expression, FunctionExpression

from flowwatch import sql
from flowwatch.errors import QueryError, StoreError
from flowwatch.logql.evaluate import Slices
from flowwatch.logql.expressions import whole
from flowwatch.logql.fields import LABELS, NOTHING, NUMBERS, TEXTS
from flowwatch.logql.syntax import Both, Compare, Either, Filter, LineFilter, LineOp, Match, Op, Selection
from flowwatch.logql.times import Window
from flowwatch.store import Store

Relation: TypeAlias = duckdb.DuckDBPyRelation

VIEW = "log_fields"
FIRST_PIECE = 60_000_000_000
"""Nanoseconds that are searched for lines at first."""
LONGER = 8
"""How many times longer each further piece of the time is."""
PATIENCE = 30.0
"""Seconds a search may take."""
MILLISECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1)
_LATEST = 9_200_000_000_000
"""Milliseconds since the epoch, a moment in 2261."""
_COMPARISONS = {
    Op.EQUAL: operator.eq,
    Op.UNEQUAL: operator.ne,
    Op.MORE: operator.gt,
    Op.AT_LEAST: operator.ge,
    Op.LESS: operator.lt,
    Op.AT_MOST: operator.le,
}


class Search:
    """Searches in one store. `cluster` is the label of that name on every line."""

    def __init__(self, store: Store, cluster: str, patience: float = PATIENCE) -> None:
        self.store = store
        self._cluster = cluster
        self._patience = patience

    def lines(self, wanted: Selection, window: Window, limit: int, forward: bool) -> pa.Table:
        """The oldest lines (newest, unless `forward`): columns labels (list, as `LABELS`), time, line."""
        deadline, found = time.monotonic() + self._patience, []
        for piece in _pieces(window, self._known(), forward):
            patience = max(deadline - time.monotonic(), 0.0)
            found.append(self._lines(wanted, piece, limit, forward, patience))
            limit -= len(found[-1])
            if limit <= 0:
                break
        return pa.concat_tables(found)

    def _lines(self, wanted: Selection, window: Window, limit: int, forward: bool, patience: float) -> pa.Table:
        def narrow(view: Relation) -> Relation:
            moment = ColumnExpression("time")
            found = self._selected(view, wanted, window).sort(moment.asc() if forward else moment.desc()).limit(limit)
            # Written for those that are given and no others, unless they were chosen by it.
            written = found if wanted.lines else _written(found)
            return written.select(self._labels(LABELS), moment, ColumnExpression("line"))

        return self.store.search(VIEW, narrow, patience)

    def _known(self) -> Window:
        """The time of which there are any flows."""
        try:
            (row,) = self.store.query(sql.queries("search")["extent"], {}).to_pylist()
        except QueryError as error:  # ours, so it is the store that refuses
            raise StoreError(str(error)) from error
        if row["first"] is None:
            return Window(0, 0)
        return Window(nanoseconds(row["first"]), nanoseconds(row["last"]) + 1)

    def counts(self, wanted: Selection, slices: Slices, by: Sequence[str], sized: bool) -> pa.Table:
        """Lines and bytes per group and slice (queries/search/counts.sql); bytes are 0 unless `sized`."""
        # Moments are after the base and up to the end, which is what a window means a nanosecond later.
        window = Window(max(slices.base + 1, 0), slices.end + 1)

        def narrow(view: Relation) -> Relation:
            chosen = self._selected(view, wanted, window)
            found = (_written(chosen) if sized and not wanted.lines else chosen).select(
                self._labels(by),
                ColumnExpression("time"),
                _size() if sized else ConstantExpression(0).alias("size"),
                ConstantExpression(slices.base).alias("base"),
                ConstantExpression(slices.width).alias("width"),
            )
            return found.query("found", sql.statement("search", "counts"))

        return self.store.search(VIEW, narrow, self._patience)

    def streams(self, wanted: Selection | None, window: Window, names: Sequence[str], sized: bool = False) -> pa.Table:
        """The distinct values of these labels among the lines wanted (queries/search/streams.sql)."""

        def narrow(view: Relation) -> Relation:
            chosen = self._selected(view, wanted, window)
            is_written = not sized or (wanted is not None and bool(wanted.lines))
            found = (chosen if is_written else _written(chosen)).select(
                self._labels(names), _size() if sized else ConstantExpression(0).alias("size")
            )
            return found.query("found", sql.statement("search", "streams"))

        return self.store.search(VIEW, narrow, self._patience)

    def _selected(self, view: Relation, wanted: Selection | None, window: Window) -> Relation:
        """What is wanted of a view; with its lines, where it goes by them."""
        moment = ColumnExpression("time")
        conditions = [moment >= _moment(window.start), moment < _moment(window.end)]
        if wanted is not None:
            conditions += [self._matches(matcher) for matcher in wanted.matchers]
            conditions += [self._holds(one) for one in wanted.filters]
        found = view.filter(functools.reduce(operator.and_, conditions))
        if wanted is None or not wanted.lines:
            return found
        return _written(found).filter(functools.reduce(operator.and_, [_line(one) for one in wanted.lines]))

    def _holds(self, wanted: Filter) -> Expression:
        match wanted:
            case Match():
                return self._matches(wanted)
            case Compare(name, op, value):
                return _COMPARISONS[op](ColumnExpression(name), ConstantExpression(value))
            case Both(left, right):
                return self._holds(left) & self._holds(right)
            case Either(left, right):
                return self._holds(left) | self._holds(right)

    def _matches(self, wanted: Match) -> Expression:
        text, value = self._text(wanted.name), ConstantExpression(wanted.value)
        match wanted.op:
            case Op.EQUAL:
                return text == value
            case Op.UNEQUAL:
                return text != value
            case Op.MATCHES:
                return FunctionExpression("regexp_matches", text, ConstantExpression(whole(wanted.value)))
            case _:
                return ~FunctionExpression("regexp_matches", text, ConstantExpression(whole(wanted.value)))

    def _text(self, name: str) -> Expression:
        """A label or field as text; empty where there is none, and for names that nothing has."""
        if name == "cluster":
            return ConstantExpression(self._cluster)
        if name in NUMBERS:
            number = ColumnExpression(name).cast(duckdb.sqltypes.VARCHAR)
            return CoalesceOperator(number, ConstantExpression(""))
        return ColumnExpression(name) if name in LABELS or name in TEXTS else ConstantExpression("")

    def _labels(self, names: Sequence[str]) -> Expression:
        texts = [self._text(name) for name in names if name not in NOTHING]
        return FunctionExpression("list_value", *texts, ConstantExpression("")).alias("labels")


def _written(found: Relation) -> Relation:
    """With the line of each flow."""
    return found.query("chosen", sql.statement("search", "line"))


def _pieces(window: Window, known: Window, forward: bool) -> Iterator[Window]:
    """The window in pieces, each longer than the one before, from the end that is wanted first: most searches
    are answered by what is near. At least one, which may be empty."""
    start, end = max(window.start, known.start), min(window.end, known.end)
    length = FIRST_PIECE
    while True:
        piece = Window(start, min(start + length, end)) if forward else Window(max(end - length, start), end)
        yield piece
        start, end = (piece.end, end) if forward else (start, piece.start)
        length *= LONGER
        if start >= end:
            return


def _line(wanted: LineFilter) -> Expression:
    expression = wanted.op in (LineOp.MATCHES, LineOp.MATCHES_NOT)
    function = "regexp_matches" if expression else "contains"
    line = ColumnExpression("line")
    any_of = functools.reduce(
        operator.or_, [FunctionExpression(function, line, ConstantExpression(text)) for text in wanted.texts]
    )
    return any_of if wanted.op in (LineOp.HOLDS, LineOp.MATCHES) else ~any_of


def _size() -> Expression:
    return FunctionExpression("strlen", ColumnExpression("line")).alias("size")


def _moment(nanoseconds: int) -> Expression:
    """The first millisecond that is not before a moment: times are stored in whole ones."""
    moment = _EPOCH + timedelta(milliseconds=min(-(-nanoseconds // MILLISECOND), _LATEST))
    return ConstantExpression(moment).cast(duckdb.sqltypes.TIMESTAMP_MS)


def nanoseconds(moment: datetime) -> int:
    """A stored time as nanoseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1) * MILLISECOND
