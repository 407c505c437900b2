"""LogQL a second time, as simply as it can be said: one line after the other, with Python's own expressions.

Knows nothing but the lines themselves, their times and the name of the cluster.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowwatch.logql.syntax import (
    Both,
    Compare,
    Either,
    Filter,
    Function,
    LineFilter,
    LineOp,
    Match,
    Metric,
    Op,
    Selection,
)

LEVELS = {"DROPPED": "error", "ERROR": "error", "AUDIT": "warning"}


@dataclass(frozen=True)
class Line:
    """A line, when it was written (nanoseconds), and in which cluster."""

    time: int
    text: str
    cluster: str

    @cached_property
    def fields(self) -> dict[str, Any]:
        """What the line says, and the labels that follow from it."""
        said = json.loads(self.text)
        ends = {"egress": said.get("source_namespace"), "ingress": said.get("destination_namespace")}
        other = said.get("source_namespace") or said.get("destination_namespace")
        namespace = ends.get(said["direction"], other)
        level = LEVELS.get(said["verdict"], "info")
        return {"weight": 1, **said, "cluster": self.cluster, "namespace": namespace, "level": level}

    def text_of(self, name: str) -> str:
        """A label or field as text."""
        value = self.fields.get(name)
        return "" if value is None else str(value)


def holds(wanted: Filter, line: Line) -> bool:
    """Does one label filter or matcher hold?"""
    match wanted:
        case Both(left, right):
            return holds(left, line) and holds(right, line)
        case Either(left, right):
            return holds(left, line) or holds(right, line)
        case Compare(name, op, value):
            known = line.fields.get(name)
            if known is None:
                return False
            return {
                Op.EQUAL: known == value,
                Op.UNEQUAL: known != value,
                Op.MORE: known > value,
                Op.AT_LEAST: known >= value,
                Op.LESS: known < value,
                Op.AT_MOST: known <= value,
            }[op]
        case Match(name, op, value):
            text = line.text_of(name)
            equal = text == value if op in (Op.EQUAL, Op.UNEQUAL) else re.fullmatch(value, text) is not None
            return equal == (op in (Op.EQUAL, Op.MATCHES))


def passes(wanted: LineFilter, line: Line) -> bool:
    """Does a line pass a line filter?"""
    expression = wanted.op in (LineOp.MATCHES, LineOp.MATCHES_NOT)
    found = [re.search(text, line.text) is not None if expression else text in line.text for text in wanted.texts]
    return any(found) == (wanted.op in (LineOp.HOLDS, LineOp.MATCHES))


def selected(wanted: Selection, lines: list[Line]) -> list[Line]:
    """The lines that are meant."""
    return [
        line
        for line in lines
        if all(holds(one, line) for one in (*wanted.matchers, *wanted.filters))
        and all(passes(one, line) for one in wanted.lines)
    ]


def sampled(
    wanted: Metric, lines: list[Line], moments: list[int], names: tuple[str, ...]
) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
    """The samples by labels and moment; no sample where no line is."""
    found: dict[tuple[tuple[str, str], ...], dict[int, float]] = defaultdict(dict)
    for moment in moments:
        sums: dict[tuple[tuple[str, str], ...], int] = defaultdict(int)
        for line in selected(wanted.selection, lines):
            if moment - wanted.range < line.time <= moment:
                group = tuple((name, line.text_of(name)) for name in names if line.text_of(name))
                sized = wanted.function in (Function.BYTES, Function.BYTES_RATE)
                sums[group] += len(line.text.encode()) if sized else 1
        seconds = wanted.range / 1e9 if wanted.function in (Function.RATE, Function.BYTES_RATE) else 1
        for group, amount in sums.items():
            found[group][moment] = amount / seconds
    return dict(found)
