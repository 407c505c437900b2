"""From counts in equal slices of time to the samples of a metric query.

A sample at a moment is about the lines of the range that ends there: later than its beginning, up to
and including its end. Slices are as long as the greatest length that divides both range and step, so
that every range is a whole number of them and the counts are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowwatch.logql.syntax import Function, Metric

Group = tuple[str, ...]
Ints = npt.NDArray[np.int64]
Samples = dict[Group, list[tuple[int, float]]]
"""By group, (moment in nanoseconds, value) in the order of time; moments without lines have no sample."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The moments asked about, in nanoseconds: `start`, `start + step`, … up to `end`."""

    start: int
    end: int
    step: int

    @property
    def count(self) -> int:
        """How many there are."""
        return (self.end - self.start) // self.step + 1

    @classmethod
    def once(cls, moment: int) -> Steps:
        """A single moment."""
        return cls(moment, moment, 1)


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices to count in, in nanoseconds: slice 1 begins after `base` and is `width` long."""

    base: int
    width: int
    end: int

    @property
    def count(self) -> int:
        """How many there are."""
        return -(-(self.end - self.base) // self.width)


def slices(metric: Metric, steps: Steps) -> Slices:
    """The slices that the samples at these moments are made of."""
    width = math.gcd(metric.range, steps.step) if steps.count > 1 else metric.range
    last = steps.start + (steps.count - 1) * steps.step
    return Slices(steps.start - metric.range, width, last)


def samples(metric: Metric, steps: Steps, counted: Mapping[Group, tuple[Ints, Ints]]) -> Samples:
    """The samples of a query from what was counted: by group, the numbers of slices (rising) and the lines
    or bytes in each."""
    width = slices(metric, steps).width
    at = np.arange(steps.count, dtype=np.int64)
    # Slice n is the last of the range that ends with it; a range has so many slices.
    last = at * (steps.step // width if steps.count > 1 else 0) + metric.range // width
    first = last - metric.range // width
    seconds = metric.range / 1e9 if metric.function in (Function.RATE, Function.BYTES_RATE) else 1.0
    found: Samples = {}
    for group, (numbers, amounts) in counted.items():
        sums = np.concatenate([[0], np.cumsum(amounts)])
        values = sums[np.searchsorted(numbers, last, "right")] - sums[np.searchsorted(numbers, first, "right")]
        some = np.flatnonzero(values)
        moments = (steps.start + some * steps.step).tolist()
        found[group] = list(zip(moments, (values[some] / seconds).tolist(), strict=True))
    return _ranked(metric, found)


def _ranked(metric: Metric, found: Samples) -> Samples:
    """Keep at each moment the greatest (or least) groups; of equals, the first by name."""
    most = metric.top or metric.bottom
    if not most:
        return {group: points for group, points in found.items() if points}
    by_moment: dict[int, list[tuple[float, Group]]] = {}
    for group, points in found.items():
        for moment, value in points:
            by_moment.setdefault(moment, []).append((-value if metric.top else value, group))
    kept = {(moment, group) for moment, several in by_moment.items() for _, group in sorted(several)[:most]}
    left = {group: [point for point in points if (point[0], group) in kept] for group, points in found.items()}
    return {group: points for group, points in left.items() if points}
