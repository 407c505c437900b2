"""Allowlists in flowwatch's own format, as the checks look at them.

The parser of the format says what is wrong with them and what their rules are; here the rules are
put in the terms in which rules of every kind are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flowwatch.allowlist import native
from flowwatch.allowlist import rules as allowlist
from flowwatch.allowlist.peerfields import read_workload
from flowwatch.errors import Problem
from flowwatch.lint.labels import EXISTS, NAMESPACE, Labels, Term, equal, term
from flowwatch.lint.objects import elements, fields_of
from flowwatch.lint.peers import Atom, Entity, Name, Other, Pods, Range, parse_network
from flowwatch.lint.portsets import PortSet, Span
from flowwatch.model import Protocol
from flowwatch.yamlmarks import Marked

SELF = Other("self", "self")
_ICMP_NAMES = {Protocol.ICMP: "ICMP", Protocol.ICMPV6: "ICMPv6"}


@dataclass(frozen=True, slots=True, eq=False)
class NativeRule:
    """A rule with its place and what it is compared by."""

    at: Marked
    rule: allowlist.Rule
    sources: tuple[Atom, ...]
    destinations: tuple[Atom, ...]
    ports: PortSet


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A name for pods (`labels`) or for something outside."""

    at: Marked
    name: str
    labels: Labels | None


@dataclass(frozen=True, slots=True)
class Native:
    """Everything that is declared in flowwatch's own format."""

    documents: tuple[Marked, ...]
    rules: tuple[NativeRule, ...]
    definitions: tuple[Definition, ...]
    problems: tuple[Problem, ...]
    patterns: tuple[Marked, ...]
    """The DNS names and patterns, wherever they are written."""


def read_native(documents: Iterable[Marked]) -> Native:
    """The allowlists among some documents."""
    mine = tuple(document for document in documents if is_native(document))
    problems: list[Problem] = []
    declaration = native.read(mine, problems)
    places = {
        (at.file, at.line): at
        for document in mine
        for at in elements(fields_of(document).get("rules"))
        if at.is_mapping
    }
    rules = [
        _rule(places[rule.file, rule.line], rule) for rule in declaration.rules if (rule.file, rule.line) in places
    ]
    definitions = [each for document in mine for each in _definitions(document)]
    return Native(mine, tuple(rules), tuple(definitions), tuple(problems), tuple(_patterns(mine)))


def is_native(document: Marked) -> bool:
    """Whether a document is an allowlist in flowwatch's own format."""
    fields = fields_of(document)
    group = fields["apiVersion"].raw.partition("/")[0] if "apiVersion" in fields else ""
    return (
        "kind" in fields and fields["kind"].raw == native.KIND and group in ("", native.API_VERSION.partition("/")[0])
    )


def _definitions(document: Marked) -> Iterator[Definition]:
    fields = fields_of(document)
    for namespace, workloads in fields_of(fields.get("workloads")).items():
        for key, definition in workloads.items():
            pods = read_workload(f"{namespace}/{key.raw}", namespace, definition, [])
            yield Definition(key, pods.name, _labels(pods))
    if "externals" in fields:
        for key, _ in fields["externals"].items():
            yield Definition(key, key.raw, None)


def _patterns(documents: Iterable[Marked]) -> Iterator[Marked]:
    for document in documents:
        fields = fields_of(document)
        described = list(fields_of(fields.get("externals")).values())
        for rule in elements(fields.get("rules")):
            for end in (fields_of(rule).get(key) for key in ("from", "to")):
                described += [] if end is None else end.elements() or [end]
        for each in described:
            written = fields_of(each).get("fqdn")
            if written is not None:
                yield from written.elements() if written.is_list else [written]


def _rule(at: Marked, rule: allowlist.Rule) -> NativeRule:
    sources = [atom for selector in rule.sources for atom in _atoms(selector)]
    destinations = [atom for selector in rule.destinations for atom in _atoms(selector)]
    spans = frozenset(
        Span(_ICMP_NAMES.get(each.protocol, each.protocol.name), each.first, each.last) for each in rule.ports.ranges
    )
    return NativeRule(at, rule, tuple(sources), tuple(destinations), PortSet(spans, rule.ports.everything))


def _atoms(selector: allowlist.Selector) -> Iterator[Atom]:
    if isinstance(selector, allowlist.Pods):
        yield Pods(_labels(selector))
    elif isinstance(selector, allowlist.Entity):
        yield Entity(selector.name)
    elif isinstance(selector, allowlist.External):
        yield from map(Name, selector.patterns)
        taken = frozenset(network for each in selector.exceptions if (network := parse_network(each)) is not None)
        yield from (Range(network, taken) for each in selector.cidrs if (network := parse_network(each)) is not None)
    else:
        yield SELF


def _labels(pods: allowlist.Pods) -> Labels:
    scope = equal(NAMESPACE, pods.namespace) if pods.namespace else Term(NAMESPACE, EXISTS)
    conditions = (
        term(f"{each.source}:{each.key}" if each.source else each.key, str(each.operator), each.values)
        for each in pods.requirements
    )
    return Labels((*conditions, scope))
