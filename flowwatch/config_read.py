"""From a file's text and the environment to values by key, and everything that is wrong.

It reads any set of keys and never stops at the first mistake: every problem is found, with
the line it is on, what was expected and the key that was probably meant. It does not know
what the keys are for; relations between keys are checked by whoever declares them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowwatch.config_keys import PREFIX, Key, build, entry_keys
from flowwatch.config_values import Kind, UnreadableValue, closest, mask, quote
from flowwatch.errors import Problem
from flowwatch.yamlmarks import Marked, load_documents

LARGEST_FILE = 256 * 1024
"""Bytes of a configuration file; anything larger is some other file."""

CONFIG_VARIABLE = PREFIX + "CONFIG"
"""Names the configuration file itself, where the command line does not."""

_ENVIRONMENT = "environment"
# What Kubernetes sets in every pod of a namespace that has a Service called flowwatch or flowwatch-…
_SERVICE_LINK = re.compile(
    r"FLOWWATCH_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written. `line` is 0 and `text` empty outside files."""

    file: str
    line: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(slots=True)
class Reading:
    """What was found so far: values, where each was written, and all problems."""

    values: dict[tuple[str, ...], Any] = field(default_factory=dict)
    """By attribute names from the root."""
    origins: dict[str, Origin] = field(default_factory=dict)
    """By dotted name."""
    problems: list[Problem] = field(default_factory=list)

    def accept(self, key: Key, value: Any, origin: Origin) -> None:
        """Take a value; a later one for the same key replaces it."""
        self.values[key.attributes] = value
        self.origins[key.name] = origin


