"""Read a LogQL query. Descends once over its words; what is not answered here is refused by name and place."""

from __future__ import annotations

import re
from typing import NoReturn

from flowwatch.logql.expressions import matches_nothing, wrong
from flowwatch.logql.fields import FIELDS, LABELS, NOTHING, NUMBERS
from flowwatch.logql.lexer import Kind, LogQLError, Word, words
from flowwatch.logql.syntax import (
    Both,
    Compare,
    Constant,
    Either,
    Filter,
    Function,
    LineFilter,
    LineOp,
    Match,
    Metric,
    Op,
    Query,
    Selection,
)

DEEPEST = 50
"""Levels of parentheses."""
MOST_TOP = 1000
LONGEST_RANGE = 366 * 86_400 * 10**9
NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
NANOSECONDS |= {"d": 86_400 * 10**9, "w": 604_800 * 10**9, "y": 31_536_000 * 10**9}

_MATCHER_OPS = ("=", "!=", "=~", "!~")
_LINE_OPS = tuple(LineOp)
_NUMBER_OPS = ("==", "=", "!=", ">", ">=", "<", "<=")
_STAGES = "json, label filters and the line filters |= != |~ !~"
_FUNCTIONS = ", ".join(Function)


def parse(text: str) -> Query:
    """The query as a value; `LogQLError` says what of it is not LogQL, or not answered here."""
    return _Reader(text).query()


def selection(text: str) -> Selection:
    """A query for lines; `LogQLError` also where it asks for numbers."""
    reader = _Reader(text)
    found = reader.selection()
    reader.end()
    return found


