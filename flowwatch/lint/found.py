"""What a check finds: one place, one sentence, and what to do about it.

Checks themselves yield `Problem`s, the same values every other reader of files reports; here they
get the name and the severity of the check that found them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flowwatch.errors import Problem
from flowwatch.words import Json


class Severity(StrEnum):
    """How bad it is: `error` is rejected by the cluster or can never work, `warning` does something
    else than most likely meant, `info` is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding. `thing` is the object it is in, as `kind namespace/name`; empty where it is in none."""

    check: str
    severity: Severity
    problem: Problem
    thing: str = ""

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """By file and line, the worst first."""
        place = self.problem
        return (place.file, place.line, self.severity.rank, self.check, place.field)

    def json(self) -> dict[str, Json]:
        """The finding for programs; `line` is 0 where no line can be named."""
        place = self.problem
        return {
            "check": self.check,
            "severity": str(self.severity),
            "file": place.file,
            "line": place.line,
            "field": place.field,
            "object": self.thing,
            "text": place.text,
            "message": place.message,
            "hint": place.hint,
        }
