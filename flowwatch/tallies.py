"""What is counted of edges between two looks at them, and how they stand: the numbers behind some metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

Key = tuple[str, str, str, str, str, str]
"""(square, direction, namespace, workload, peer, service): the policed or sending end, and the other."""


@dataclass(slots=True)
class Traffic:
    """What was seen since the last look."""

    shown: Counter[Key] = field(default_factory=Counter)
    """Flows of the edges that are told apart; new ones begin with what was seen of them just now."""
    others: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Flows of all others, by (square, direction)."""
    gone: list[Key] = field(default_factory=list)
    """Edges that are no longer told apart."""
    egress: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Flows that left a pod, by (namespace, square, kind of peer)."""
    fresh: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Edges from pods that were never seen before, by (namespace, declared, kind of peer)."""


@dataclass(frozen=True, slots=True)
class Posture:
    """How things stand."""

    edges: Counter[tuple[str, str]]
    """Edges by (namespace, square); one between two namespaces counts in both."""
    rules: Counter[str]
    """Rules by state: used, unseen, expired."""
    ports: Counter[str]
    """Ports of rules that are used, by state: used, unseen."""
    expiring: tuple[tuple[str, str, float], ...]
    """(rule, owner, when it ends) of the rules that end, the next first."""
