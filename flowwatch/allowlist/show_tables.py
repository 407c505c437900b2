"""An allowlist as tables: for a terminal, and as Markdown that can be read back.

Both have the same tables: the paths between namespaces, to what is outside, and all others, each
rule once with its reason; then for every namespace its components with their ingress and egress.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowwatch.allowlist.rules import Rule
from flowwatch.allowlist.show import EVERYWHERE, Component, Link, View, listed_ends
from flowwatch.words import plural, printable

NOTHING = "(none)"
COMPONENT_COLUMNS = ("Component", "Ingress", "Egress")
PATH_COLUMNS = ("From (namespace)", "To (namespace)", "Port", "Purpose")
OPTIONAL_COLUMNS = ("Transport", "Condition", "Owner", "Ticket", "Expires")
UNTOLD = "Policies"
UNTOLD_COLUMNS = ("Policy", "Place", "Reason")

_MARKUP = frozenset("\\`*_[]<>#|~&!")
_PLAIN = re.compile(r"[A-Za-z0-9][-A-Za-z0-9 .,()/+:=→]*")


def as_table(shown: View, width: int | None = None) -> str:
    """The tables for a terminal of that width; None: as wide as they get."""
    parts = [_summary(shown)]
    for title, rules in shown.sections().items():
        columns, rows = _path_rows(rules)
        told = [["\n".join(cell) for cell in row] for row in rows]
        parts.append(_grid(title, columns, told, width))
    for namespace, components in shown.perimeters().items():
        cells = [
            [
                *listed_ends([one.pods], namespace),
                "\n".join(_ingress(one)) or NOTHING,
                "\n".join(_egress(one)) or NOTHING,
            ]
            for one in components
        ]
        parts.append(_grid(_heading(namespace, components), COMPONENT_COLUMNS, cells, width))
    if untold := shown.untold():
        parts.append(_grid(UNTOLD, UNTOLD_COLUMNS, [[rule.title, rule.place, rule.reason] for rule in untold], width))
    return "\n\n".join(parts)


def as_markdown(shown: View) -> str:
    """The tables as Markdown. Read back as part of an allowlist that defines the same names, they
    declare the same."""
    parts = ["# Allowlist", _escaped(_summary(shown)) + "."]
    for title, rules in shown.sections().items():
        columns, rows = _path_rows(rules)
        ends = [[", ".join(map(_code, cell)) for cell in row[:2]] for row in rows]
        rest = [[_escaped(", ".join(cell)) for cell in row[2:]] for row in rows]
        parts.append(_markdown(title, columns, [[*left, *right] for left, right in zip(ends, rest, strict=True)]))
    for namespace, components in shown.perimeters().items():
        cells = [
            [
                f"**{_code(listed_ends([one.pods], namespace)[0])}**",
                "; ".join(_ingress(one, code=True)) or NOTHING,
                ", ".join(_egress(one, code=True)) or NOTHING,
            ]
            for one in components
        ]
        parts.append(_markdown(_heading(namespace, components), COMPONENT_COLUMNS, cells))
    if untold := shown.untold():
        cells = [[_code(rule.title), _code(rule.place), _escaped(rule.reason)] for rule in untold]
        parts.append(_markdown(UNTOLD, UNTOLD_COLUMNS, cells))
    return "\n\n".join(parts)


def _summary(shown: View) -> str:
    rules = plural(len(shown.rules), "rule")
    expired = len(shown.rules) - len(shown.holding)
    over = f", {expired} expired" if expired else ""
    governs = "every namespace" if shown.governs is None else ", ".join(sorted(shown.governs))
    return f"{rules}{over}; governs {governs}"


def _heading(namespace: str, components: Sequence[Component]) -> str:
    return f"{namespace or EVERYWHERE} ({plural(len(components), 'component')})"


def _path_rows(rules: Sequence[Rule]) -> tuple[tuple[str, ...], list[list[list[str]]]]:
    """The columns of a table of paths, and its rows; each cell is a list of texts. Optional columns that
    hold nothing are left out."""
    extra = [
        [str(rule.transport or ""), ", ".join(rule.conditions), rule.owner, rule.ticket, _day(rule)] for rule in rules
    ]
    used = [place for place in range(len(OPTIONAL_COLUMNS)) if any(cells[place] for cells in extra)]
    rows = [
        [
            listed_ends(rule.sources),
            listed_ends(rule.destinations),
            list(rule.ports.texts),
            [rule.reason],
            *([cells[place]] for place in used),
        ]
        for rule, cells in zip(rules, extra, strict=True)
    ]
    return (*PATH_COLUMNS, *(OPTIONAL_COLUMNS[place] for place in used)), rows


def _day(rule: Rule) -> str:
    return rule.expires.isoformat() if rule.expires else ""


def _ingress(component: Component, *, code: bool = False) -> list[str]:
    home = component.pods.namespace
    return [f"{_peers(link, home, ', ', code)} → {link.ports_text()}{_until(link)}" for link in component.ingress]


def _egress(component: Component, *, code: bool = False) -> list[str]:
    home = component.pods.namespace
    return [f"{_peers(link, home, ' + ', code)}:{link.ports_text()}{_until(link)}" for link in component.egress]


def _peers(link: Link, home: str, separator: str, code: bool) -> str:
    texts = listed_ends(link.peers, home)
    return separator.join(_code(text) if code else text for text in texts)


def _until(link: Link) -> str:
    return f" (until {link.expires.isoformat()})" if link.expires else ""


def _grid(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], width: int | None) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text("\n".join(map(printable, cell.split("\n")))) for cell in row))
    out = io.StringIO()
    Console(file=out, width=width or 100_000, color_system=None).print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join([title, "", *lines]).rstrip()


def _markdown(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
    return "\n".join([f"## {title}", "", *lines])


def _code(text: str) -> str:
    """A name as it stands in a cell: as it is where that is plain, otherwise as code."""
    if _PLAIN.fullmatch(text):
        return text
    fence = "``" if "`" in text else "`"
    return f"{fence}{printable(text)}{fence}".replace("|", "\\|")


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in _MARKUP else character for character in printable(text))
