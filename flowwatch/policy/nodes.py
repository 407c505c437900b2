"""Values of a document, wherever it came from: the one shape that policies are read from.

Documents of files are `Marked` values with their lines; documents inside other JSON are wrapped by `Plain`, which
looks the same and costs nothing. Neither knows what the values mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol as Interface

from flowwatch.errors import Problem
from flowwatch.yamlmarks import clip


class Node(Interface):
    """A value together with the place it was written at."""

    @property
    def path(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def is_mapping(self) -> bool: ...
    @property
    def is_list(self) -> bool: ...
    @property
    def is_null(self) -> bool: ...
    @property
    def described(self) -> str: ...
    @property
    def raw(self) -> str: ...
    @property
    def value(self) -> object: ...
    def items(self) -> Sequence[tuple[Node, Node]]: ...
    def elements(self) -> Sequence[Node]: ...
    def get(self, key: str) -> Node | None: ...
    def problem(self, message: str, hint: str = "") -> Problem: ...


class Plain:
    """A value of plain data: what `json.loads` gives."""

    __slots__ = ("file", "line", "path", "value")

    def __init__(self, value: object, file: str, line: int = 0, path: str = "") -> None:
        self.value = value
        self.file = file
        self.line = line
        self.path = path

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.value, list)

    @property
    def is_null(self) -> bool:
        """Whether it is `null`."""
        return self.value is None

    @property
    def described(self) -> str:
        """The value for use in an error message."""
        value = self.value
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, list):
            return "a list"
        if value is None:
            return "nothing"
        kind = "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "a number"
        return f"{kind} (`{clip(str(value))}`)"

    @property
    def raw(self) -> str:
        """A single value as text; empty for anything else."""
        return "" if isinstance(self.value, (dict, list)) or self.value is None else str(self.value)

    def items(self) -> list[tuple[Plain, Plain]]:
        """The keys and values of a mapping; empty for anything else."""
        if not isinstance(self.value, dict):
            return []
        return [
            (Plain(str(key), self.file, self.line, at), Plain(value, self.file, self.line, at))
            for key, value in self.value.items()
            for at in (f"{self.path}.{key}" if self.path else str(key),)
        ]

    def elements(self) -> list[Plain]:
        """The elements of a list; empty for anything else."""
        if not isinstance(self.value, list):
            return []
        return [Plain(one, self.file, self.line, f"{self.path}[{at}]") for at, one in enumerate(self.value)]

    def get(self, key: str) -> Plain | None:
        """The value of a key; None where it is missing or this is no mapping."""
        if not isinstance(self.value, dict) or key not in self.value:
            return None
        return Plain(self.value[key], self.file, self.line, f"{self.path}.{key}" if self.path else key)

    def problem(self, message: str, hint: str = "") -> Problem:
        """A problem at this very place."""
        return Problem(self.file, self.line, self.path, message, "", hint)
