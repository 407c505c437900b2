"""The tables of a Markdown document: header and rows as plain text, with line numbers and headings.

Knows Markdown as far as tables need it: what is in code blocks, comments or front matter is no
table; tables within lists and admonitions are. What the cells mean it does not know. Never raises.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_FENCE = re.compile(r"[\s>]*(`{3,}(?!.*`)|~{3,})")
_DELIMITER = re.compile(r":?-+:?")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:\s+(\S.*))?")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})\s*")
_PIPE = re.compile(r"(?<!\\)\|")
_LEAD = re.compile(r"[\s>]*")

_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_SHIELD = 0xE000
"""Escaped punctuation is kept out of the way in a private range until markup is gone."""
_SHIELDED = {_SHIELD + ord(character): character for character in _PUNCTUATION}
_STRAY = dict.fromkeys(_SHIELDED, "\ufffd")
_MARKUP = re.compile(r"[\\`*_\[<&]")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s\"[^\"]*\")?\)")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_BOLD = re.compile(r"\*\*|(?<!\w)__|__(?!\w)")
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[Xx][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ITALIC = re.compile(r"([*_])(\w(?:[^*]*\w)?)\1")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells as plain text, the line it stands on and that line's text."""

    line: int
    text: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `headings` are those it stands below, the nearest last; `strays` are rows cut off
    from it by a line that is none. `ruled`: the line of dashes below the header is there."""

    header: Row
    rows: tuple[Row, ...]
    headings: tuple[str, ...]
    strays: tuple[Row, ...] = ()
    ruled: bool = True


@dataclass(slots=True)
class _Headings:
    stack: list[tuple[int, str]] = field(default_factory=list)

    def enter(self, level: int, text: str) -> None:
        while self.stack and self.stack[-1][0] >= level:
            self.stack.pop()
        self.stack.append((level, plain(text)))


def tables_of(text: str) -> list[Table]:
    """Every table of a document, in the order written."""
    headings = _Headings()
    found: list[Table] = []
    block: list[tuple[int, str]] = []
    for number, line in _visible(text):
        heading = _HEADING.fullmatch(line)
        if line.strip(" \t>") and heading is None:
            block.append((number, line))
            continue
        found.extend(_tables_of_block(block, headings))
        block = []
        if heading is not None:
            headings.enter(len(heading[1]), (heading[2] or "").rstrip().rstrip("#"))
    found.extend(_tables_of_block(block, headings))
    return found


def plain(cell: str) -> str:
    """The text of a cell as a reader sees it: markup gone, escapes resolved, in one line."""
    if cell.isascii() and not _MARKUP.search(cell):
        return " ".join(cell.split())
    text = _shielded(cell.translate(_STRAY))
    text = _LINK.sub(r"\1", _BREAK.sub("; ", text))
    text = _without_bold(_TAG.sub("", text)).strip()
    if matched := _ITALIC.fullmatch(text):
        text = matched[2]
    text = _REFERENCE.sub(lambda found: html.unescape(found[0]), text)
    return " ".join(text.translate(_SHIELDED).split())


def _without_bold(text: str) -> str:
    """The text without the marks around what is bold; marks that are no pair stay."""
    opened: dict[str, int] = {}
    marks: list[int] = []
    for found in _BOLD.finditer(text):
        start, end = found.span()
        if found[0] in opened and not text[start - 1].isspace():
            marks += [opened.pop(found[0]), start]
        elif end < len(text) and not text[end].isspace():
            opened[found[0]] = start
    parts: list[str] = []
    at = 0
    for mark in sorted(marks):
        parts.append(text[at:mark])
        at = mark + 2
    return "".join(parts) + text[at:]


def _visible(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are rendered; code and front matter come as empty lines, comments not at all."""
    lines = text.splitlines()
    fence = ""
    front = _front_matter(lines)
    comment = False
    for number, line in enumerate(lines, start=1):
        opened = _FENCE.match(line)
        shown = ""
        if number <= front:
            pass
        elif fence:
            closes = opened and opened[1].startswith(fence) and not line.strip(" \t>").strip(fence[0])
            fence = "" if closes else fence
        elif not comment and opened:
            fence = opened[1]
        else:
            shown, comment = _without_comments(line, comment)
            # A row that is commented out does not end its table.
            if line.strip() and not shown.strip():
                continue
        yield number, shown


