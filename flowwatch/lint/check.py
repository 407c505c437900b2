"""What a check is: a name that stays, how bad its findings are, what it goes by, and a function.

The function yields a `Problem` for every place; it sees the whole context and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from flowwatch.errors import Problem
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity


class Needs(StrEnum):
    """What a check cannot do without."""

    FILES = "files"
    OBSERVED = "observed"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `says` is what it goes by, in one sentence; `rejects` where what it finds keeps the
    whole object from having any effect."""

    name: str
    severity: Severity
    says: str
    run: Callable[[Context], Iterator[Problem]]
    needs: Needs = Needs.FILES
    rejects: bool = False
