"""What Loki's clients expect to be told: streams of lines, series of samples, as JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from flowwatch.logql.evaluate import Samples
from flowwatch.words import Json

Labels = tuple[tuple[str, str], ...]
"""The labels of a stream or series; those that are empty are left out."""


def labelled(names: Sequence[str], values: Iterable[str]) -> Labels:
    """Labels from their names and values."""
    return tuple((name, value) for name, value in zip(names, values, strict=True) if value)


def streams(lines: Iterable[tuple[Labels, int, str]]) -> dict[str, Json]:
    """Lines as (labels, nanoseconds, line), each stream with its own in the order given."""
    found: dict[Labels, list[Json]] = {}
    for labels, moment, line in lines:
        found.setdefault(labels, []).append([str(moment), line])
    return _data("streams", [{"stream": _object(labels), "values": values} for labels, values in found.items()])


def matrix(names: Sequence[str], samples: Samples) -> dict[str, Json]:
    """The answer to a metric query over a time."""
    return _data(
        "matrix",
        [
            {"metric": _object(labelled(names, group)), "values": [_point(*point) for point in points]}
            for group, points in sorted(samples.items())
        ],
    )


def vector(names: Sequence[str], samples: Samples) -> dict[str, Json]:
    """The answer to a metric query at one moment, the greatest value first."""
    newest = sorted(((group, points[-1]) for group, points in samples.items()), key=lambda one: (-one[1][1], one[0]))
    return _data(
        "vector",
        [{"metric": _object(labelled(names, group)), "value": _point(*point)} for group, point in newest],
    )


def success(data: Json) -> dict[str, Json]:
    """Any other answer."""
    return {"status": "success", "data": data}


def _data(kind: str, result: list[Json]) -> dict[str, Json]:
    return success({"resultType": kind, "result": result, "stats": {}})


def _object(labels: Labels) -> dict[str, Json]:
    return dict(labels)


def _point(moment: int, value: float) -> list[Json]:
    seconds = moment // 10**9 if moment % 10**9 == 0 else moment / 1e9
    # Never with an exponent: it is read by people as well.
    return [seconds, f"{Decimal(repr(value)).normalize():f}"]