def _front_matter(lines: list[str]) -> int:
    """How many lines the front matter takes at the start of a document."""
    if not lines or lines[0].rstrip() != "---":
        return 0
    return next((number for number, line in enumerate(lines[1:], start=2) if line.rstrip() == "---"), 0)


def _without_comments(line: str, inside: bool) -> tuple[str, bool]:
    kept: list[str] = []
    rest = line
    while rest:
        if inside:
            _, end, rest = rest.partition("-->")
            inside = not end
        else:
            before, start, rest = rest.partition("<!--")
            kept.append(before)
            inside = bool(start)
    return "".join(kept), inside


def _tables_of_block(block: list[tuple[int, str]], headings: _Headings) -> Iterator[Table]:
    """The tables in lines that no empty line parts."""
    rows = [_row(number, line) for number, line in block]
    ruled = [
        row is not None and at + 1 < len(block) and _is_ruler(block[at + 1][1], len(row.cells))
        for at, row in enumerate(rows)
    ]
    at = 0
    while at < len(block):
        line = block[at][1]
        if at and rows[at - 1] is None and (matched := _UNDERLINE.fullmatch(line)):
            headings.enter(1 if matched[1].startswith("=") else 2, block[at - 1][1])
        header = rows[at]
        if header is None:
            at += 1
            continue
        start = at
        at += 2 if ruled[at] else 1
        held: list[Row] = []
        while at < len(block) and not ruled[at] and (row := rows[at]) is not None:
            held.append(row)
            at += 1
        strays: list[Row] = []
        while ruled[start] and at < len(block) and not ruled[at]:
            stray = rows[at]
            if stray is not None and _LEAD.sub("", stray.text, count=1).startswith("|"):
                strays.append(stray)
            at += 1
        above = tuple(text for _, text in headings.stack)
        yield Table(header, tuple(held), above, tuple(strays), ruled[start])


def _row(number: int, line: str) -> Row | None:
    """The cells of a line; None where it has no `|` between cells."""
    if not _PIPE.search(line):
        return None
    cells = _PIPE.split(_LEAD.sub("", line, count=1).rstrip())
    if not cells[0].strip():
        cells = cells[1:]
    if len(cells) > 1 and not cells[-1].strip():
        cells = cells[:-1]
    return Row(number, line.strip(), tuple(plain(cell.replace("\\|", "|")) for cell in cells))


def _is_ruler(line: str, columns: int) -> bool:
    cells = [cell.strip() for cell in _LEAD.sub("", line, count=1).strip().strip("|").split("|")]
    return len(cells) == columns and all(_DELIMITER.fullmatch(cell) for cell in cells)


def _shielded(text: str) -> str:
    """The text with escaped punctuation, and all that stands in code, out of the way of markup."""
    if "`" not in text and "\\" not in text:
        return text
    closing: dict[int, int] = {}
    last: dict[int, int] = {}
    lengths = {run.start(): len(run[0]) for run in re.finditer("`+", text)}
    for start, length in reversed(lengths.items()):
        if length in last:
            closing[start] = last[length]
        last[length] = start
    parts: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\" and text[at + 1 : at + 2] in _PUNCTUATION:
            parts.append(chr(_SHIELD + ord(text[at + 1])))
            at += 2
        elif character == "`":
            length = lengths.get(at, 1)
            end = closing.get(at)
            parts.append(text[at : at + length] if end is None else _code(text[at + length : end]))
            at = at + length if end is None else end + length
        else:
            parts.append(character)
            at += 1
    return "".join(parts)


def _code(text: str) -> str:
    if text.startswith(" ") and text.endswith(" ") and text.strip():
        text = text[1:-1]
    return "".join(chr(_SHIELD + ord(character)) if character in _PUNCTUATION else character for character in text)
