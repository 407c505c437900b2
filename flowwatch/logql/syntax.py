"""What a LogQL query says, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Op(StrEnum):
    """How a label or a field is compared."""

    EQUAL = "="
    UNEQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"
    MORE = ">"
    AT_LEAST = ">="
    LESS = "<"
    AT_MOST = "<="


class LineOp(StrEnum):
    """How a line is filtered."""

    HOLDS = "|="
    HOLDS_NOT = "!="
    MATCHES = "|~"
    MATCHES_NOT = "!~"


@dataclass(frozen=True, slots=True)
class Match:
    """A label or field compared as text; what is absent is the empty text. Expressions match the whole of it."""

    name: str
    op: Op
    value: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A field compared as a number; what is absent compares to nothing."""

    name: str
    op: Op
    value: float


@dataclass(frozen=True, slots=True)
class Both:
    """Both hold."""

    left: Filter
    right: Filter


@dataclass(frozen=True, slots=True)
class Either:
    """At least one holds."""

    left: Filter
    right: Filter


Filter: TypeAlias = Match | Compare | Both | Either


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Any of the texts for `|=` and `|~`, none of them for `!=` and `!~`. Expressions match a part of the line."""

    op: LineOp
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lines are meant: every matcher, line filter and label filter holds."""

    matchers: tuple[Match, ...]
    lines: tuple[LineFilter, ...] = ()
    filters: tuple[Filter, ...] = ()
    parsed: bool = False
    """`| json` was written, so that fields can be named."""


class Function(StrEnum):
    """What is made of the lines within a range."""

    COUNT = "count_over_time"
    RATE = "rate"
    BYTES = "bytes_over_time"
    BYTES_RATE = "bytes_rate"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number for each group of lines. `by` None: a group for each stream. `range` in nanoseconds.

    `top` keeps the so many greatest at each moment (0: all), `bottom` the least."""

    selection: Selection
    function: Function
    range: int
    by: tuple[str, ...] | None = None
    top: int = 0
    bottom: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that no line has part in, such as `vector(1)+vector(1)`."""

    value: float


Query: TypeAlias = Selection | Metric | Constant
