"""Rules taken apart into clauses, each a plain "these to those on these ports".

A rule whose peers say `self` becomes one clause for each workload it may mean, so that
judging never has to look at the other end to know whether one end is meant. Only where the
workload is not spelt out (`pods`, a whole namespace) must both ends be compared: `same`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flowwatch.allowlist.rules import Pods, PortSet, Rule, Same, Selector
from flowwatch.model import Kind, Peer


@dataclass(frozen=True, slots=True)
class Clause:
    """One way in which a rule may declare an edge."""

    rule: int
    sources: tuple[Selector, ...]
    destinations: tuple[Selector, ...]
    ports: PortSet
    same: bool = False
    """Only where both ends belong to one workload."""


def clauses_of(rules: Iterable[Rule]) -> tuple[Clause, ...]:
    """The clauses of all rules, in the order of the rules. `Rule.id` is taken as its index."""
    return tuple(clause for rule in rules for clause in _split(rule))


def _split(rule: Rule) -> Iterator[Clause]:
    sources = tuple(selector for selector in rule.sources if not isinstance(selector, Same))
    destinations = tuple(selector for selector in rule.destinations if not isinstance(selector, Same))
    if sources and destinations:
        yield Clause(rule.id, sources, destinations, rule.ports)
    named: tuple[Selector, ...] = ()
    if len(destinations) < len(rule.destinations):
        named = sources
    elif len(sources) < len(rule.sources):
        named = destinations
    for selector in named:
        if isinstance(selector, Pods):
            yield Clause(rule.id, (selector,), (selector,), rule.ports, same=not selector.requirements)


def same_workload(source: Peer, destination: Peer) -> bool:
    """Whether two pods belong to one workload, as far as their identities and names tell."""
    one, other = source.identity, destination.identity
    if one.kind is not Kind.POD or other.kind is not Kind.POD:
        return False
    if (one.cluster, one.namespace) != (other.cluster, other.namespace):
        return False
    return one.labels == other.labels or bool(source.workload and source.workload == destination.workload)
