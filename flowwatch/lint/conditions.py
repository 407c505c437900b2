"""The conditions of a selector as they were written, sources of labels included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flowwatch.lint.labels import IN
from flowwatch.lint.objects import elements, fields_of
from flowwatch.yamlmarks import Marked


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a selector as it was written; `values` are those of an expression."""

    key: Marked
    name: str
    operator: str
    values: tuple[Marked, ...]


def conditions(at: Marked) -> Iterator[Condition]:
    """The conditions of a selector as they were written, sources of labels included."""
    fields = fields_of(at)
    if "matchLabels" in fields:
        for key, value in fields["matchLabels"].items():
            yield Condition(key, key.raw, IN, (value,))
    if "matchExpressions" in fields:
        for expression in fields["matchExpressions"].elements():
            parts = fields_of(expression)
            key = parts.get("key", expression)
            operator = parts["operator"].raw if "operator" in parts else ""
            yield Condition(key, key.raw, operator, tuple(elements(parts.get("values"))))