def duration(text: str) -> int | None:
    """A duration such as `5m` or `1h30m` in nanoseconds; None if it is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|[smhdwy])", text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return None
    return sum(round(float(amount) * NANOSECONDS[unit]) for amount, unit in parts)


class _Reader:
    def __init__(self, text: str) -> None:
        self._words = list(words(text))
        self._at = 0
        self._depth = 0

    # ── words ────────────────────────────────────────────────────────────────────────────────────

    @property
    def _next(self) -> Word:
        return self._words[self._at]

    def _take(self) -> Word:
        word = self._next
        self._at = min(self._at + 1, len(self._words) - 1)
        return word

    def _is(self, *signs: str) -> bool:
        return self._next.kind is Kind.SIGN and self._next.text in signs

    def _is_name(self, *names: str) -> bool:
        return self._next.kind is Kind.NAME and self._next.text in names

    def _sign(self, sign: str) -> Word:
        return self._take() if self._is(sign) else self._unexpected(f"`{sign}`")

    def _kind(self, kind: Kind, what: str) -> Word:
        return self._take() if self._next.kind is kind else self._unexpected(what)

    def _unexpected(self, wanted: str) -> NoReturn:
        raise LogQLError(self._next, f"syntax error: unexpected {self._next}, expecting {wanted}")

    def _unsupported(self, at: Word, what: str, instead: str) -> NoReturn:
        raise LogQLError(at, f"unsupported: {what}; flowwatch answers {instead}")

    def end(self) -> None:
        """There is nothing more."""
        if self._next.kind is not Kind.END:
            if self._is("+", "-", "*", "/", "%", "^", "==", "!=", ">", ">=", "<", "<=") or self._is_name(
                "and", "or", "unless"
            ):
                self._unsupported(self._next, f"the operator {self._next} between queries", "one query at a time")
            self._unexpected("the end")

    # ── queries ──────────────────────────────────────────────────────────────────────────────────

    def query(self) -> Query:
        """One whole query."""
        found: Query
        if self._is_name("vector"):
            found = self._constant()
        elif self._is("{"):
            found = self.selection()
        else:
            found = self._metric()
        self.end()
        return found

    def _constant(self) -> Constant:
        value = self._vector()
        while self._is("+", "-", "*"):
            sign, other = self._take().text, self._vector()
            value = value + other if sign == "+" else value - other if sign == "-" else value * other
        return Constant(value)

    def _vector(self) -> float:
        if not self._is_name("vector"):
            self._unexpected("`vector`")
        self._take()
        self._sign("(")
        value = self._number()
        self._sign(")")
        return value

    def _number(self) -> float:
        sign = -1.0 if self._is("-") else 1.0
        if self._is("-", "+"):
            self._take()
        if self._next.kind is Kind.QUANTITY:
            self._unsupported(self._next, f"{self._next} as a number with a unit", "plain numbers")
        return sign * float(self._kind(Kind.NUMBER, "a number").text)

    def _metric(self) -> Metric:
        if self._is("("):
            self._deeper(self._sign("("))
            found = self._metric()
            self._sign(")")
            self._depth -= 1
            return found
        word = self._kind(Kind.NAME, f'a selector such as `{{namespace="shop"}}`, or one of {_FUNCTIONS}, sum, topk')
        if word.text in tuple(Function):
            return self._counted(Function(word.text))
        if word.text == "sum":
            return self._summed(word)
        if word.text not in ("topk", "bottomk"):
            self._unsupported(word, f"`{word.text}`", f"{_FUNCTIONS}, sum, topk, bottomk and vector")
        return self._ranked(word)

    def _counted(self, function: Function) -> Metric:
        self._sign("(")
        selection = self.selection()
        self._sign("[")
        at = self._kind(Kind.QUANTITY, "a duration such as `5m`")
        range_ = duration(at.text)
        if not range_:
            raise LogQLError(at, f"{at} is no duration")
        if range_ > LONGEST_RANGE:
            raise LogQLError(at, f"a range is no longer than 366 days, and {at} is")
        self._sign("]")
        if self._is_name("offset"):
            self._unsupported(self._next, "`offset`", "ranges that end at the moment asked about")
        if self._is("|", *_LINE_OPS):
            self._unsupported(self._next, "filters after the range", 'filters before the range: `{…} |= "…" [5m]`')
        self._sign(")")
        return Metric(selection, function, range_)

    def _summed(self, word: Word) -> Metric:
        by = self._grouping()
        inner = self._inner(word)
        if by is None:
            by = self._grouping()
        if inner.by is not None or inner.top or inner.bottom:
            self._unsupported(word, "`sum` of an aggregation", "`sum` of a range function")
        return self._grouped(inner, by or (), word)

    def _ranked(self, word: Word) -> Metric:
        self._sign("(")
        at = self._next
        most = self._number()
        if most != int(most) or not 1 <= most <= MOST_TOP:
            raise LogQLError(at, f"`{word.text}` takes a whole number from 1 to {MOST_TOP}")
        self._sign(",")
        self._deeper(word)
        inner = self._metric()
        self._depth -= 1
        self._sign(")")
        if self._is_name("by", "without"):
            self._unsupported(self._next, f"`{self._next.text}` of `{word.text}`", f"`{word.text}` over everything")
        if inner.top or inner.bottom:
            self._unsupported(word, f"`{word.text}` of `topk` or `bottomk`", f"`{word.text}` of `sum` or a function")
        top, bottom = (int(most), 0) if word.text == "topk" else (0, int(most))
        return Metric(inner.selection, inner.function, inner.range, inner.by, top, bottom)

    def _inner(self, word: Word) -> Metric:
        self._sign("(")
        self._deeper(word)
        inner = self._metric()
        self._depth -= 1
        self._sign(")")
        return inner

    def _deeper(self, at: Word) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise LogQLError(at, f"nested more than {DEEPEST} levels deep")

    def _grouping(self) -> tuple[str, ...] | None:
        if self._is_name("without"):
            self._unsupported(self._next, "`without`", "`by`")
        if not self._is_name("by"):
            return None
        self._take()
        self._sign("(")
        names: list[Word] = []
        while not self._is(")"):
            names.append(self._kind(Kind.NAME, "the name of a label"))
            if not self._is(")"):
                self._sign(",")
        self._take()
        for name in names:
            if name.text not in (*LABELS, *FIELDS, *NOTHING):
                self._unknown(name)
        return tuple(dict.fromkeys(name.text for name in names))

    def _grouped(self, inner: Metric, by: tuple[str, ...], word: Word) -> Metric:
        for name in by:
            if name in FIELDS and not inner.selection.parsed:
                raise LogQLError(word, f"`{name}` is a field of the line, not a label; write `| json` before the range")
        return Metric(inner.selection, inner.function, inner.range, by)

    # ── selections ───────────────────────────────────────────────────────────────────────────────

    def selection(self) -> Selection:
        """A selector and the stages after it."""
        begin = self._sign("{")
        matchers: list[Match] = []
        while not self._is("}"):
            matchers.append(self._matcher())
            if not self._is("}"):
                self._sign(",")
        self._take()
        if all(_takes_nothing(matcher) for matcher in matchers):
            raise LogQLError(
                begin,
                "queries require at least one regexp or equality matcher that does not have an empty-compatible "
                'value; for instance, `{namespace=~".+"}` does',
            )
        lines: list[LineFilter] = []
        filters: list[Filter] = []
        parsed = False
        while self._is("|", *_LINE_OPS):
            if not self._is("|"):
                lines.append(self._line_filter())
                continue
            self._take()
            if self._is_name("json"):
                self._take()
                if self._next.kind is Kind.NAME and not self._is_name("and", "or", "unless", "offset"):
                    self._unsupported(self._next, "`json` with expressions", "`| json` alone, which gives every field")
                parsed = True
            elif self._is_name("drop"):
                self._drop()
            else:
                filters.append(self._filters(parsed))
        return Selection(tuple(matchers), tuple(lines), tuple(filters), parsed)

    def _matcher(self) -> Match:
        name = self._kind(Kind.NAME, "the name of a label or `}`")
        if not self._is(*_MATCHER_OPS):
            self._unexpected("one of = != =~ !~")
        op = Op(self._take().text)
        return Match(name.text, op, self._text(op in (Op.MATCHES, Op.MATCHES_NOT)))

    def _text(self, expression: bool) -> str:
        word = self._kind(Kind.TEXT, "a string")
        if expression and (why := wrong(word.text)):
            raise LogQLError(word, f"error parsing regexp: {why}")
        return word.text

    def _line_filter(self) -> LineFilter:
        op = LineOp(self._take().text)
        expression = op in (LineOp.MATCHES, LineOp.MATCHES_NOT)
        if self._next.kind is Kind.NAME:
            self._unsupported(self._next, f"`{self._next.text}` in a line filter", "strings")
        texts = [self._text(expression)]
        while self._is_name("or"):
            self._take()
            texts.append(self._text(expression))
        return LineFilter(op, tuple(texts))

    def _drop(self) -> None:
        self._take()
        while True:
            name = self._kind(Kind.NAME, "the name of a label")
            if name.text not in NOTHING or self._is("=", "=~", "!=", "!~"):
                self._unsupported(name, f"`drop {name.text}`", "`drop __error__`, which changes nothing")
            if not self._is(","):
                return
            self._take()

    def _filters(self, parsed: bool) -> Filter:
        found = self._all_of(parsed)
        while self._is_name("or"):
            self._take()
            found = Either(found, self._all_of(parsed))
        return found

    def _all_of(self, parsed: bool) -> Filter:
        found = self._one(parsed)
        while self._is_name("and") or self._is(","):
            self._take()
            found = Both(found, self._one(parsed))
        return found

    def _one(self, parsed: bool) -> Filter:
        if self._is("("):
            self._deeper(self._take())
            found = self._filters(parsed)
            self._sign(")")
            self._depth -= 1
            return found
        name = self._kind(Kind.NAME, f"one of {_STAGES}")
        if not self._is(*_NUMBER_OPS, "=~", "!~"):
            self._unsupported(name, f"the stage `{name.text}`", _STAGES)
        if name.text not in (*LABELS, *FIELDS, *NOTHING):
            self._unknown(name)
        if name.text in FIELDS and not parsed:
            raise LogQLError(name, f"`{name.text}` is a field of the line, not a label; write `| json` before it")
        sign = self._take()
        if self._next.kind is Kind.TEXT:
            if sign.text not in _MATCHER_OPS:
                raise LogQLError(sign, f"{sign} compares numbers, and a string follows")
            op = Op(sign.text)
            return Match(name.text, op, self._text(op in (Op.MATCHES, Op.MATCHES_NOT)))
        if sign.text not in _NUMBER_OPS:
            self._unexpected("a string")
        if self._is_name("ip"):
            self._unsupported(self._next, "`ip()`", "strings and numbers")
        value = self._number()
        if name.text not in NUMBERS:
            raise LogQLError(name, f"`{name.text}` is text; numbers are {', '.join(NUMBERS)}")
        return Compare(name.text, Op.EQUAL if sign.text == "==" else Op(sign.text), value)

    def _unknown(self, name: Word) -> NoReturn:
        raise LogQLError(name, f"there is no label or field {name}; there are {', '.join((*LABELS, *FIELDS))}")


def _takes_nothing(matcher: Match) -> bool:
    """Whether a stream without that label would be taken."""
    match matcher.op:
        case Op.EQUAL:
            return not matcher.value
        case Op.UNEQUAL:
            return True
        case Op.MATCHES:
            return matches_nothing(matcher.value)
        case _:
            return True
