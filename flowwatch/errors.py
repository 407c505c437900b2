"""What can go wrong, in the reader's own words.

Every error a user can cause carries `Problem`s: where it is (file, line, field), the text
that is wrong, and what was expected. The command line prints them and exits 2.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one place of a file the user wrote.

    `line` counts from 1 and is 0 where no line can be named (an environment variable, a
    missing file). `field` is a dotted path such as `rules[3].ports`.
    """

    file: str
    line: int
    field: str
    message: str
    text: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        head = f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        quoted = f"\n    {self.line:>4} | {self.text.strip()}" if self.text.strip() and self.line else ""
        return head + quoted + (f"\n    {self.hint}" if self.hint else "")


class FlowwatchError(Exception):
    """Anything flowwatch reports to its user as an error rather than as a traceback."""


class ProblemsError(FlowwatchError):
    """A file of the user's holds one or more problems; all of them are reported at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ConfigError(ProblemsError):
    """The configuration cannot be used as written."""


class AllowlistError(ProblemsError):
    """The allowlist cannot be used as written."""


class SourceError(FlowwatchError):
    """A source of flows (a server, a capture file) cannot be read."""


class ClusterError(FlowwatchError):
    """The API server of the cluster cannot be asked, or does not answer what was asked."""


class StoreError(FlowwatchError):
    """The database file cannot be opened, read or written."""


class DamagedError(StoreError):
    """The database file is not as it was written: nothing but another file will help."""


class UnwritableError(StoreError):
    """The database file is in order, but the disk or the file system refuses; it may not for ever."""


class QueryError(FlowwatchError):
    """A named query does not exist, lacks a parameter or failed."""


class QueryTimeoutError(QueryError):
    """A query took longer than it may."""
