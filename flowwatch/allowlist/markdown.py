"""Markdown tables as declarations: documentation that says who talks to whom, read as rules.

A table is known by its header. Those that declare nothing are left alone and listed; in those
that do, every row is understood or is a problem with its line and its cell. Peers are named as
people name them and found among the names of the allowlist, see `names`. Never raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from flowwatch.allowlist.covered import Covered
from flowwatch.allowlist.mdcells import Reader, read_ports
from flowwatch.allowlist.mdcolumns import SHAPES, Columns, columns_of, optional
from flowwatch.allowlist.mdcomponents import WAYS, Components
from flowwatch.allowlist.mdtables import Row, Table, tables_of
from flowwatch.allowlist.names import Names, Unreadable, split_place
from flowwatch.allowlist.rules import Pods, PortSet, Rule, Same, Selector
from flowwatch.errors import Problem
from flowwatch.yamlmarks import clip
from flowwatch.yamlnodes import MAX_CHARACTERS

SUFFIXES = (".md", ".markdown", ".txt")
"""How the names of files end that are read as Markdown."""

MOST_PROBLEMS = 200
"""After how many problems the rest of a document is not read."""


class Markdown(NamedTuple):
    """What a document declares. `ignored` are the tables that declare nothing, as `file:line: header`."""

    rules: tuple[Rule, ...]
    problems: tuple[Problem, ...]
    ignored: tuple[str, ...]


class _EnoughError(Exception):
    """There are more problems than anyone will read."""


def read_markdown(text: str, file: str, known: Names) -> Markdown:
    """The rules that the tables of a document declare; their `id` counts from 0 within it.

    `file` names the document in rules and problems, `known` are the names of its allowlist.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the file is longer than {MAX_CHARACTERS} characters"
        return Markdown((), (Problem(file, 0, "", message, hint="split it into several"),), ())
    document = _Document(file, known)
    try:
        document.read(tables_of(text))
    except _EnoughError:
        document.problems.append(Problem(file, 0, "", f"more than {MOST_PROBLEMS} problems; the rest is not read"))
    return Markdown(tuple(document.rules), tuple(document.problems), tuple(document.ignored))


