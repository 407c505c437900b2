"""YAML that remembers where everything was written.

`load_documents` turns text into `Marked` values: plain data, each with its line, its dotted
path and the line of text it stands on, so that whoever reads a file can point at the very
place that is wrong. It promises never to raise on anything a file may hold: what is not
YAML, a key written twice, a number nobody can read, nesting without end or an alias bomb
comes back as a `Problem`. It knows nothing of what the values mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from flowwatch.errors import Problem
from flowwatch.yamlnodes import KINDS, TAG_PREFIX, Fault, below, clip, compose, inspect, line_of, merged

__all__ = ["Documents", "Marked", "clip", "did_you_mean", "load_documents"]

_QUOTED = 200
"""How much of a line an error message quotes."""


@dataclass(slots=True)
class Documents:
    """What one file holds. `readable` is false where a document had to be left out, so that
    nobody complains about names which that document may well define."""

    documents: list[Marked] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    readable: bool = True


@dataclass(frozen=True, slots=True)
class _Text:
    """The file a node came from, and the values of its scalars."""

    file: str
    lines: tuple[str, ...]
    scalars: dict[int, object]

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def problem(self, line: int, path: str, message: str, hint: str) -> Problem:
        return Problem(self.file, line, path, message, self.line(line)[:_QUOTED].rstrip(), hint)


class Marked:
    """A value of a YAML document together with the place it was written at."""

    __slots__ = ("_node", "_text", "path")

    def __init__(self, text: _Text, node: Node, path: str) -> None:
        self._text = text
        self._node = node
        self.path = path
        """The dotted path from the document's root, such as `rules[3].ports[0]`; empty for the root."""

    @property
    def file(self) -> str:
        """The file as it was named to `load_documents`."""
        return self._text.file

    @property
    def line(self) -> int:
        """The line the value starts on, from 1."""
        return line_of(self._node)

    @property
    def column(self) -> int:
        """The column the value starts on, from 1."""
        return int(self._node.start_mark.column) + 1

    @property
    def source_line(self) -> str:
        """The whole line of the file the value starts on."""
        return self._text.line(self.line)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self._node, MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self._node, SequenceNode)

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single value; nothing at all (`key:`) counts as one."""
        return isinstance(self._node, ScalarNode)

    @property
    def is_null(self) -> bool:
        """Whether nothing was written, or `null`."""
        return self.is_scalar and self.kind == "nothing"

    @property
    def kind(self) -> str:
        """What sort of value it is, in words that fit after "not": `a list`, `text`, `nothing`."""
        if self.is_mapping:
            return "a mapping"
        if self.is_list:
            return "a list"
        return KINDS.get(self._node.tag.removeprefix(TAG_PREFIX), "text")

    @property
    def described(self) -> str:
        """The value for use in an error message: its kind, and its text where it has one."""
        text = clip(self.raw)
        return f"{self.kind} (`{text}`)" if text else self.kind

    @property
    def raw(self) -> str:
        """A scalar exactly as it was written, whatever YAML takes it for (`on`, `007`). Empty for
        anything else, and for `null` as for a key without a value."""
        return str(self._node.value) if self.is_scalar and not self.is_null else ""

    @property
    def value(self) -> object:
        """The value as plain Python data: dict, list, str, int, float, bool, date, datetime or None."""
        if self.is_mapping:
            return {key.raw: value.value for key, value in self.items()}
        if self.is_list:
            return [element.value for element in self.elements()]
        return self._text.scalars[id(self._node)]

    def items(self) -> list[tuple[Marked, Marked]]:
        """The keys and values of a mapping in the order written, `<<` resolved; empty for anything else."""
        if not isinstance(self._node, MappingNode):
            return []
        return [
            (self._at(key, below(self.path, name)), self._at(value, below(self.path, name)))
            for name, (key, value) in merged(self._node).items()
        ]

    def get(self, key: str) -> Marked | None:
        """The value of a key; None where it is missing or this is no mapping."""
        return next((value for name, value in self.items() if name.raw == key), None)

    def elements(self) -> list[Marked]:
        """The elements of a list; empty for anything else."""
        if not isinstance(self._node, SequenceNode):
            return []
        return [self._at(node, f"{self.path}[{index}]") for index, node in enumerate(self._node.value)]

    def problem(self, message: str, hint: str = "") -> Problem:
        """A problem at this very place."""
        return self._text.problem(self.line, self.path, message, hint)

    def fields(self, known: Collection[str], required: Iterable[str], problems: list[Problem]) -> dict[str, Marked]:
        """The values of a mapping's known keys. Unknown and missing keys are added to `problems`,
        and so is a value that is no mapping at all."""
        if not self.is_mapping:
            keys = ", ".join(f"`{key}`" for key in known)
            problems.append(self.problem(f"expected a mapping with {keys}, not {self.described}"))
            return {}
        found: dict[str, Marked] = {}
        for key, value in self.items():
            if key.raw in known:
                found[key.raw] = value
            else:
                hint = did_you_mean(key.raw, known) or f"known here: {', '.join(f'`{each}`' for each in known)}"
                problems.append(key.problem(f"unknown key `{clip(key.raw)}`", hint))
        problems.extend(self.problem(f"`{key}` is missing") for key in required if key not in found)
        return found

    def _at(self, node: Node, path: str) -> Marked:
        return Marked(self._text, node, path)


def load_documents(text: str, file: str) -> Documents:
    """Read every document of a YAML file. Documents that hold nothing at all are left out.

    `file` only names the file in problems. Never raises; see the module's promise.
    """
    loaded = Documents()
    lines = tuple(text.splitlines())
    for composed in compose(text):
        if isinstance(composed, Fault):
            _report(loaded, _Text(file, lines, {}), [composed])
            continue
        scalars, faults = inspect(composed)
        document = _Text(file, lines, scalars)
        _report(loaded, document, faults)
        root = Marked(document, composed, "")
        if not root.is_null and not any(fault.fatal for fault in faults):
            loaded.documents.append(root)
    return loaded


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the known words that look like `word`; empty where none does."""
    word = word[:100]
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    alike = [difflib.SequenceMatcher(None, candidate, word).ratio() for candidate in close]
    offered = [f"`{candidate}`" for candidate, ratio in zip(close, alike, strict=True) if ratio > alike[0] - 0.1]
    return f"did you mean {' or '.join(offered)}?" if offered else ""


def _report(loaded: Documents, text: _Text, faults: list[Fault]) -> None:
    for fault in faults:
        loaded.problems.append(text.problem(fault.line, fault.path, fault.message, fault.hint))
        loaded.readable = loaded.readable and not fault.fatal
