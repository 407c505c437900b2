"""From YAML text to checked nodes: the part of reading YAML that deals with hostile input.

`compose` turns text into node graphs and gives up early on what no file in earnest holds;
`inspect` looks at every node of a graph once and says what is wrong with it. Neither ever
raises on anything a text may hold, and neither knows what the values mean. Everyone else
reads YAML through `yamlmarks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

MAX_CHARACTERS = 1_000_000
"""How long one file may be."""
MAX_DEPTH = 32
"""How deep mappings and lists may nest. Nothing flowwatch reads needs a quarter of it."""
MAX_VALUES = 100_000
"""How many values one file may hold, and one document once its aliases are written out."""

TAG_PREFIX = "tag:yaml.org,2002:"
KINDS = {"null": "nothing", "bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}
"""What YAML takes a plain scalar for, by tag, in words that fit after "not"."""

_MERGE = TAG_PREFIX + "merge"
_SCALAR_TAGS = frozenset(TAG_PREFIX + name for name in ("str", *KINDS))
_TOO_DEEP = f"lists and mappings are nested deeper than {MAX_DEPTH} levels"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
# What PyYAML's constructors are known to raise on text that only looks like their type.
_UNREADABLE = (ValueError, OverflowError, KeyError, IndexError, AttributeError, TypeError, yaml.YAMLError)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the YAML itself. `fatal`: the document cannot be used at all."""

    line: int
    path: str
    message: str
    hint: str = ""
    fatal: bool = False


def below(path: str, key: str) -> str:
    """The path of a key's value: `rules.reason`, or `labels["k8s-app.io/x"]` where a dot would mislead."""
    if not _PLAIN_KEY.fullmatch(key):
        return f'{path}["{clip(key)}"]'
    return f"{path}.{key}" if path else key


