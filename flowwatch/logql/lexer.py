"""LogQL as words, each with where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from flowwatch.errors import QueryError
from flowwatch.words import printable

LONGEST = 4096
"""Characters in one query."""


class Kind(StrEnum):
    """What sort of word it is."""

    NAME = "name"
    TEXT = "string"
    NUMBER = "number"
    QUANTITY = "quantity"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a query; `text` is what it means (of a string, what stands between its quotes)."""

    kind: Kind
    text: str
    line: int
    column: int

    def __str__(self) -> str:
        return "the end" if self.kind is Kind.END else f"`{printable(self.text)[:60]}`"


class LogQLError(QueryError):
    """A query that is not LogQL, or not the part of it that is answered here; written as Loki writes it."""

    def __init__(self, at: Word, text: str) -> None:
        super().__init__(f"parse error at line {at.line}, col {at.column}: {text}")


_WORD = re.compile(
    r"""(?P<space>[ \t\r\n]+|\#[^\n]*)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<quantity>(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|[smhdwy]|[kKMGTP]i?[bB]|[bB]))+(?![A-Za-z0-9_.]))
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)
      | (?P<quoted>"(?:[^"\\\n]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<sign>\|=|\|~|!=|!~|=~|==|>=|<=|[{}()\[\],|=<>+\-*/%^!])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\"'])|(?P<octal>[0-3][0-7]{2})|x(?P<byte>[0-9a-fA-F]{2})
      | u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<wrong>.))""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def words(query: str) -> Iterator[Word]:
    """The words of a query, with one that stands for its end."""
    at, line, begin = 0, 1, 0
    if len(query) > LONGEST:
        raise LogQLError(Word(Kind.END, "", 1, LONGEST), f"the query is longer than {LONGEST} characters")
    while at < len(query):
        found, here = _WORD.match(query, at), Word(Kind.SIGN, query[at], line, at - begin + 1)
        if found is None:
            unclosed = query[at] in '"`'
            raise LogQLError(here, "literal not terminated" if unclosed else f"syntax error: unexpected {here}")
        kind, text = str(found.lastgroup), found.group()
        if kind == "quoted":
            yield Word(Kind.TEXT, _unescaped(text[1:-1], here), here.line, here.column)
        elif kind == "raw":
            yield Word(Kind.TEXT, text[1:-1], here.line, here.column)
        elif kind != "space":
            yield Word(Kind(kind), text, here.line, here.column)
        at = found.end()
        if "\n" in text:
            line, begin = line + text.count("\n"), found.start() + text.rindex("\n") + 1
    yield Word(Kind.END, "", line, at - begin + 1)


def _unescaped(text: str, here: Word) -> str:
    def meant(found: re.Match[str]) -> str:
        if found["wrong"]:
            raise LogQLError(here, f"invalid escape sequence `\\{printable(found['wrong'])}` in a string")
        if found["plain"]:
            return _PLAIN.get(found["plain"], found["plain"])
        code = int(found["octal"], 8) if found["octal"] else int(found["byte"] or found["short"] or found["long"], 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise LogQLError(here, "an escape sequence in a string is no character")
        return chr(code)

    return _ESCAPE.sub(meant, text)
