"""The named SQL of `queries/`: one statement a file, with a header that says what it answers.

A query file is a function: its name is the file's, its first comment lines say what it answers, its
`params:` which values it takes and its `columns:` what it returns. No SQL is written anywhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from flowwatch.errors import QueryError

_HEADER = re.compile(r"^--\s?(?P<text>.*)$")
_PARAMETER = re.compile(r"\$([a-z_]+)")


@dataclass(frozen=True, slots=True)
class Query:
    """One file of `queries/`."""

    name: str
    doc: str
    params: tuple[str, ...]
    columns: str
    sql: str
    where: str
    """`queries/report/edges.sql`, for error messages."""


def report(name: str) -> Query:
    """The query of that name that people may run; `QueryError` names what there is."""
    known = queries("report")
    if name not in known:
        raise QueryError(f"there is no query {name!r}; there are: {', '.join(sorted(known))}")
    return known[name]


def statement(folder: str, name: str) -> str:
    """The SQL of one of our own statements."""
    return queries(folder)[name].sql


@cache
def queries(folder: str) -> dict[str, Query]:
    """All queries of a folder of `queries/`, by name, in the order of their file names."""
    files = sorted((_root() / folder).glob("*.sql"))
    return {
        file.stem: parse(file.read_text(encoding="utf-8"), file.stem, f"queries/{folder}/{file.name}") for file in files
    }


def parse(text: str, name: str, where: str) -> Query:
    """Read one file: header lines first, then the statement. The parameters named in the header must
    be exactly those the statement uses."""
    doc: list[str] = []
    fields = {"params": "", "columns": ""}
    lines = text.splitlines()
    while lines and (match := _HEADER.match(lines[0])):
        lines.pop(0)
        key, _, value = match["text"].partition(":")
        if key in fields:
            fields[key] = value.strip()
        else:
            doc.append(match["text"].strip())
    sql = "\n".join(lines).strip()
    params = tuple(part.strip() for part in fields["params"].split(",") if part.strip())
    used = set(_PARAMETER.findall(sql))
    if used != set(params):
        raise QueryError(f"{where}: the header names parameters {sorted(params)} but the statement uses {sorted(used)}")
    if not doc:
        raise QueryError(f"{where}: the header does not say what the query answers")
    return Query(name, " ".join(doc), params, fields["columns"], sql, where)


@cache
def _root() -> Path:
    """`queries/` beside the package in a checkout, inside it once installed."""
    package = Path(str(resources.files("flowwatch")))
    installed = package / "_data" / "queries"
    return installed if installed.is_dir() else package.parent / "queries"