def clip(text: str, length: int = 60) -> str:
    """The text in one line and short enough for an error message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def line_of(node: Node) -> int:
    """The line a node starts on, from 1."""
    return int(node.start_mark.line) + 1


def compose(text: str) -> Iterator[Node | Fault]:
    """Yield the root of every document; a `Fault` ends the text, for nothing after it can be read."""
    if len(text) > MAX_CHARACTERS:
        yield Fault(0, "", f"the file is longer than {MAX_CHARACTERS} characters", "split it into several", fatal=True)
        return
    try:
        yield from yaml.compose_all(text, Loader=_Loader)
    except _TooMuchError as error:
        yield Fault(error.line, "", str(error), fatal=True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.problem, error.context) if part)
        hint = "indent with spaces, not with tabs" if "'\\t'" in what else ""
        yield Fault(
            int(mark.line) + 1 if mark else 0, "", f"this is not valid YAML: {clip(what, 160)}", hint, fatal=True
        )
    except ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        character = f"U+{ord(error.character):04X}" if isinstance(error.character, str) else f"U+{error.character:04X}"
        yield Fault(line, "", f"this is not valid YAML: the character {character} is not allowed", fatal=True)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        yield Fault(0, "", f"this is not valid YAML: {clip(str(error), 160)}", fatal=True)


def inspect(root: Node) -> tuple[dict[int, object], list[Fault]]:
    """The value of every scalar by the `id` of its node, and everything wrong in the document."""
    inspection = _Inspection()
    size, _ = inspection.visit(root, "", 1)
    if size > MAX_VALUES:
        message = f"the document holds more than {MAX_VALUES} values once its aliases are written out"
        inspection.faults.append(Fault(line_of(root), "", message, fatal=True))
    return inspection.scalars, inspection.faults


def merged(mapping: MappingNode) -> dict[str, tuple[ScalarNode, Node]]:
    """Keys and values with `<<` resolved: a key of the mapping itself wins over a merged one,
    an earlier merged mapping over a later one. Keys that are no scalars are left out."""
    pairs: dict[str, tuple[ScalarNode, Node]] = {}
    merges: list[Node] = []
    for key, value in mapping.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.tag == _MERGE:
            merges.extend(value.value if isinstance(value, SequenceNode) else [value])
        else:
            pairs.setdefault(str(key.value), (key, value))
    for other in merges:
        if isinstance(other, MappingNode):
            for name, pair in merged(other).items():
                pairs.setdefault(name, pair)
    return pairs


class _TooMuchError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Gives up on nesting and length before they cost time."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self._depth += 1
        self._values += 1
        if self._depth > MAX_DEPTH:
            raise _TooMuchError(self.line + 1, _TOO_DEEP)
        if self._values > MAX_VALUES:
            raise _TooMuchError(self.line + 1, f"the file holds more than {MAX_VALUES} values")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Inspection:
    """Looks at every node once, however often aliases repeat it."""

    def __init__(self) -> None:
        self.scalars: dict[int, object] = {}
        self.faults: list[Fault] = []
        self._constructor = SafeConstructor()
        self._measured: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def visit(self, node: Node, path: str, depth: int) -> tuple[int, int]:
        """How many values the node holds with aliases written out, and how many levels of nesting."""
        if id(node) in self._open:
            self._fault(node, path, "an alias refers to the very value it is part of", fatal=True)
            return 1, 1
        if id(node) not in self._measured:
            self._open.add(id(node))
            children = [self.visit(child, at, depth + 1) for child, at in self._children(node, path)]
            self._open.discard(id(node))
            self._measured[id(node)] = (
                1 + sum(size for size, _ in children),
                1 + max((height for _, height in children), default=0),
            )
        size, height = self._measured[id(node)]
        # Composing bounds what is written; only aliases can make a document deeper than that.
        if depth + height - 1 > MAX_DEPTH and not any(fault.fatal for fault in self.faults):
            self._fault(node, path, _TOO_DEEP, fatal=True)
        return size, height

    def _children(self, node: Node, path: str) -> Iterator[tuple[Node, str]]:
        if isinstance(node, MappingNode):
            self._collection_tag(node, path, "map")
            yield from self._mapping(node, path)
        elif isinstance(node, SequenceNode):
            self._collection_tag(node, path, "seq")
            for index, child in enumerate(node.value):
                yield child, f"{path}[{index}]"
        else:
            self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: str) -> Iterator[tuple[Node, str]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._fault(key, path, "expected plain text as the key, not a list or mapping")
                continue
            name = str(key.value)
            at = below(path, name)
            if key.tag == _MERGE:
                self._merge(value, at)
            elif name in seen:
                self._fault(key, at, f"`{clip(name)}` is already given on line {seen[name]}")
            seen.setdefault(name, line_of(key))
            yield value, at

    def _merge(self, value: Node, path: str) -> None:
        nodes = value.value if isinstance(value, SequenceNode) else [value]
        if not all(isinstance(node, MappingNode) for node in nodes):
            self._fault(value, path, "expected a mapping to merge, or a list of mappings")

    def _collection_tag(self, node: Node, path: str, expected: str) -> None:
        if node.tag != TAG_PREFIX + expected:
            self._unknown_tag(node, path)

    def _scalar(self, node: Node, path: str) -> None:
        self.scalars[id(node)] = node.value
        if node.tag not in _SCALAR_TAGS:
            self._unknown_tag(node, path)
            return
        try:
            self.scalars[id(node)] = self._constructor.construct_object(node)
        except _UNREADABLE:
            kind = KINDS.get(node.tag.removeprefix(TAG_PREFIX), "text")
            self._fault(node, path, f"`{clip(str(node.value))}` looks like {kind} but cannot be read as one")

    def _unknown_tag(self, node: Node, path: str) -> None:
        self._fault(node, path, f"the tag `{clip(node.tag.replace(TAG_PREFIX, '!!'))}` means nothing here")

    def _fault(self, node: Node, path: str, message: str, *, fatal: bool = False) -> None:
        self.faults.append(Fault(line_of(node), path, message, fatal=fatal))
