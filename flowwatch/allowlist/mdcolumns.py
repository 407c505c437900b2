"""The columns of a table that declares something: which there are, and the optional ones read.

A table is known by its header alone: what its columns are called says whether it declares
anything. Columns nobody knows are remarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from flowwatch.allowlist.mdtables import Row
from flowwatch.allowlist.names import Unreadable, split_place
from flowwatch.allowlist.native import CONDITION
from flowwatch.allowlist.rules import Entity, External, PortSet, Rule, Selector, Transport
from flowwatch.yamlmarks import clip, did_you_mean

SHAPES = "`From | To | Port | Purpose`, `Source | Port | Reason` or `Component | Ingress | Egress`"

CALLED: Mapping[str, tuple[str, ...]] = {
    "from": ("from", "source"),
    "to": ("to", "destination"),
    "port": ("port", "ports", "typical port", "typical ports"),
    "reason": ("purpose", "reason", "why", "why it exists", "why it is needed"),
    "component": ("component", "workload"),
    "ingress": ("ingress",),
    "egress": ("egress",),
    "transport": ("transport",),
    "condition": ("condition", "conditions"),
    "owner": ("owner",),
    "ticket": ("ticket",),
    "expires": ("expires", "until"),
}
"""What each column may be called, whatever stands in brackets behind it."""

_HELD = {title: column for column, titles in CALLED.items() for title in titles}
_NOTHING = ("", "-", "—", "–")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each column of a table stands, and what it is called there."""

    at: Mapping[str, int]
    called: Mapping[str, str]

    def __contains__(self, column: str) -> bool:
        return column in self.at

    def cell(self, row: Row, column: str) -> str:
        """What a row says in a column; nothing where it has no such column."""
        return row.cells[self.at[column]] if column in self.at else ""

    def title(self, column: str) -> str:
        """What a column is called in this table."""
        return self.called.get(column, "")


def columns_of(header: Row, ruled: bool) -> Columns | None:
    """The columns of a table that declares something; None for any other table.

    `ruled`: there is a line of dashes below the header. Raises Unreadable where the header is meant
    to declare something and cannot.
    """
    held = [_HELD.get(" ".join(split_place(title)[0].casefold().split()), "") for title in header.cells]
    if not _declares(frozenset(held)):
        if {"from", "to", "port"} <= set(held) and ruled:
            raise Unreadable("a column `Purpose` or `Reason` is missing")
        return None
    if not ruled:
        dashes = " | ".join("---" for _ in held)
        raise Unreadable("this header has no line of dashes below it", f"expected `| {dashes} |`")
    for column in dict.fromkeys(held):
        twice = [f"`{clip(title)}`" for title, one in zip(header.cells, held, strict=True) if column and one == column]
        if len(twice) > 1:
            raise Unreadable(f"{' and '.join(twice)} are the same column")
    at = {column: place for place, column in enumerate(held) if column}
    return Columns(at, {column: header.cells[place] for column, place in at.items()})


def optional(row: Row, columns: Columns, ends: Iterable[Selector]) -> tuple[Rule, list[tuple[str, Unreadable]]]:
    """What the optional columns of a row say of its path, as a rule without one, and what is wrong with them."""
    expires, transport, conditions = None, None, tuple(_listed(columns.cell(row, "condition")))
    wrong: list[tuple[str, Unreadable]] = []
    try:
        expires = _expires(columns.cell(row, "expires"))
    except Unreadable as error:
        wrong.append(("expires", error))
    try:
        transport = _transport(columns.cell(row, "transport"), ends)
    except Unreadable as error:
        wrong.append(("transport", error))
    for name in conditions:
        if not CONDITION.fullmatch(name):
            message = f"expected the name of a condition, such as `GatewayIntegrationReady`, not `{clip(name)}`"
            wrong.append(("condition", Unreadable(message)))
    owner, ticket = (" ".join(_listed(columns.cell(row, column), None)) for column in ("owner", "ticket"))
    rule = Rule(
        *(0, (), (), PortSet(()), ""),
        owner=owner,
        ticket=ticket,
        expires=expires,
        transport=transport,
        conditions=conditions,
    )
    return rule, wrong


def _declares(held: frozenset[str]) -> bool:
    if "component" in held:
        return not held.isdisjoint(("ingress", "egress"))
    return {"port", "reason"} <= held and not held.isdisjoint(("from", "to"))


def _listed(text: str, separator: str | None = ",") -> Iterator[str]:
    if text not in _NOTHING:
        yield from (part.strip() for part in text.split(separator) if part.strip())


def _expires(text: str) -> date | None:
    if text in _NOTHING:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Unreadable(f"expected a day such as `2027-03-31`, not `{clip(text)}`") from error


def _transport(text: str, ends: Iterable[Selector]) -> Transport | None:
    asked = text.casefold()
    if asked in _NOTHING:
        return None
    if asked not in list(Transport):
        expected = " or ".join(f"`{one}`" for one in Transport)
        raise Unreadable(f"expected {expected}, not `{clip(text)}`", did_you_mean(asked, list(Transport)))
    if any(isinstance(end, External) or end == Entity("world") for end in ends):
        raise Unreadable("Cilium encrypts and authenticates within the cluster, and an end of this path is outside")
    return Transport(asked)
