"""Reading a policy's document: whatever has the wrong type is noted and read as if it were absent.

`Reading` hands out mappings, lists and selectors. Values left empty (`key:`) count as absent, as
they do for Kubernetes, and never as an empty list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from flowwatch.errors import Problem
from flowwatch.lint.labels import DOES_NOT_EXIST, EXISTS, IN, NOT_IN, Term, term
from flowwatch.lint.objects import fields_of, number_of
from flowwatch.lint.portsets import LAST, PortSet, Span, spans
from flowwatch.lint.views import Port
from flowwatch.yamlmarks import Marked

_NEVER = "?"
"""No label has this value: what a broken condition is compared with."""


class Reading:
    """Collects what has the wrong type on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def mapping(self, marked: Marked | None) -> dict[str, Marked]:
        """The values of a mapping by key."""
        if marked is None or marked.is_null:
            return {}
        if not marked.is_mapping:
            self._wrong(marked, "a mapping")
        return fields_of(marked)

    def list(self, marked: Marked | None) -> list[Marked]:
        """The elements of a list."""
        if marked is None or marked.is_null:
            return []
        if not marked.is_list:
            self._wrong(marked, "a list")
        return marked.elements()

    def text(self, marked: Marked | None) -> str:
        """A single value as written."""
        if marked is None or marked.is_null:
            return ""
        if not marked.is_scalar:
            self._wrong(marked, "a single value")
        return marked.raw

    def terms(self, marked: Marked | None) -> tuple[Term, ...]:
        """The conditions of a selector."""
        fields = self.mapping(marked)
        labels = self.mapping(fields.get("matchLabels"))
        found = [term(key, IN, (self.text(value),)) for key, value in labels.items()]
        found.extend(self._expressions(self.list(fields.get("matchExpressions"))))
        return tuple(found)

    def _expressions(self, expressions: Iterable[Marked]) -> Iterator[Term]:
        for expression in expressions:
            fields = self.mapping(expression)
            key, operator = self.text(fields.get("key")), self.text(fields.get("operator"))
            values = [self.text(value) for value in self.list(fields.get("values"))]
            if operator in (EXISTS, DOES_NOT_EXIST):
                yield term(key, operator)
            elif operator in (IN, NOT_IN) and values:
                yield term(key, operator, values)
            else:
                yield term(key, IN, (_NEVER,))

    def _wrong(self, marked: Marked, expected: str) -> None:
        self.problems.append(marked.problem(f"expected {expected}, not {marked.described}"))


def canonical(marked: Marked) -> str:
    """A value as text that is equal for equal values."""
    return json.dumps(marked.value, sort_keys=True, default=str)


def read_port(at: Marked, fields: dict[str, Marked], protocol: str) -> Port:
    """A port with `port`, `endPort` and `protocol`; `protocol` is what leaving it out means."""
    written = fields.get("port")
    text = written.raw if written is not None else ""
    number = number_of(text, -1)
    end = number_of(fields["endPort"].raw, -1) if "endPort" in fields else -1
    said = fields["protocol"].raw.upper() if "protocol" in fields else ""
    return Port(at, written, number, "" if number >= 0 else text.lower(), end, said or protocol, bool(said))


def ports_of(port: Port) -> Iterator[Span]:
    """What a port stands for: 0, or nothing at all, is every port of the protocol."""
    if port.name:
        yield from spans(port.protocol, 0, LAST, port.name)
    elif port.number <= 0:
        yield from spans(port.protocol, 0, LAST)
    else:
        yield from spans(port.protocol, port.number, max(port.number, port.end))


def port_set(ports: Iterable[Port]) -> PortSet:
    """Every port that some stand for."""
    return PortSet(frozenset(span for port in ports for span in ports_of(port)))
