"""The files that are checked, as documents with their lines, and what is to be ignored in them.

Files are read as the allowlist reads them: of a directory every `*.yaml`, `*.yml` and `*.json` in it.
A file that is no YAML is a finding like any other; one that cannot be read at all is an
`AllowlistError`. Nothing here knows what the documents mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flowwatch.errors import AllowlistError, Problem
from flowwatch.yamlmarks import Marked, load_documents
from flowwatch.yamlnodes import MAX_CHARACTERS

SUFFIXES = (".yaml", ".yml", ".json")
NOT_DECLARATIONS = (".md", ".markdown")
"""Tables in documents declare paths, not policies: there is nothing in them to check."""

_IGNORE = re.compile(r"(?:^|\s)#\s*flowwatch:\s*ignore\b(?P<names>[\s\w,-]*)")
_NAMES = re.compile(r"\s*([a-z][a-z0-9-]*)\s*(,|$|\s)")


@dataclass(frozen=True)
class Source:
    """One file: its lines, the documents in it, and what is wrong with it as YAML."""

    file: str
    lines: tuple[str, ...]
    documents: tuple[Marked, ...]
    problems: tuple[Problem, ...]

    @cached_property
    def asked(self) -> dict[int, tuple[str, ...]]:
        """The names of checks in comments that ask to ignore them, by the number of the line."""
        found = ((number, ignored_names(line)) for number, line in enumerate(self.lines, start=1))
        return {number: names for number, names in found if names is not None}

    @cached_property
    def ignores(self) -> dict[int, tuple[str, ...]]:
        """The names of checks to ignore by the line they are ignored on: that of the comment, or
        the next one that says anything where it stands alone."""
        found: dict[int, tuple[str, ...]] = {}
        for number, names in self.asked.items():
            lines = [number, self._next(number)] if _is_comment(self.lines[number - 1]) else [number]
            for line in lines:
                found[line] = (*found.get(line, ()), *names)
        return found

    def _next(self, number: int) -> int:
        """The next line that holds more than a comment."""
        number += 1
        while number <= len(self.lines) and (not self.lines[number - 1].strip() or _is_comment(self.lines[number - 1])):
            number += 1
        return number


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that was given, and how many files were left out because they declare no policies."""

    files: tuple[Source, ...]
    left_out: int = 0


def read(paths: Iterable[str | Path]) -> Sources:
    """Read files and directories. Raises AllowlistError naming every one that cannot be read."""
    problems: list[Problem] = []
    files: dict[Path, Path] = {}
    for path in map(Path, paths):
        files |= {resolved: found for resolved, found in _files_of(path, problems) if resolved not in files}
    declaring = [path for path in files.values() if path.suffix.lower() not in NOT_DECLARATIONS]
    sources = [_read_file(path, problems) for path in declaring]
    if problems:
        raise AllowlistError(problems)
    return Sources(tuple(source for source in sources if source is not None), len(files) - len(declaring))


def parse(text: str, file: str) -> Source:
    """The documents of a text; `file` is how findings name it."""
    loaded = load_documents(text, file)
    return Source(file, tuple(text.splitlines()), tuple(loaded.documents), tuple(loaded.problems))


def ignored_names(line: str) -> tuple[str, ...] | None:
    """The names after `# flowwatch: ignore`; None where the line holds no such comment. What follows
    the names may say why."""
    found = _IGNORE.search(line) if "flowwatch" in line else None
    if found is None:
        return None
    names: list[str] = []
    rest = found["names"]
    while match := _NAMES.match(rest):
        names.append(match[1])
        rest = rest[match.end() :]
        if match[2] != "," and not rest.lstrip().startswith(","):
            break
        rest = rest.lstrip().removeprefix(",")
    return tuple(names)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _files_of(path: Path, problems: list[Problem]) -> list[tuple[Path, Path]]:
    try:
        if not path.is_dir():
            return [(path.resolve(), path)]
        entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
        found = [(entry.resolve(), entry) for entry in entries if entry.suffix in SUFFIXES and entry.is_file()]
    except (OSError, ValueError) as error:
        problems.append(Problem(str(path), 0, "", f"cannot be read: {error}"))
        return []
    if not found:
        problems.append(Problem(str(path), 0, "", "no `*.yaml`, `*.yml` or `*.json` is in this directory"))
    return found


def _read_file(path: Path, problems: list[Problem]) -> Source | None:
    name = str(path)
    try:
        with path.open("rb") as file:
            # One byte more than the most a text of that many characters can take.
            content = file.read(4 * MAX_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.append(Problem(name, 0, "", f"cannot be read: {reason}"))
        return None
    try:
        return parse(content.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(name, line, "", f"byte {content[error.start]:#04x} is not UTF-8")
        return Source(name, (), (), (problem,))
