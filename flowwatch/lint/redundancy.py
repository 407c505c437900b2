"""Checks of what is said twice: the same object, the same policy, the same rule, or a rule within another.

A rule is within another one only where each of its peers, on each of its ports, is certainly
allowed there for all its pods, with the same demands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeAlias

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.declared import SELF, NativeRule
from flowwatch.lint.found import Severity
from flowwatch.lint.index import AtomIndex
from flowwatch.lint.labels import Labels
from flowwatch.lint.labels import covers as labels_cover
from flowwatch.lint.peers import Atom, covers
from flowwatch.lint.portsets import PortSet
from flowwatch.lint.views import CLUSTER_POLICIES, Action, Direction, Kind, Policy, Rule, Spec

_DNS_PORT = 53
_MANY = 50
"""From how many policies for the same pods on it pays to look for rules by their peers."""
_RuleKey: TypeAlias = tuple[Direction, Action, frozenset[Atom], frozenset[tuple[PortSet, str]]]
_SpecKey: TypeAlias = tuple[Labels, bool, frozenset[str], frozenset[_RuleKey]]


def policy_defined_twice(context: Context) -> Iterator[Problem]:
    """Objects of one name."""
    seen: dict[tuple[Kind, str, str], Policy] = {}
    for policy in context.policies:
        if policy.thing.name:
            first = seen.setdefault((policy.kind, policy.thing.namespace, policy.thing.name), policy)
            if first is not policy:
                where = f"{first.top.file}:{first.top.line}"
                yield policy.top.problem(
                    f"{policy.thing.title} is already defined at {where}; the one applied last wins",
                    "give one of them another name, or remove it",
                )


def duplicate_policy(context: Context) -> Iterator[Problem]:
    """Policies that say the same."""
    for policy, first in _duplicates(context):
        yield policy.top.problem(
            f"this says the same as {first.thing.title} ({first.top.file}:{first.top.line})", "remove one of them"
        )


def duplicate_rule(context: Context) -> Iterator[Problem]:
    """Rules that say the same for the same pods."""
    whole = {id(policy) for policy, _ in _duplicates(context)}
    seen: dict[tuple[Labels, _RuleKey], Rule] = {}
    for rule in _comparable(context):
        if id(rule.spec.policy) in whole:
            continue
        first = seen.setdefault((rule.spec.scope, _rule_key(rule)), rule)
        if first is not rule:
            yield rule.at.problem(f"this says the same as the rule of {first.place}", "remove one of them")
    native: dict[tuple[frozenset[Atom], frozenset[Atom], PortSet], NativeRule] = {}
    for each in context.native.rules:
        same = native.setdefault((frozenset(each.sources), frozenset(each.destinations), each.ports), each)
        if same is not each:
            yield each.at.problem(f"this says the same as the rule at {same.rule.place}", "remove one of them")


def redundant_rule(context: Context) -> Iterator[Problem]:
    """Rules within another one."""
    rules = [rule for rule in _comparable(context) if rule.is_allow]
    order = {id(rule): number for number, rule in enumerate(rules)}
    index: dict[tuple[Direction, str | None], AtomIndex[Rule]] = {}
    for rule in rules:
        within = index.setdefault((rule.direction, rule.spec.scope.namespace), AtomIndex())
        for peer in rule.peers:
            within.add(peer.atom, rule)
    for rule in rules:
        specs = list(islice(context.selecting.covering(rule.spec.scope), _MANY))
        if len(specs) < _MANY:
            candidates: Iterable[Rule] = (each for spec in specs for each in spec.towards(rule.direction))
        else:
            places = [(rule.direction, namespace) for namespace in dict.fromkeys((rule.spec.scope.namespace, None))]
            found = [index[place].covering(rule.peers[0].atom) for place in places if place in index]
            candidates = chain.from_iterable(found)
        wide = next((each for each in candidates if _makes_redundant(each, rule, order)), None)
        if wide is not None:
            yield rule.at.problem(f"{wide.place} allows all of this already", "remove this rule, or narrow the other")
    yield from _redundant_native(context)


def _makes_redundant(wide: Rule, rule: Rule, order: dict[int, int]) -> bool:
    if (
        wide is rule
        or id(wide) not in order
        or not labels_cover(wide.spec.scope, rule.spec.scope)
        or not _contains(wide, rule)
    ):
        return False
    if wide.spec.policy is not rule.spec.policy and _is_dns(rule):
        return False
    if not labels_cover(rule.spec.scope, wide.spec.scope) or not _contains(rule, wide):
        return True
    # They say the same: told once, and not of those that even read the same.
    return order[id(wide)] < order[id(rule)] and _rule_key(wide) != _rule_key(rule)


def _contains(wide: Rule, rule: Rule) -> bool:
    """Whether every peer and port of a rule is in another one, with the very same demands."""
    for grant in rule.grants:
        if not any(each.demands == grant.demands and each.ports.holds(grant.ports) for each in wide.grants):
            return False
    return all(any(covers(each.atom, peer.atom) for each in wide.peers) for peer in rule.peers)


def _redundant_native(context: Context) -> Iterator[Problem]:
    index: AtomIndex[NativeRule] = AtomIndex()
    for rule in context.native.rules:
        for atom in rule.destinations:
            index.add(atom, rule)
    for rule in context.native.rules:
        for wide in index.covering(rule.destinations[0]) if rule.destinations else ():
            if _makes_native_redundant(wide, rule):
                yield rule.at.problem(
                    f"{wide.rule.title} ({wide.rule.place}) declares all of this already",
                    "remove this rule, or narrow the other",
                )
                break


def _makes_native_redundant(wide: NativeRule, rule: NativeRule) -> bool:
    if wide is rule or not _native_contains(wide, rule):
        return False
    return not _native_contains(rule, wide) or (wide.rule.id < rule.rule.id and not _reads_the_same(wide, rule))


def _native_contains(wide: NativeRule, rule: NativeRule) -> bool:
    if not wide.ports.holds(rule.ports) or wide.rule.ends < rule.rule.ends:
        return False
    if wide.rule.transport != rule.rule.transport or not set(rule.rule.conditions) <= set(wide.rule.conditions):
        return False
    ends = ((wide.sources, rule.sources), (wide.destinations, rule.destinations))
    if any(SELF in atoms for pair in ends for atoms in pair):
        return all(set(narrow) <= set(whole) for whole, narrow in ends)
    return all(any(covers(atom, each) for atom in whole) for whole, narrow in ends for each in narrow)


def _reads_the_same(one: NativeRule, other: NativeRule) -> bool:
    return (
        set(one.sources) == set(other.sources)
        and set(one.destinations) == set(other.destinations)
        and (one.ports == other.ports)
    )


def _is_dns(rule: Rule) -> bool:
    """Whether it is about DNS: one policy for all and one for some pods belong together."""
    written = [port for grant in rule.grants for port in grant.written]
    return bool(written) and all(port.number == _DNS_PORT for port in written)


def _comparable(context: Context) -> Iterator[Rule]:
    """The rules whose order does not matter and that say anything at all."""
    for rule in context.rules:
        if rule.spec.subject is not None and rule.peers and rule.spec.policy.kind not in CLUSTER_POLICIES:
            yield rule


def _duplicates(context: Context) -> Iterator[tuple[Policy, Policy]]:
    seen: dict[tuple[Kind, str, frozenset[_SpecKey]], Policy] = {}
    for policy in context.policies:
        if (
            policy.specs
            and policy.kind not in CLUSTER_POLICIES
            and not any(spec.selects_nodes for spec in policy.specs)
        ):
            key = (policy.kind, policy.thing.namespace, frozenset(map(_spec_key, policy.specs)))
            first = seen.setdefault(key, policy)
            if first is not policy and first.thing.name != policy.thing.name:
                yield policy, first


def _spec_key(spec: Spec) -> _SpecKey:
    rules = frozenset(map(_rule_key, spec.rules))
    return spec.scope, spec.selects_nodes, frozenset(map(str, spec.isolates)), rules


def _rule_key(rule: Rule) -> _RuleKey:
    grants = frozenset((grant.ports, grant.demands) for grant in rule.grants)
    return rule.direction, rule.action, frozenset(peer.atom for peer in rule.peers), grants


CHECKS = (
    Check(
        "policy-defined-twice",
        Severity.WARNING,
        "Of two objects with one name, the one applied last replaces the other.",
        policy_defined_twice,
    ),
    Check(
        "duplicate-policy",
        Severity.INFO,
        "Two policies that say the same are one too many.",
        duplicate_policy,
    ),
    Check(
        "duplicate-rule",
        Severity.INFO,
        "Two rules that say the same for the same pods are one too many.",
        duplicate_rule,
    ),
    Check(
        "redundant-rule",
        Severity.INFO,
        "A rule that another one contains adds nothing; told where that is certain.",
        redundant_rule,
    ),
)