def read_file(path: Path, keys: Sequence[Key], reading: Reading) -> None:
    """Add what a YAML file says; its relative paths are relative to the file's directory."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        reading.problems.append(Problem(str(path), 0, "", f"cannot be read: {error.strerror or error}"))
        return
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        reading.problems.append(Problem(str(path), line, "", "is not UTF-8 text"))
        return
    if len(content) > LARGEST_FILE:
        reading.problems.append(Problem(str(path), 0, "", f"is larger than {LARGEST_FILE // 1024} KiB"))
        return
    loaded = load_documents(text, str(path))
    problems = list(loaded.problems)
    if loaded.documents:
        _FileReader(path.parent, keys, reading, problems).read(loaded.documents[0])
    problems += [document.problem("a second document: the configuration is one") for document in loaded.documents[1:]]
    reading.problems += [_masked(problem) for problem in problems]


def read_environment(env: Mapping[str, str], keys: Sequence[Key], reading: Reading) -> None:
    """Add what the environment says: one variable per key, lists as `a,b`, maps as `k=v,k=v`,
    lists of sections as YAML.

    Relative paths stay as they are. Variables that Kubernetes sets for Services are not ours.
    """
    known = {key.variable: key for key in keys}
    for variable, text in sorted(env.items()):
        if not variable.startswith(PREFIX):
            continue
        if variable in known:
            _read_variable(known[variable], variable, text, reading)
        elif variable != CONFIG_VARIABLE and not _SERVICE_LINK.fullmatch(variable):
            near = closest(variable, [*known, CONFIG_VARIABLE])
            hint = f"did you mean {near}?" if near else ""
            reading.problems.append(Problem(_ENVIRONMENT, 0, variable, "unknown variable", hint=hint))


class _FileReader:
    """Walks a document beside the keys it may hold."""

    def __init__(self, directory: Path, keys: Sequence[Key], reading: Reading, problems: list[Problem]) -> None:
        self._directory = directory
        self._keys = {key.path: key for key in keys}
        self._reading = reading
        self._problems = problems

    def read(self, root: Marked) -> None:
        self._section(root, ())

    def entries(self, key: Key, root: Marked) -> None:
        self._value(key, root)

    def _section(self, section: Marked, above: tuple[str, ...]) -> None:
        if section.is_null:
            return
        names = list(dict.fromkeys(path[len(above)] for path in self._keys if path[: len(above)] == above))
        if not section.is_mapping:
            keys = ", ".join(names)
            self._problems.append(section.problem(f"is {section.kind}", f"expected the keys {keys}"))
        for name, value in section.items():
            path = (*above, name.raw)
            if path in self._keys:
                self._value(self._keys[path], value)
            elif name.raw in names:
                self._section(value, path)
            else:
                self._problems.append(name.problem("unknown key", self._meant(path, names)))

    def _value(self, key: Key, place: Marked) -> None:
        before = len(self._problems)
        value: Any
        if key.names is not None:
            value = self._map(key, key.names, place)
        elif key.entry is not None:
            value = self._entries(key, key.entry, place)
        elif key.repeated:
            value = self._list(key, place)
        else:
            value = self._scalar(key.kind, place)
        if len(self._problems) == before:
            self._reading.accept(key, value, Origin(place.file, place.line, mask(place.source_line)))

    def _list(self, key: Key, place: Marked) -> tuple[Any, ...]:
        if place.is_list:
            return tuple(self._scalar(key.kind, element) for element in place.elements())
        if place.is_scalar:
            return (self._scalar(key.kind, place),)
        self._problems.append(place.problem("is not a list", f"expected a list; each item is {key.kind.expected}"))
        return ()

    def _entries(self, key: Key, entry: type, place: Marked) -> tuple[Any, ...]:
        keys = entry_keys(entry)
        if not place.is_list:
            known = ", ".join(dict.fromkeys(each.path[0] for each in keys))
            self._problems.append(place.problem("is not a list", f"expected a list of mappings with the keys {known}"))
        return tuple(
            self._entry(f"{key.name}[{index}]", entry, keys, element) for index, element in enumerate(place.elements())
        )

    def _entry(self, name: str, entry: type, keys: Sequence[Key], place: Marked) -> Any:
        inner = Reading()
        if place.is_null:
            self._problems.append(place.problem("has no value", "expected a mapping"))
        _FileReader(self._directory, keys, inner, self._problems).read(place)
        self._reading.origins |= {f"{name}.{below}": origin for below, origin in inner.origins.items()}
        return build(entry, inner.values)

    def _map(self, key: Key, names: Kind, place: Marked) -> dict[str, Any]:
        if place.is_mapping:
            return {self._scalar(names, name): self._scalar(key.kind, value) for name, value in place.items()}
        hint = f"expected a mapping from {names.expected} to {key.kind.expected}"
        self._problems.append(place.problem("is not a mapping", hint))
        return {}

    def _scalar(self, kind: Kind, place: Marked) -> Any:
        if not place.is_scalar:
            self._problems.append(place.problem(f"is {place.kind}", f"expected {kind.expected}"))
        elif place.is_null:
            hint = f"expected {kind.expected}; for the default, leave the key out"
            self._problems.append(place.problem("has no value", hint))
        else:
            # As it was written: what YAML makes of `on`, `1:30` or `007` is never what was meant.
            try:
                value = kind.parse(place.raw)
            except UnreadableValue as error:
                self._problems.append(place.problem(str(error), _expected(kind, error)))
            else:
                # An absolute path stays what it is when joined to a directory.
                return self._directory / value if isinstance(value, Path) else value
        return None

    def _meant(self, path: tuple[str, ...], siblings: list[str]) -> str:
        word, dotted = path[-1], ".".join(path)
        everywhere = [".".join(known) for known in self._keys]
        if dotted in everywhere:
            return f"write it nested: {': {'.join(dotted.split('.'))}: …{'}' * dotted.count('.')}"
        elsewhere = [name for name in everywhere if name.split(".")[-1] == word]
        if near := elsewhere[0] if elsewhere else closest(word.lower(), siblings) or closest(dotted, everywhere):
            return f"did you mean {near}?"
        return f"known here: {', '.join(siblings)}"


def _read_variable(key: Key, variable: str, text: str, reading: Reading) -> None:
    origin = Origin(f"{_ENVIRONMENT}: {variable}")
    if key.entry is not None:
        _read_entries(key, origin, text, reading)
        return
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    try:
        if key.names is not None:
            value: Any = dict(_read_pair(key, key.names, part) for part in parts)
        elif key.repeated:
            value = tuple(key.kind.parse(part) for part in parts)
        else:
            value = key.kind.parse(text)
    except UnreadableValue as error:
        reading.problems.append(Problem(origin.file, 0, key.name, str(error), hint=_expected(key.kind, error)))
    else:
        reading.accept(key, value, origin)


def _read_entries(key: Key, origin: Origin, text: str, reading: Reading) -> None:
    """Sections do not fit on one line in any other way: the variable holds what would stand in the file."""
    loaded = load_documents(text, origin.file)
    problems = list(loaded.problems)
    if loaded.documents:
        _FileReader(Path(), [key], reading, problems).entries(key, loaded.documents[0])
    elif not problems:
        reading.accept(key, (), origin)
    problems += [document.problem("a second document: the list is one") for document in loaded.documents[1:]]
    reading.problems += [
        _masked(dataclasses.replace(problem, field=f"{key.name}{problem.field}")) for problem in problems
    ]


def _read_pair(key: Key, names: Kind, text: str) -> tuple[Any, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UnreadableValue(f"{quote(text)} is not name=value")
    return names.parse(name.strip()), key.kind.parse(value.strip())


def _expected(kind: Kind, error: UnreadableValue) -> str:
    return f"expected {kind.expected}" + (f"; {error.hint}" if error.hint else "")


def _masked(problem: Problem) -> Problem:
    return dataclasses.replace(
        problem, field=quote(problem.field)[1:-1], message=mask(problem.message), text=mask(problem.text)
    )
