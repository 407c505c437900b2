"""Two ways to make choices: fast ones by seed, and shrinkable ones by hypothesis.

A generator that only ever asks a `Dice` can be run both ways. Dice also remember which constructs they produced.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from tests.support.policy_constructs import CONSTRUCTS

T = TypeVar("T")


class Draw(Protocol):
    """What hypothesis hands to a composite strategy."""

    def __call__(self, strategy: Any) -> Any: ...


class Dice:
    """Choices of a generator; `marks` are the names of the constructs it produced."""

    def __init__(self) -> None:
        self.marks: set[str] = set()

    def below(self, bound: int) -> int:
        """A number from 0 to bound - 1."""
        raise NotImplementedError

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; the first is the simplest."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases; False is the simplest."""
        return self.below(100) >= 100 - percent

    def some(self, options: Sequence[T], low: int, high: int) -> list[T]:
        """So many different options, in any order."""
        left = list(options)
        count = min(len(left), low + self.below(high - low + 1))
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def mark(self, name: str) -> None:
        """Remember that this construct was produced; its name has to be a known one."""
        if name not in CONSTRUCTS:
            raise KeyError(name)
        self.marks.add(name)


class RandomDice(Dice):
    """Choices by a seeded generator."""

    def __init__(self, seed: Any) -> None:
        super().__init__()
        self.rng = Random(seed)

    def below(self, bound: int) -> int:
        """A number from 0 to bound - 1."""
        return int(self.rng.random() * bound)


class HypothesisDice(Dice):
    """Choices that hypothesis can shrink."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw = draw

    def below(self, bound: int) -> int:
        """A number from 0 to bound - 1, shrinking towards 0."""
        return int(self.draw(st.integers(0, bound - 1)))
