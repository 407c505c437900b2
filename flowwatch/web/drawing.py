"""What the page draws, as numbers: the square over time, coverage minute by minute, namespaces by namespaces.

Pure. Everything drawn is also said in words, for those who cannot see it or not its colours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flowwatch.listing import place_of
from flowwatch.model import Square
from flowwatch.words import age, number, plural

STEPS = 60
"""Bars or cells in a row."""
HEIGHT = 36
STRIPS = (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED, Square.EXPECTED)
GRAVITY = (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED, Square.UNKNOWN, "audited", Square.EXPECTED, "ungoverned")
"""What a namespace pair is coloured by: the first of these that any of its edges is in."""
MARKS: Mapping[str, str] = {"unexpected": "!", "blocked": "×", "denied": "–", "unknown": "?", "audited": "~"}
MOST_PLACES = 40


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a strip: where it stands, how high it is, and what it says."""

    x: int
    height: float
    says: str


@dataclass(frozen=True, slots=True)
class Strip:
    """How many edges were in one square over time, on a scale of its own."""

    square: str
    most: int
    bars: tuple[Bar, ...]

    @property
    def says(self) -> str:
        """The strip in words."""
        seen = sum(bar.height > 0 for bar in self.bars)
        if not seen:
            return f"{self.square}: none"
        return f"{self.square}: seen in {seen} of {STEPS} spans, at most {plural(self.most, 'edge')} in one"


def strips(records: Iterable[Mapping[str, Any]], since: datetime, seconds: int) -> tuple[Strip, ...]:
    """The square over time from rows of `square_over_time`, `STEPS` spans of `seconds` from `since` on."""
    counts: Counter[tuple[str, int]] = Counter()
    for record in records:
        step = int((record["start"] - since).total_seconds() // seconds)
        if 0 <= step < STEPS:
            counts[record["square"], step] += record["edges"]
    return tuple(_strip(str(square), counts, since, seconds) for square in STRIPS)


def _strip(square: str, counts: Counter[tuple[str, int]], since: datetime, seconds: int) -> Strip:
    most = max((counts[square, step] for step in range(STEPS)), default=0)
    bars = []
    for step in range(STEPS):
        edges = counts[square, step]
        start = since + timedelta(seconds=step * seconds)
        says = f"{start:%Y-%m-%d %H:%M}: {plural(edges, 'edge')} {square}"
        # What is there at all is at least a pixel or two.
        bars.append(Bar(step, max(HEIGHT * edges / most, 2.0) if edges else 0.0, says))
    return Strip(square, most, tuple(bars))


@dataclass(frozen=True, slots=True)
class Cell:
    """One span of one node: `whole`, `lossy`, `silent`, or `unheard` where nothing was recorded."""

    x: int
    state: str
    says: str


@dataclass(frozen=True, slots=True)
class NodeStrip:
    """What was seen of one node over time."""

    node: str
    cells: tuple[Cell, ...]
    flows: int
    lost: int

    @property
    def says(self) -> str:
        """The strip in words."""
        states = Counter(cell.state for cell in self.cells)
        words = {
            "whole": "watched whole",
            "lossy": "lost events",
            "silent": "not seen in part",
            "unheard": "not expected",
        }
        return ", ".join(f"{states[state]} of {STEPS} {words[state]}" for state in words if states[state])

    @property
    def worst(self) -> tuple[int, int]:
        """How badly it was watched, for sorting: spans that were not whole, then events lost."""
        return sum(cell.state in ("silent", "lossy") for cell in self.cells), self.lost


def node_strips(
    records: Iterable[Mapping[str, Any]], since: datetime, seconds: int, nodes: Iterable[str] = ()
) -> list[NodeStrip]:
    """Coverage by node from rows of `coverage_spans`, the worst watched first; `nodes` are there in any case."""
    minutes: dict[str, dict[int, list[Mapping[str, Any]]]] = {node: {} for node in nodes}
    for record in records:
        step = int((record["minute"] - since).total_seconds() // seconds)
        if 0 <= step < STEPS:
            minutes.setdefault(named(record["cluster"], record["node"]), {}).setdefault(step, []).append(record)
    strips = [_node_strip(node, found, since, seconds) for node, found in sorted(minutes.items())]
    return sorted(strips, key=lambda strip: strip.worst, reverse=True)


def named(cluster: str, node: str) -> str:
    """A node by its own name, which often begins with its cluster's."""
    return node if "/" in node or cluster == "default" else f"{cluster}/{node}"


def _node_strip(
    node: str, minutes: Mapping[int, Sequence[Mapping[str, Any]]], since: datetime, seconds: int
) -> NodeStrip:
    cells = []
    for step in range(STEPS):
        found = minutes.get(step, ())
        flows, lost = sum(minute["flows"] for minute in found), sum(minute["lost"] for minute in found)
        missing = sum(minute["expected"] - minute["covered"] for minute in found)
        silent = missing > max(1.0, 0.01 * seconds)
        state = "unheard" if not found else "silent" if silent else "lossy" if lost else "whole"
        told = {
            "unheard": "not expected",
            "silent": f"{age(missing)} not seen, {number(flows)} flows seen",
            "lossy": f"{number(lost)} events lost, {number(flows)} flows seen",
            "whole": f"{number(flows)} flows seen, none lost",
        }[state]
        start = since + timedelta(seconds=step * seconds)
        cells.append(Cell(step, state, f"{start:%Y-%m-%d %H:%M}: {told}"))
    every = [minute for found in minutes.values() for minute in found]
    return NodeStrip(node, tuple(cells), sum(m["flows"] for m in every), sum(m["lost"] for m in every))


@dataclass(frozen=True, slots=True)
class Pair:
    """The edges from one namespace to another."""

    source: str
    destination: str
    squares: Mapping[str, int]

    @property
    def gravest(self) -> str:
        """The gravest square that any of them is in; empty where there is none."""
        return next((str(square) for square in GRAVITY if self.squares.get(str(square))), "")

    @property
    def shown(self) -> str:
        """What the cell shows: how many are in the gravest square, with its mark."""
        return f"{number(self.squares[self.gravest])}{MARKS.get(self.gravest, '')}" if self.gravest else ""

    @property
    def says(self) -> str:
        """The cell in words."""
        told = [f"{number(self.squares[str(square)])} {square}" for square in GRAVITY if self.squares.get(str(square))]
        return f"{self.source} to {self.destination}: {', '.join(told) or 'no edges'}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Who talks to whom: a row for each namespace that calls, a column for each that is called."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    rows: tuple[tuple[Pair, ...], ...]
    left_out: int
    """Namespaces that have no room."""


def matrix(edges: Iterable[Mapping[str, object]]) -> Matrix:
    """The matrix of some edges (rows of the named query `edges`); of very many namespaces, those with most edges
    that are not expected, then with most edges."""
    squares: dict[tuple[str, str], Counter[str]] = {}
    weights: Counter[str] = Counter()
    for edge in edges:
        pair = place_of(str(edge["source"])), place_of(str(edge["destination"]))
        square = str(edge["square"])
        squares.setdefault(pair, Counter())[square] += 1
        for place in pair:
            weights[place] += 1 if square == Square.EXPECTED else 1000
    kept = {place for place, _ in weights.most_common(MOST_PLACES)}
    sources = tuple(sorted({source for source, _ in squares} & kept))
    destinations = tuple(sorted({destination for _, destination in squares} & kept))
    rows = tuple(
        tuple(Pair(source, destination, squares.get((source, destination), {})) for destination in destinations)
        for source in sources
    )
    return Matrix(sources, destinations, rows, len(weights) - len(kept))