class _Document:
    """One document while it is read."""

    def __init__(self, file: str, names: Names) -> None:
        self.file = file
        self.rules: list[Rule] = []
        self.problems: list[Problem] = []
        self.ignored: list[str] = []
        self._names = names
        self._covered = Covered()

    def read(self, tables: Sequence[Table]) -> None:
        components = Components()
        before: Table | None = None
        for table in tables:
            try:
                columns = columns_of(table.header, table.ruled)
            except Unreadable as error:
                self._problem(table.header, "", error)
                continue
            if columns is None:
                self._leave(table, before)
                before = None if table.ruled else before
                continue
            before = table
            for stray in table.strays:
                hint = "a line without `|` ends a table"
                self._problem(stray, "", Unreadable("this row belongs to no table", hint))
            if "component" in columns:
                self._read_components(table, columns, components)
            else:
                self._read_paths(table, columns)
        # What a component's row repeats of another table is no path of its own.
        for row, rule in components.rules():
            for new in self._covered.uncovered(rule):
                self._append(new, row)
        if not self.rules and not self.problems:
            message = f"this declares nothing; expected a table with rows, such as {SHAPES}"
            self.problems.append(Problem(self.file, 0, "", message))

    def _leave(self, table: Table, before: Table | None) -> None:
        """List a table that declares nothing, unless it is the torn off end of one that does."""
        if not table.header.text.lstrip("> ").startswith("|"):
            return
        if before is not None and not table.ruled and len(before.header.cells) == len(table.header.cells):
            hint = "an empty line ends a table"
            self._problem(table.header, "", Unreadable("this row belongs to no table", hint))
            return
        self.ignored.append(f"{self.file}:{table.header.line}: {' | '.join(table.header.cells)}")

    def _read_paths(self, table: Table, columns: Columns) -> None:
        subject: tuple[Selector, ...] = ()
        if "from" not in columns or "to" not in columns:
            subject = self._subject(table)
            if not subject:
                return
        reader = Reader(self._names)
        for row in self._rows(table):
            told = len(self.problems)
            sources = self._peers(reader, row, columns, "from") if "from" in columns else subject
            destinations = self._peers(reader, row, columns, "to") if "to" in columns else subject
            ports = self._ports(row, columns)
            reason = columns.cell(row, "reason")
            if not reason:
                error = Unreadable("expected why the path is needed, in words")
                self._problem(row, columns.title("reason"), error)
            rule, wrong = optional(row, columns, (*sources, *destinations))
            for column, error in wrong:
                self._problem(row, columns.title(column), error)
            self._check_self(row, columns, sources, destinations)
            if len(self.problems) == told:
                self._append(replace(rule, sources=sources, destinations=destinations, ports=ports, reason=reason), row)

    def _read_components(self, table: Table, columns: Columns, told: Components) -> None:
        home = self._home(table)
        for row in self._rows(table):
            component = self._component(row, columns, home)
            if component is None:
                continue
            reader = Reader(self._names, component.namespace)
            for way in WAYS:
                try:
                    if way in columns:
                        told.tell(row, component, way, reader.paths(columns.cell(row, way), component))
                except Unreadable as error:
                    self._problem(row, columns.title(way), error)

    def _append(self, rule: Rule, row: Row) -> None:
        self.rules.append(replace(rule, id=len(self.rules), file=self.file, line=row.line))
        self._covered.add(rule)

    def _rows(self, table: Table) -> Iterator[Row]:
        """The rows of a table that have as many cells as its header."""
        for row in table.rows:
            wanted, there = len(table.header.cells), len(row.cells)
            if wanted == there:
                yield row
                continue
            hint = "write `\\|` for a `|` within a cell" if there > wanted else ""
            self._problem(row, "", Unreadable(f"the row has {there} cells, and the header has {wanted}", hint))

    def _peers(self, reader: Reader, row: Row, columns: Columns, column: str) -> tuple[Selector, ...]:
        try:
            return reader.peers(columns.cell(row, column))
        except Unreadable as error:
            self._problem(row, columns.title(column), error)
            return ()

    def _ports(self, row: Row, columns: Columns) -> PortSet:
        try:
            return read_ports(columns.cell(row, "port"))[0]
        except Unreadable as error:
            self._problem(row, columns.title("port"), error)
            return PortSet(())

    def _check_self(
        self, row: Row, columns: Columns, sources: tuple[Selector, ...], destinations: tuple[Selector, ...]
    ) -> None:
        for column, one, other in (("from", sources, destinations), ("to", destinations, sources)):
            if other and Same() in one and not any(isinstance(peer, Pods) for peer in other):
                self._problem(row, columns.title(column), Unreadable("`self` needs a workload at the other end"))

    def _subject(self, table: Table) -> tuple[Selector, ...]:
        """The pods a table without one of its ends is about: the nearest heading that names some."""
        for heading in reversed(table.headings):
            for text in (heading, split_place(heading)[0]):
                if self._names.is_namespace(text):
                    return (Pods(f"{text}/*", text),)
                try:
                    found = self._names.look_up(text)
                except Unreadable:
                    continue
                if found and all(isinstance(selector, Pods) for selector in found):
                    return found
        message = "nothing says whose paths these are: no heading above the table names a workload"
        hint = "put it below a heading with the workload's name, or make its heading an alias"
        self._problem(table.header, "", Unreadable(message, hint))
        return ()

    def _home(self, table: Table) -> str:
        """The namespace whose heading a table stands below; empty where there is none."""
        for heading in reversed(table.headings):
            text = split_place(heading)[0].casefold()
            for name in (text, text.removeprefix("namespace").strip(" :"), text.removesuffix("namespace").strip()):
                if self._names.is_namespace(name):
                    return name
        return ""

    def _component(self, row: Row, columns: Columns, home: str) -> Pods | None:
        text = columns.cell(row, "component")
        name, place = split_place(text)
        try:
            found = self._names.look_up(text, home)
            # What stands in brackets behind a component is often a remark: `redis-init (Job)`.
            if found is None:
                found = self._names.find(text if self._names.is_namespace(place) else name, home)
        except Unreadable as error:
            if not home and not error.hint.startswith("did you mean"):
                error.hint = "put the table below a heading with the name of the namespace"
            self._problem(row, columns.title("component"), error)
            return None
        if len(found) == 1 and isinstance(found[0], Pods):
            return found[0]
        what = f"expected one workload, and `{clip(text)}` is something else"
        self._problem(row, columns.title("component"), Unreadable(what))
        return None

    def _problem(self, row: Row, column: str, error: Unreadable) -> None:
        if len(self.problems) >= MOST_PROBLEMS:
            raise _EnoughError
        self.problems.append(Problem(self.file, row.line, column, str(error), row.text[:200], error.hint))
