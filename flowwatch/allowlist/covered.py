"""Which paths are declared already, so that what is said twice becomes one rule.

Documentation tells a path at both of its ends. A second rule for it would never be the one that
declares an edge, and would look unused for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from flowwatch.allowlist.rules import Pods, PortRange, PortSet, Rule, Same, Selector, port_text

_Ends: TypeAlias = tuple[Selector, Selector]
_Missing: TypeAlias = tuple[PortRange, ...] | None
"""The ranges of ports that are not declared yet; None: every port."""


class Covered:
    """The paths of the rules seen so far, each with the time until which it is declared."""

    def __init__(self) -> None:
        self._until: dict[_Ends, dict[PortRange | None, float]] = {}

    def add(self, rule: Rule) -> None:
        """Take note of what a rule declares."""
        for ends in _pairs(rule):
            known = self._until.setdefault(_key(ends), {})
            for span in _spans(rule.ports):
                known[span] = max(known.get(span, float("-inf")), rule.ends)

    def uncovered(self, rule: Rule) -> Iterator[Rule]:
        """What of a rule is not declared yet, as rules. One of the rule's ends is a single peer."""
        missing: dict[_Missing, list[_Ends]] = {}
        for ends in _pairs(rule):
            known = self._until.get(_key(ends), {})
            if known.get(None, float("-inf")) >= rule.ends:
                continue
            spans = tuple(span for span in _spans(rule.ports) if known.get(span, float("-inf")) < rule.ends)
            if spans:
                missing.setdefault(None if None in spans else _ranges(spans), []).append(ends)
        for lacking, pairs in missing.items():
            sources = tuple(dict.fromkeys(source for source, _ in pairs))
            destinations = tuple(dict.fromkeys(destination for _, destination in pairs))
            ports = rule.ports if lacking in (None, rule.ports.ranges) else _ports(lacking)
            yield replace(rule, sources=sources, destinations=destinations, ports=ports)


def _pairs(rule: Rule) -> Iterator[_Ends]:
    return ((source, destination) for source in rule.sources for destination in rule.destinations)


def _key(ends: _Ends) -> _Ends:
    """One name for what can be written in two ways: `self`, and the workload again."""
    source, destination = ends
    workload = source if isinstance(destination, Same) else destination
    if Same() not in ends or not isinstance(workload, Pods):
        return ends
    return (workload, workload) if workload.requirements else (workload, Same())


def _spans(ports: PortSet) -> tuple[PortRange | None, ...]:
    return (None,) if ports.everything else ports.ranges


def _ranges(spans: tuple[PortRange | None, ...]) -> tuple[PortRange, ...]:
    return tuple(span for span in spans if span is not None)


def _ports(spans: _Missing) -> PortSet:
    every = spans or ()
    return PortSet(tuple(port_text(span.protocol, span.first, span.last) for span in every), every)
